"""A venue's own keys: merged key by key, checked against the venue's struct, overridden, shown."""

from __future__ import annotations

import importlib
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import workers.venues
from engine import cli
from engine.settings.problems import SettingsError, nearest
from engine.settings.settings import Settings, load, show
from engine.settings.venues import check
from workers.config.venue import VenueConfig

VENUE = """
from dataclasses import replace
from workers.venues.from_config import Options
from workers.venues.binance_spot.venue import VENUE as SPOT

class ToyOptions(Options, frozen=True):
    book_channel: str = "books"
    levels: int = 400
    strict: bool = True

    def __post_init__(self) -> None:
        if self.book_channel == "books5" and self.levels > 5:
            raise ValueError("levels must be at most 5 with book_channel = books5")

VENUE = replace(SPOT, name="toy", options=ToyOptions)
"""
PLAIN = "ws_url = 'ws://h:1'\nrest_url = 'http://h:1'\nsymbols = ['BTC/USDT']\n"


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[Path]:
    """A venue with options, its own file, and the path of an engine file beside that."""
    folder = tmp_path / "code" / "toy"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "venue.py").write_text(VENUE)
    (tmp_path / "venues").mkdir()
    (tmp_path / "venues" / "toy.toml").write_text(PLAIN + "[options]\nlevels = 100\nstrict = false\n")
    workers.venues.__path__.append(str(folder.parent))
    importlib.invalidate_caches()
    yield tmp_path / "t.toml"
    workers.venues.__path__.remove(str(folder.parent))
    for name in [name for name in sys.modules if name.startswith("workers.venues.toy")]:
        del sys.modules[name]


def settings(path: Path, text: str = "", environ: dict[str, str] | None = None) -> Settings:
    path.write_text(f"[venues.toy]\n{text}")
    return load(path, environ)


def problem(path: Path, text: str, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        check(settings(path, text, environ))
    [line] = caught.value.problems
    return line.replace(str(path), "FILE")


def test_the_venues_file_then_the_engines_then_the_environment(toy: Path) -> None:
    loaded = settings(
        toy,
        "[venues.toy.options]\nlevels = 50\n",
        {"TICKRING_VENUES__TOY__OPTIONS__BOOK_CHANNEL": "12"},
    )
    check(loaded)
    assert loaded.venues["toy"].options == {"levels": 50, "strict": False, "book_channel": "12"}
    origins = {
        key[3]: Path(origin).name
        for key, origin in loaded.origins.items()
        if key[2:3] == ("options",) and key[3:]
    }
    assert origins == {
        "levels": "t.toml",
        "strict": "toy.toml",
        "book_channel": "TICKRING_VENUES__TOY__OPTIONS__BOOK_CHANNEL",
    }


@pytest.mark.parametrize(
    ("text", "problem_line"),
    [
        (
            "[venues.toy.options]\nbook_chanel = 'x'\n",
            'FILE: venues.toy.options.book_chanel = "x": unknown key; did you mean book_channel? '
            "(allowed: book_channel, levels, strict)",
        ),
        (
            "[venues.toy.options]\nlevels = 'many'\n",
            'FILE: venues.toy.options.levels = "many": expected `int`, got `str`',
        ),
        (
            "[venues.toy.options]\nbook_channel = 'books5'\n",
            "venues.toy.options: levels must be at most 5 with book_channel = books5",
        ),
    ],
)
def test_a_wrong_option_is_one_line(toy: Path, text: str, problem_line: str) -> None:
    assert problem(toy, text) == problem_line


def test_a_wrong_option_of_the_environment_names_the_variable(toy: Path) -> None:
    variable = "TICKRING_VENUES__TOY__OPTIONS__LEVELS"
    assert problem(toy, "", {variable: "many"}).startswith(
        f'{variable}: venues.toy.options.levels = "many": '
    )


def test_options_that_are_no_table(toy: Path) -> None:
    with pytest.raises(SettingsError, match=r"venues\.toy\.options = 1: expected `object`, got `int`"):
        settings(toy, "options = 1\n", {"TICKRING_VENUES__TOY__OPTIONS__LEVELS": "5"})


def test_a_venue_without_options_says_so(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text("[venues.binance_spot.options]\nbook_channel = 'x'\n")
    with pytest.raises(SettingsError, match=r"options\.book_channel = \"x\": unknown key \(none is allowed"):
        check(load(path))


def test_config_check_and_up_refuse_them(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy.write_text("[venues.toy.options]\nlevel = 1\n")
    for command in (["config", "check"], ["up"]):
        assert cli.run([*command, "--config", str(toy)]) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert "venues.toy.options.level = 1: unknown key; did you mean levels?" in line


def test_show_says_the_defaults_too(toy: Path) -> None:
    shown = show(settings(toy, "[venues.toy.options]\nlevels = 50\n"))
    assert tomllib.loads(shown)["venues"]["toy"]["options"] == {
        "book_channel": "books",
        "levels": 50,
        "strict": False,
    }
    [line] = [line for line in shown.splitlines() if line.startswith("levels")]
    assert line.endswith(f"# {toy}")
    [line] = [line for line in shown.splitlines() if line.startswith("book_channel")]
    assert line.endswith("# default")


@pytest.mark.parametrize(
    "symbol", ["BTC/USDT", "BTC/USDT:USDT", "BTC/USD:BTC", "BTC/USD:BTC-220527", "1000PEPE/USDT:USDT"]
)
def test_every_unified_form_is_a_symbol(toy: Path, symbol: str) -> None:
    assert settings(toy, f"symbols = ['{symbol}']\n").venues["toy"].symbols == [symbol]


@pytest.mark.parametrize("symbol", ["BTCUSDT", "BTC/", "BTC/USDT:", "BTC/USDT:USDT:X", "BTC /USDT"])
def test_nothing_else_is(toy: Path, symbol: str) -> None:
    with pytest.raises(SettingsError, match='expected BASE/QUOTE, such as "BTC/USDT", or BASE/QUOTE:SETTLE'):
        settings(toy, f"symbols = ['{symbol}']\n")


def test_of_many_names_the_nearest_come_first() -> None:
    problem_line = nearest("depht", VenueConfig.__struct_fields__)
    assert problem_line.startswith("; did you mean depth? (allowed: depth, ")
    assert problem_line.endswith(" more)")
    assert problem_line.count(",") < 6
