"""Which venues there are."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import workers.venues
from engine.settings.settings import available_venues
from workers.venues.venue import UnknownVenue, load, names

ROOT = Path(__file__).parents[3]
# What a single venue needs, and where not every venue has the role.
ALONE = {"kraken": {"times.py"}, "mexc_spot": {"proto.py"}, "okx": {"_market.pyx"}}
OPTIONAL = {"options.py", "names.py", "checksum.py", "_checksum.pyx"}
FOLDERS = [path.parent for path in Path(next(iter(workers.venues.__path__))).glob("*/__init__.py")]


def test_only_a_folder_with_a_venue_file_is_a_venue() -> None:
    complete = {folder.name for folder in FOLDERS if (folder / "venue.py").is_file()}
    assert {folder.name for folder in FOLDERS} > complete, (
        "no folder with a part only: this test shows nothing"
    )
    assert set(names()) == set(available_venues()) == complete
    with pytest.raises(UnknownVenue, match=r"no venue 'bybit'; there are: .*binance_spot"):
        load("bybit")


def test_every_name_loads() -> None:
    assert [load(name).name for name in names()] == names()


def test_a_venues_folder_has_the_files_that_its_neighbours_have() -> None:
    page = (ROOT / "docs/adding-a-venue.md").read_text()
    rows = re.search(r"\| file \| its role \|\n\|---\|---\|\n((?:\|.*\n)+)", page)
    assert rows is not None
    roles = {name for row in rows[1].splitlines() for name in re.findall(r"`(\w+\.pyx?)`", row.split("|")[1])}
    assert roles > OPTIONAL
    for folder in FOLDERS:
        files = {path.name for path in folder.iterdir() if path.suffix in (".py", ".pyx")} - {"__init__.py"}
        assert files <= roles | ALONE.get(folder.name, set()), folder.name
        if "venue.py" in files:
            assert roles - files <= OPTIONAL, folder.name
            assert ("checksum.py" in files) == ("_checksum.pyx" in files), folder.name
        assert (folder / "__init__.py").read_text().startswith('"""'), folder.name


def test_public_rest_requests_are_in_market() -> None:
    for name in names():
        venue = load(name)
        file = importlib.import_module(f"workers.venues.{name}.market")
        for part in (
            venue.books.snapshot,
            venue.rest.klines,
            venue.rest.server_time,
            venue.rest.server_limits,
        ):
            # A function of the file, or of the value that it states.
            of_the_value = hasattr(file, "MARKET") and getattr(part, "__self__", None) is file.MARKET
            assert part is None or of_the_value or part.__module__ == file.__name__
