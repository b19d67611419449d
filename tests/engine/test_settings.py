"""Settings: what is merged from where, and what is said about every kind of mistake."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import pytest

from engine.settings import settings
from engine.settings.problems import SettingsError
from engine.settings.settings import load
from engine.settings.venues import load_and_check
from workers.config.venue import VenueConfig

ROOT = Path(__file__).parents[2]
GOOD = (
    '[engine]\n[venues.binance_spot]\nws_url = "ws://h:1"\nrest_url = "http://h:1"\nsymbols = ["BTC/USDT"]\n'
)


def write(directory: Path, text: str, name: str = "t.toml") -> Path:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def problems(path: Path, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(path, environ)
    assert caught.value.exit_code == 2
    return [problem.replace(str(path), "FILE") for problem in caught.value.problems]


def test_the_shipped_configuration_holds_and_says_every_default() -> None:
    loaded = load(ROOT / "config" / "tickring.toml")
    assert loaded.engine == settings.EngineSettings()
    venue = loaded.venues["binance_spot"]
    assert (venue.ws_url, venue.rest_url) == ("wss://stream.binance.com:9443", "https://api.binance.com")
    assert venue.symbols == ["BTC/USDT", "ETH/USDT"]
    assert venue == VenueConfig(ws_url=venue.ws_url, rest_url=venue.rest_url, symbols=venue.symbols)
    written = tomllib.loads((ROOT / "config" / "venues" / "binance_spot.toml").read_text())
    assert written.keys() == set(VenueConfig.__struct_fields__) - {"enabled", "options"}


def test_the_venues_own_file_beside_the_given_one_fills_in(tmp_path: Path) -> None:
    write(tmp_path, "depth = 50\nstale_after = 9.5\nws_url = 'ws://own'\n", "venues/binance_spot.toml")
    path = write(tmp_path, GOOD)
    venue = load(path).venues["binance_spot"]
    assert (venue.ws_url, venue.depth, venue.stale_after) == ("ws://h:1", 50, 9.5)
    origins = load(path).origins
    assert origins["venues", "binance_spot", "depth"].endswith("venues/binance_spot.toml")
    assert origins["venues", "binance_spot", "ws_url"] == str(path)


def test_without_a_file_beside_it_the_shipped_one_fills_in(tmp_path: Path) -> None:
    path = write(tmp_path, "[venues.binance_spot]\ndepth = 5\n")
    venue = load(path).venues["binance_spot"]
    assert (venue.depth, venue.rest_url) == (5, "https://api.binance.com")


def test_disabled_venues_get_no_worker(tmp_path: Path) -> None:
    loaded = load(write(tmp_path, "[venues.binance_spot]\nenabled = false\n"))
    assert list(loaded.venues) == ["binance_spot"]
    assert loaded.enabled == {}


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    loaded = load(
        write(tmp_path, GOOD),
        {
            "TICKRING_ENGINE__LISTEN": "0.0.0.0:80",
            "TICKRING_ENGINE__INSTANCE": "12",
            "TICKRING_INSTANCE": "less-specific",
            "TICKRING_VENUES__BINANCE_SPOT__SYMBOLS": '["ETH/USDT", "SOL/USDT"]',
            "TICKRING_VENUES__BINANCE_SPOT__STALE_AFTER": "2.5",
            "TICKRING_VENUES__BINANCE_SPOT__CPU": "none",
            "TICKRING_EXT": "nothing of ours",
            "PATH": "/bin",
        },
    )
    assert (loaded.engine.listen, loaded.engine.instance) == ("0.0.0.0:80", "12")
    venue = loaded.venues["binance_spot"]
    assert (venue.symbols, venue.stale_after, venue.cpu) == (["ETH/USDT", "SOL/USDT"], 2.5, "none")


def test_the_instance_of_the_command_line_wins(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    assert load(path, {"TICKRING_INSTANCE": "a"}).engine.instance == "a"
    assert load(path, {"TICKRING_INSTANCE": "a"}, "b").engine.instance == "b"


def test_nothing_is_read_from_the_environment_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TICKRING_ENGINE__LISTEN", "1.2.3.4:5")
    assert load(write(tmp_path, GOOD)).engine.listen == "127.0.0.1:9464"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[engin]\n[venues.binance_spot]",
            "FILE: engin = {}: unknown key; did you mean engine? (allowed: eng",
        ),
        (
            "[engine]\ninstnce = 'a'",
            'FILE: engine.instnce = "a": unknown key; did you mean instance? (allowed',
        ),
        (
            "[engine]\ninstance = 'a.b'",
            "FILE: engine.instance = \"a.b\": the name 'a.b' is not allowed: 1 to 48 of",
        ),
        (
            "[engine]\nlisten = '9464'",
            'FILE: engine.listen = "9464": expected host:port with a port of 0 to 65535',
        ),
        ("[engine]\nlisten = 'h:70000'", 'FILE: engine.listen = "h:70000": expected host:port'),
        (
            "[engine]\nrequire = 'some'",
            'FILE: engine.require = "some": expected one of listed, all',
        ),
        (
            "[engine]\nlog_level = 'loud'",
            'FILE: engine.log_level = "loud": expected one of debug, info, warning, error',
        ),
        ("engine = 1", "FILE: engine = 1: expected a table [engine]"),
        (
            "[venues]\nbinance_spot = 1",
            "FILE: venues.binance_spot = 1: expected a table [venues.binance_spot]",
        ),
        (
            "[venues.binance_sopt]",
            "FILE: venues.binance_sopt: unknown venue; did you mean binance_spot? (allowed",
        ),
        ("[venues.'No.']", "FILE: venues.No.: the name 'No.' is not allowed"),
        ("", "FILE: no venue: add a table such as [venues.binance_spot]"),
        ("[engine", "FILE: is not valid TOML: "),
    ],
)
def test_mistakes_in_the_file_are_one_line(tmp_path: Path, text: str, expected: str) -> None:
    (line,) = problems(write(tmp_path, text))
    assert line.startswith(expected)
    assert "\n" not in line


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("depht", "20", "unknown key; did you mean depth? (allowed: depth, "),
        ("depth", '"20"', "expected `int`, got `str`"),
        ("depth", "0", "depth must be 1 to 5000, not 0"),
        ("ring_slots", "1000", "slots must be a power of two, at least 8, not 1000"),
        ("ring_slots", "128", "slots = 128 is too small for depth = 20: one update may be 82 records"),
        ("symbols", "[]", "expected at least one symbol"),
        ("symbols", '["BTCUSDT"]', "'BTCUSDT' is not a canonical symbol: expected BASE/QUOTE"),
        ("symbols", '["A/B", "A/B"]', "A/B named more than once"),
        ("channels", '["tpo"]', "'tpo' is not a channel: did you mean top? (allowed: top, book"),
        ("cpu", "-1", 'expected "auto", "none" or a core number'),
        ("cpu", '"first"', 'expected "auto", "none" or a core number'),
        ("cpu", "1.5", "expected `int | str`, got `float`"),
        ("ws_url", '"http://h"', "expected wss://host[:port] or ws://host[:port]"),
        ("rest_url", '"https://h:99999"', "expected https://host[:port] or http://host[:port]"),
        ("heartbeat_limit", "0.01", "expected 0.1 to 10 seconds"),
        ("stale_after", "nan", "expected 0.1 to 86400 seconds"),
        ("max_reconnect_delay", "0.1", "expected at least reconnect_delay = 0.5"),
        ("symbols", '"A/B"', 'expected `array`, got `str`, such as ["BTC/USDT", "ETH/USDT"]'),
        ("channels", "1", 'expected `array`, got `int`, such as ["top", "book"]'),
    ],
)
def test_mistakes_in_a_venue_name_file_key_value_and_what_is_allowed(
    tmp_path: Path, key: str, value: str, expected: str
) -> None:
    (line,) = problems(write(tmp_path, f"[venues.binance_spot]\n{key} = {value}\n"))
    assert line.startswith(f"FILE: venues.binance_spot.{key} = ")
    assert expected in line


def test_more_symbols_than_slots(tmp_path: Path) -> None:
    text = '[venues.binance_spot]\nsymbols = ["A/B", "C/D"]\nmax_instruments = 1\n'
    assert problems(write(tmp_path, text)) == [
        "FILE: venues.binance_spot.max_instruments = 1: expected at least 2: there are that many symbols"
    ]


def test_an_unknown_key_hides_no_other_mistake(tmp_path: Path) -> None:
    text = (
        "[venues.binance_spot]\nfoo = 1\nbar = 1\nring_slots = 128\n[venues.binance_spot.options]\nbaz = 1\n"
    )
    with pytest.raises(SettingsError) as caught:
        load_and_check(write(tmp_path, text), {})
    for named in ("foo = 1", "bar = 1", "ring_slots = 128", "options.baz = 1"):
        assert [line for line in caught.value.problems if named in line], named


def test_every_mistake_is_reported_at_once(tmp_path: Path) -> None:
    text = "[engine]\nlisten = 'x'\n[venues.binance_spot]\ndepth = 'x'\nfoo = 1\n"
    assert len(problems(write(tmp_path, text))) == 3


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("TICKRING_ENGINE__LISTEN", "x", 'TICKRING_ENGINE__LISTEN: engine.listen = "x": expected host:port'),
        ("TICKRING_ENGINE__PORT", "1", "TICKRING_ENGINE__PORT: engine.port = 1: unknown key"),
        (
            "TICKRING_VENUES__OKX__DEPTH",
            "1",
            "environment: TICKRING_VENUES__OKX__DEPTH: no table [venues.okx] here",
        ),
        (
            "TICKRING_VENUES__BINANCE_SPOT__DEPTH",
            "many",
            'TICKRING_VENUES__BINANCE_SPOT__DEPTH: venues.binance_spot.depth = "many": expected `int`',
        ),
    ],
)
def test_mistakes_in_the_environment_name_the_variable(
    tmp_path: Path, variable: str, value: str, expected: str
) -> None:
    (line,) = problems(write(tmp_path, GOOD), {variable: value})
    assert line.startswith(expected)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert problems(tmp_path / "none.toml") == ["FILE: cannot be read: No such file or directory"]


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe")
    assert problems(path) == ["FILE: is not UTF-8 text"]


def test_required_keys_without_any_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "data_directory", lambda: tmp_path)
    assert problems(write(tmp_path, "[venues.binance_spot]\n")) == [
        f"FILE: venues.binance_spot.{key}: missing, and it has no default"
        for key in ("rest_url", "ws_url", "symbols")
    ]


def test_show_is_toml_and_names_origins(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    shown = settings.show(load(path, {"TICKRING_ENGINE__LOG_LEVEL": "debug"}))
    again = tomllib.loads(shown)
    assert again["engine"]["log_level"] == "debug"
    assert msgspec.convert(again["venues"]["binance_spot"], VenueConfig) == load(path).venues["binance_spot"]
    assert "# TICKRING_ENGINE__LOG_LEVEL" in shown
    assert f"# {path}" in shown
    assert "# default" in shown


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("20", int, 20),
        ("0.5", float, 0.5),
        ("true", bool, True),
        ('["A/B"]', None, ["A/B"]),
        ("auto", None, "auto"),
        ("127.0.0.1:1", str, "127.0.0.1:1"),
        ('"quoted"', str, "quoted"),
        ("12", str, "12"),
        ("", str, ""),
    ],
)
def test_override_values(text: str, kind: object, value: object) -> None:
    assert settings.parse_override(text, kind) == value
