"""Which venues there are."""

from __future__ import annotations

from pathlib import Path

import pytest

import workers.venues
from engine.settings import available_venues
from workers.venue import UnknownVenue, load, names

FOLDERS = [path.parent for path in Path(next(iter(workers.venues.__path__))).glob("*/__init__.py")]


def test_only_a_folder_with_a_venue_is_one() -> None:
    complete = {folder.name for folder in FOLDERS if (folder / "venue.py").is_file()}
    assert {folder.name for folder in FOLDERS} > complete, (
        "no folder with a part only: this test shows nothing"
    )
    assert set(names()) == set(available_venues()) == complete
    with pytest.raises(UnknownVenue, match=r"no venue 'bybit'; there are: .*binance_spot"):
        load("bybit")


def test_every_name_loads() -> None:
    assert [load(name).name for name in names()] == names()
