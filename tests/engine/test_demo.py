"""The demo, its views and its beginnings, and the doctor's findings."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

import shm
from engine import cli, doctor
from engine.demo import choose_markets, configuration, hints, pick_symbols
from engine.errors import EngineError
from engine.settings.settings import EngineSettings, Settings, available_venues, load
from engine.settings.venues import check
from engine.supervision.process import start_and_read
from engine.views.board import Board, take
from engine.views.screen import PlainScreen, RichScreen
from shm.instruments import Instrument
from shm.layout import Geometry, Reason, State
from shm.segment import open_writer
from shm.writer import Writer
from tests.instances import mine
from workers.config.venue import VenueConfig
from workers.sim import FEEDS

INSTANCE = mine("demo")


@pytest.fixture
def writer() -> Iterator[Writer]:
    made = open_writer(INSTANCE, "venue", Geometry(slots=256, instruments=4), heartbeat_limit=60.0)
    made.add_instrument(Instrument(symbol="BTC/USDT", venue_symbol="BTCUSDT", price_exp=2, size_exp=5))
    made.set_state(State.LIVE, Reason.SYNCED)
    made.top(0, 12345, 100000, 12350, 5, ts_recv=time.monotonic_ns())
    made.book_cell(0, [(12345, 100000)], [(12350, 5), (12360, 7)])
    made.commit()
    made.heartbeat()
    yield made
    made.close(unlink=True)


def look() -> Board:
    with shm.attach("venue", INSTANCE) as feed:
        return take({"venue": feed})


def test_plain_lines(writer: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    screen = PlainScreen()
    screen.start(["metrics http://h/metrics"])
    screen.show(look())
    screen.stop()
    assert capsys.readouterr().out.splitlines() == [
        "metrics http://h/metrics",
        "venue           BTC/USDT       LIVE   bid 1.00000 @ 123.45  ask 123.50 @ 0.00005",
        "stopped",
    ]


def test_a_terminal_shows_prices_hints_and_what_happened(writer: Writer) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80, height=24)
    screen = RichScreen(["feed: restarted"], console)
    screen.start(["how to attach"])
    screen.show(look())
    screen.show(look())
    screen.stop()
    for text in ("BTC/USDT", "LIVE", "123.45", "123.50", "how to attach", "feed: restarted"):
        assert text in out.getvalue()
    assert "…" not in out.getvalue()


def test_hints_say_where_and_how_within_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [".venv/bin/tickring", "demo"])
    venues = {
        feed: VenueConfig(ws_url="ws://h", rest_url="http://h", symbols=[symbol])
        for feed, symbol in (("binance_futures", "BTC/USDT:USDT"), ("binance_spot", "BTC/USDT"))
    }
    lines = hints(Settings(engine=EngineSettings(instance="demo"), venues=venues), "http://127.0.0.1:9464")
    output = "\n".join(lines)
    assert "http://127.0.0.1:9464/metrics" in output
    assert "--instance demo" in output
    assert "shm.attach('binance_spot', 'demo').top('BTC/USDT')" in output
    assert max(map(len, lines)) <= 80


def test_a_bad_name_is_the_command_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["demo", "--instance", "Bad Name"]) == 2
    output = capsys.readouterr().err
    assert output.startswith("tickring: --instance 'Bad Name': ")
    assert "demo.toml" not in output


def test_a_market_of_each_base_spot_before_swaps() -> None:
    listed = ["SOL/USD:SOL", "BTC/USDT:USDT", "BTC/USDT", "BTC/USD", "DOGE/USDT"]
    assert pick_symbols(listed) == ["BTC/USDT", "SOL/USD:SOL"]


def test_every_venue_that_can_be_simulated_is_shown() -> None:
    markets = choose_markets()
    assert list(markets) == [name for name in available_venues() if name in FEEDS]
    for symbols in markets.values():
        assert {"BTC", "ETH"} <= {symbol.partition("/")[0] for symbol in symbols}


def test_its_configuration_is_one_like_any_other(tmp_path: Path) -> None:
    markets = choose_markets()
    urls = {feed: {"ws_url": "ws://h:1", "rest_url": "http://h:2"} for feed in markets}
    file = tmp_path / "demo.toml"
    file.write_text(configuration("demo", "off", markets, urls, "none"))
    settings = load(file)
    check(settings)
    assert {feed: venue.symbols for feed, venue in settings.venues.items()} == markets
    assert {venue.ws_url for venue in settings.venues.values()} == {"ws://h:1"}


def test_a_helper_that_dies_or_says_nothing_is_an_error() -> None:
    with pytest.raises(EngineError, match="ended with 3"):
        start_and_read(["-c", "raise SystemExit(3)"], timeout=10)
    with pytest.raises(EngineError, match=r"wrote nothing for 0\.2 s"):
        start_and_read(["-c", "import time; time.sleep(30)"], timeout=0.2)


HELPER = """
from engine.supervision.process import start_and_read
import os
program = "import os, time; print(os.getpid(), flush=True); time.sleep(30)"
process, line = start_and_read(["-c", program], timeout=10)
print(line.decode(), flush=True)
os.kill(os.getpid(), 9)
"""


def test_a_helper_dies_with_its_parent() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HELPER], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    stat = Path(f"/proc/{int(done.stdout)}/stat")
    deadline = time.monotonic() + 2
    while stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.005)


def levels(found: list[doctor.Check]) -> dict[str, str]:
    return {check.name: check.level for check in found}


def test_doctor_finds_this_machine_fit(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text(f"[engine]\ninstance = '{INSTANCE}'\n[venues.binance_spot]\ncpu = 'none'\n")
    found = doctor.examine(path, {})
    assert levels(found)["memory"] == "ok"
    assert levels(found)["settings"] == "ok"
    assert all(len(check.text_line().splitlines()) == 1 for check in found)


def test_doctor_names_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.toml"
    path.write_text("[venues.binance_spot]\ncpu = 4096\nring_slots = 1099511627776\n")
    found = {check.name: check for check in doctor.examine(path, {})}
    assert found["cores"].bad
    assert "may run on" in found["cores"].text
    assert found["memory"].bad
    assert "enlarge it (docker: shm_size) or lower ring_slots" in found["memory"].text
    path.write_text("[venues.binance_spot]\ndepht = 1\n")
    found = {check.name: check for check in doctor.examine(path, {})}
    assert found["settings"].bad
    path.write_text("[venues.binance_spot]\ncpu = 'none'\nchannels = ['mark']\n")
    found = {check.name: check for check in doctor.examine(path, {})}
    assert "'mark' is no channel of this venue" in found["settings"].text
    monkeypatch.setattr(doctor, "NATIVE", ("shm._none",))
    assert "run: make build" in {check.name: check for check in doctor.examine(path, {})}["build"].text


def test_doctor_lists_segments_nobody_writes(tmp_path: Path, writer: Writer) -> None:
    writer.set_state(State.DOWN, Reason.DISCONNECTED)
    found = doctor.examine(None, {})
    assert not any("nobody" in check.text for check in found if INSTANCE in check.text), "it beats"
    writer.beat(1, 0)  # a nanosecond after the boot: nobody has beaten since
    found = doctor.examine(None, {})
    assert any(f"of instance {INSTANCE}" in check.text for check in found if check.name == "segments")
    with shm.attach("venue", INSTANCE) as feed:
        assert not feed.mapping.load(1040), "only listed"


def test_doctor_tries_the_network_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text(
        "[venues.binance_spot]\ncpu = 'none'\nws_url = 'ws://127.0.0.1:1'\nrest_url = 'http://127.0.0.1:1'\n"
    )
    assert "network" not in levels(doctor.examine(path, {}))
    (one, other) = [check for check in doctor.examine(path, {}, network=True) if check.name == "network"]
    assert one.bad
    assert other.bad
    assert "not reachable: Connection refused" in one.text


def demo(*arguments: str, program: str = "from engine.cli import main; main()") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, "demo", "--instance", INSTANCE, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def left() -> list[str]:
    return [path.name for path in Path("/dev/shm").glob(f"tickring.{INSTANCE}.*")]


def test_the_demo_shows_live_prices_of_every_venue_ends_by_itself_and_leaves_nothing() -> None:
    with demo("--seconds", "2") as process:
        out, _ = process.communicate(timeout=40)
    assert process.returncode == 0, out
    markets = choose_markets()
    for feed, symbols in markets.items():
        for symbol in symbols:
            assert f"{feed:<15} {symbol:<14} LIVE   bid " in out
    if len(markets) > 1:
        assert "BTC             best: buy " in out
    assert left() == []


def test_a_demo_in_which_a_feed_was_never_live_fails_and_names_it() -> None:
    program = "import engine.demo; engine.demo.LIVE_WITHIN = 0.01; from engine.cli import main; main()"
    with demo("--seconds", "5", program=program) as process:
        out, _ = process.communicate(timeout=40)
    assert process.returncode == 1
    assert f"not LIVE within 0.01 s: {', '.join(choose_markets())}" in out
    assert left() == []


def test_ctrl_c_ends_the_demo_and_its_tree() -> None:
    with demo() as process:
        assert process.stdout is not None
        line = ""
        while " LIVE " not in line:
            line = process.stdout.readline()
            assert line, "it ended before a price was LIVE"
        tree = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(tree) == 2 + len(choose_markets()), "simulated venues, workers, HTTP server"
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=10)
    assert process.returncode == 0, out
    assert not any(Path(f"/proc/{pid}").exists() for pid in tree)
    assert left() == []


def test_a_demo_that_nobody_reads_any_more_ends() -> None:
    """Its output is a pipe whose reader leaves: the view cannot go on, so nothing else may."""
    demo = subprocess.Popen(
        [sys.executable, "-m", "engine.cli", "demo", "--instance", f"{INSTANCE}-unread"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert demo.stdout is not None
        demo.stdout.readline()
        demo.stdout.close()
        assert demo.wait(20) == 1
    finally:
        demo.kill()
        demo.wait()
    assert not list(Path("/dev/shm").glob(f"tickring.{INSTANCE}-unread.*"))
