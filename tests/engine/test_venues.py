"""`config check` and `up` load the venues' code before a worker would fail at it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import workers.venues
from engine.settings.problems import SettingsError
from engine.settings.settings import EngineSettings, Settings
from engine.settings.venues import check
from workers.config.venue import VenueConfig


def settings(name: str, channels: list[str]) -> Settings:
    venue = VenueConfig(ws_url="ws://x", rest_url="http://x", symbols=["BTC/USDT"], channels=channels)
    return Settings(engine=EngineSettings(), venues={name: venue})


@pytest.fixture
def broken(tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Makes a venue `broken` whose venue.py has this text."""

    def make(text: str) -> None:
        (tmp_path / "broken").mkdir()
        (tmp_path / "broken/__init__.py").touch()
        (tmp_path / "broken/venue.py").write_text(text)
        importlib.invalidate_caches()

    workers.venues.__path__.append(str(tmp_path))
    yield make
    workers.venues.__path__.remove(str(tmp_path))
    for name in [name for name in sys.modules if name.startswith("workers.venues.broken")]:
        del sys.modules[name]


def problems(name: str, channels: list[str]) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        check(settings(name, channels))
    return caught.value.problems


def test_a_venue_that_can_be_run_passes() -> None:
    check(settings("binance_spot", ["top", "book", "trades", "agg_trades", "ticker"]))


def test_a_channel_that_the_venue_has_not() -> None:
    [problem] = problems("binance_spot", ["top", "liquidations"])
    assert problem.startswith("venues.binance_spot.channels: 'liquidations' is no channel of this venue")


PARTS = """
from dataclasses import replace
from workers.venues.binance_spot.venue import VENUE as SPOT

def refuse(*arguments):
    raise %s

VENUE = replace(
    SPOT,
    name="broken",
    rest=replace(SPOT.rest, strategies=refuse),
    books=replace(SPOT.books, make_sync=refuse),
)
"""


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        ("ValueError('book_depth must be one of 10, 25')", "venues.broken: book_depth must be one of 10, 25"),
        ("KeyError('x')", "venues.broken: "),
    ],
)
def test_parts_that_cannot_be_made_are_one_line(
    broken: Callable[[str], None], raised: str, expected: str
) -> None:
    broken(PARTS % raised)
    [problem] = problems("broken", ["top"])
    assert problem.startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from workers.nowhere import X\n", "venue.py:1: ModuleNotFoundError: No module named"),
        ("\nVENUES = 1\n", "has no attribute 'VENUE'"),
        ("def f(:\n", "SyntaxError"),
    ],
)
def test_code_that_does_not_load_is_one_line(broken: Callable[[str], None], text: str, expected: str) -> None:
    broken(text)
    [problem] = problems("broken", ["top"])
    assert problem.startswith("venues.broken: ")
    assert expected in problem
    assert "\n" not in problem
