"""`/readyz`, `/status`, `tickring status` and the metrics say the same of a feed, all by `shm.readiness`.

Kind: two views of one feed that contradict each other; `/readyz` said 200 while no top was LIVE, and an alert
fired for a market that was quiet and well."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.parser import text_string_to_metric_families

from engine import cli
from engine.http import sample, server
from engine.settings.settings import EngineSettings, Settings
from engine.supervision import engine as service
from engine.supervision.memory import SharedMemory
from engine.views import board
from shm import _ring, attach
from shm.instruments import Instrument
from shm.layout import Geometry, InstrumentStatus, Reason, State
from shm.readiness import REQUIRE, Require
from shm.segment import open_writer
from shm.writer import Writer
from tests.instances import mine

INSTANCE = mine("readyz")
SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT")
SECOND = 1_000_000_000
Change = Callable[[Writer], None]


@pytest.fixture
def writer() -> Iterator[Writer]:
    """Three symbols, all LIVE and subscribed; nothing is owed."""
    made = open_writer(INSTANCE, "venue", Geometry(slots=256, instruments=8), heartbeat_limit=60.0)
    for symbol in SYMBOLS:
        index = made.add_instrument(
            Instrument(symbol=symbol, venue_symbol=symbol.replace("/", ""), price_exp=2, size_exp=5)
        )
        made.top(index, 1, 1, 2, 1)
        made.book_cell(index, [(1, 1)], [(2, 1)])
        for channel in ("top", "book", "trades"):
            made.set_delivery(index, channel, _ring.now(), 0)
    made.set_state(State.LIVE, Reason.SYNCED)
    made.heartbeat()
    made.commit()
    yield made
    made.close(unlink=True)


def look(require: Require = "listed") -> tuple[int, dict[str, Any], dict[str, Any], dict[str, float]]:
    """Status and body of /readyz, the feed of /status, and the metrics that have no symbol (name -> value) or
    that are of one (name symbol channel -> value)."""

    async def ask() -> tuple[int, Any, Any, str]:
        async with TestClient(TestServer(server.application(INSTANCE, ["venue"], require))) as client:
            readyz = await client.get("/readyz")
            body, status = await readyz.json(), await (await client.get("/status")).json()
            return readyz.status, body, status["feeds"][0], await (await client.get("/metrics")).text()

    code, body, feed, text = asyncio.run(ask())
    metrics = {}
    for family in text_string_to_metric_families(text):
        for found in family.samples:
            if found.labels.get("feed") == "venue" and "le" not in found.labels:
                where = [found.labels[key] for key in ("symbol", "channel") if key in found.labels]
                metrics[" ".join([found.name.removeprefix("tickring_"), *where])] = found.value
    return code, body, feed, metrics


def test_a_well_feed(writer: Writer) -> None:
    code, body, feed, metrics = look("all")
    assert (code, body) == (200, {"ready": True, "not_ready": {}})
    assert (feed["name"], feed["state"], feed["pid"], feed["ready"]) == ("venue", "LIVE", os.getpid(), True)
    assert feed["symbols"]["BTC/USDT"]["status"] == "ACTIVE"
    assert feed["symbols"]["BTC/USDT"]["cells"] == {"top": "LIVE", "book": "LIVE"}
    assert set(feed["symbols"]["BTC/USDT"]["channels"]) == {"top", "book", "trades"}
    assert metrics["feed_ready"] == 1
    assert metrics["instrument_status ETH/USDT"] == 1
    assert metrics["channel_age_seconds BTC/USDT trades"] < 60
    absent = ("instrument_missing", "channel_overdue", "channel_expected_seconds")
    assert not [name for name in metrics if name.startswith(absent)]


def rebuilt(writer: Writer) -> None:
    writer.book_state(0, State.RESYNC, Reason.GAP)


def stale(writer: Writer) -> None:
    writer.top_state(0, State.STALE, Reason.SILENT)


def refused(writer: Writer) -> None:
    writer.top_state(0, State.DOWN, Reason.UNSUBSCRIBED)
    writer.set_delivery(0, "top", 0, 0)


def late(writer: Writer) -> None:
    writer.top_state(0, State.RESYNC, Reason.CONNECTING)
    writer.set_delivery(0, "top", _ring.now() - 31 * SECOND, 30 * SECOND)


@pytest.mark.parametrize(
    ("change", "channel", "expected", "state"),
    [
        (rebuilt, "book", "RESYNC (GAP)", 1),
        (stale, "top", "STALE (SILENT)", 2),
        (refused, "top", "DOWN (UNSUBSCRIBED)", 0),
        (late, "top", "RESYNC (CONNECTING)", 1),
    ],
)
def test_a_cell_that_is_missing_is_named_everywhere(
    writer: Writer, change: Change, channel: str, expected: str, state: int
) -> None:
    change(writer)
    writer.commit()
    code, body, feed, metrics = look()
    assert code == 503
    assert body["missing"] == {"venue": {"BTC/USDT": {channel: expected}}}
    assert f"not delivered: BTC/USDT {channel} {expected}" in body["not_ready"]["venue"]
    assert feed["missing"] == {"BTC/USDT": {channel: expected}}
    assert (feed["ready"], feed["not_ready"]) == (False, body["not_ready"]["venue"])
    assert metrics[f"instrument_missing BTC/USDT {channel}"] == state
    assert (metrics["feed_ready"], metrics["feed_cells_missing"]) == (0, 1)


def test_a_cell_that_owes_nothing_yet_is_waited_for(writer: Writer) -> None:
    writer.top_state(0, State.RESYNC, Reason.CONNECTING)
    writer.set_delivery(0, "top", _ring.now() - 600 * SECOND, 0)
    writer.commit()
    code, body, feed, metrics = look()
    assert code == 200
    assert body == {"ready": True, "not_ready": {}, "waiting": {"venue": {"BTC/USDT": ["top"]}}}
    assert feed["waiting"] == {"BTC/USDT": ["top"]}
    assert (metrics["feed_ready"], metrics["feed_cells_waiting"]) == (1, 1)
    assert "instrument_missing BTC/USDT top" not in metrics


def test_an_overdue_channel_without_a_cell(writer: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    writer.set_delivery(1, "mark", _ring.now() - 10 * SECOND, 2 * SECOND)
    code, body, feed, metrics = look()
    assert (code, body["overdue"]) == (503, {"venue": {"ETH/USDT": ["mark"]}})
    assert body["not_ready"] == {"venue": "overdue: ETH/USDT mark"}
    channel = feed["symbols"]["ETH/USDT"]["channels"]["mark"]
    assert (channel["age"] >= 10, channel["within"]) == (True, 2)
    assert metrics["channel_overdue ETH/USDT mark"] == 1
    assert metrics["channel_expected_seconds ETH/USDT mark"] == 2
    assert metrics["channel_age_seconds ETH/USDT mark"] >= 10
    assert cli.run(["status", "--instance", INSTANCE]) == 0
    assert "  overdue: ETH/USDT mark" in capsys.readouterr().out.splitlines()


def unlist(writer: Writer) -> None:
    writer.set_instrument_status(2, InstrumentStatus.NOT_LISTED)
    for state in (writer.top_state, writer.book_state):
        state(2, State.DOWN, Reason.NOT_LISTED)
    for channel in ("top", "book", "trades"):
        writer.set_delivery(2, channel, 0, 0)


def halt(writer: Writer) -> None:
    writer.set_instrument_status(2, InstrumentStatus.HALTED)


@pytest.mark.parametrize(
    ("change", "key", "number", "books"), [(unlist, "not_listed", 4, 2), (halt, "halted", 2, 3)]
)
def test_not_listed_and_halted_are_named_and_block_only_with_all(
    writer: Writer, change: Change, key: str, number: int, books: int, capsys: pytest.CaptureFixture[str]
) -> None:
    change(writer)
    writer.commit()
    code, body, feed, metrics = look()
    assert (code, body[key]) == (200, {"venue": ["SOL/USDT"]})
    assert (feed["ready"], feed[key]) == (True, ["SOL/USDT"])
    assert feed["cells"]["book"] == {"LIVE": books}
    assert metrics["instrument_status SOL/USDT"] == number
    assert (metrics[f"feed_symbols_{key}"], metrics["feed_ready"]) == (1, 1)
    code, body, _, metrics = look("all")
    assert (code, metrics["feed_ready"]) == (503, 0)
    assert body["not_ready"] == {"venue": f"{key.replace('_', ' ')}: SOL/USDT"}
    assert cli.run(["status", "--instance", INSTANCE]) == 0
    assert f"  {key.replace('_', ' ')}: SOL/USDT" in capsys.readouterr().out.splitlines()
    with attach("venue", INSTANCE) as reader:
        seen = board.take({"venue": reader})
    assert seen.feeds[0].books == (books, books)
    assert not seen.quotes[2].live  # a price that cannot be traded is nobody's best
    assert any(f" {InstrumentStatus(number).name} " in line for line in board.plain_lines(seen))


@pytest.mark.parametrize("status", [InstrumentStatus.HALTED, InstrumentStatus.NOT_LISTED])
def test_symbol_that_the_configuration_names_no_more_raises_nothing(
    writer: Writer, status: InstrumentStatus, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kind: an alert that goes on when its advice was followed. `status` names it, nothing else does: alerts
    are about series that it does not have."""
    writer.set_instrument_status(2, status)
    for state in (writer.top_state, writer.book_state):
        state(2, State.DOWN, Reason.UNSUBSCRIBED)
    for channel in ("top", "book", "trades"):
        writer.set_delivery(2, channel, 0, 0)
    writer.commit()
    code, body, feed, metrics = look("all")
    assert (code, body) == (200, {"ready": True, "not_ready": {}})
    assert set(feed["symbols"]) == {"BTC/USDT", "ETH/USDT"}
    alerted = ("instrument_status", "instrument_missing", "channel_overdue")
    assert not any("SOL/USDT" in name for name in metrics if name.startswith(alerted))
    assert metrics["feed_symbols_halted"] == metrics["feed_symbols_not_listed"] == 0
    assert feed["instruments"] == 3
    assert feed["unsubscribed"] == ["SOL/USDT"]
    assert cli.run(["status", "--instance", INSTANCE]) == 0
    assert "  UNSUBSCRIBED, not configured any more: SOL/USDT" in capsys.readouterr().out.splitlines()


def test_a_feed_that_is_down_says_so_once(writer: Writer) -> None:
    writer.set_state(State.DOWN, Reason.DISCONNECTED)
    for index in range(3):
        writer.top_state(index, State.DOWN, Reason.DISCONNECTED)
    writer.commit()
    code, body, feed, _ = look()
    assert (code, body) == (503, {"ready": False, "not_ready": {"venue": "is DOWN (DISCONNECTED)"}})
    assert feed["not_ready"] == "is DOWN (DISCONNECTED)"


def test_many_missing_cells_are_counted_in_the_line_and_named_in_the_body(writer: Writer) -> None:
    for index in range(3):
        writer.top_state(index, State.STALE, Reason.SILENT)
        writer.book_state(index, State.STALE, Reason.SILENT)
    writer.commit()
    _, body, _, _ = look()
    assert body["not_ready"]["venue"].endswith("ETH/USDT top STALE (SILENT) and 3 more")
    assert set(body["missing"]["venue"]) == set(SYMBOLS)


def test_a_look_at_many_symbols_is_quick() -> None:
    """Rendering must stay far below a scrape's timeout: 200 symbols of 7 channels, and their metrics."""
    from engine.http import metrics
    from shm.channels import CHANNELS

    writer = open_writer(INSTANCE, "venue", Geometry(slots=256, instruments=200), heartbeat_limit=60.0)
    try:
        for number in range(200):
            symbol = f"S{number}/USDT"
            index = writer.add_instrument(
                Instrument(symbol=symbol, venue_symbol=symbol, price_exp=2, size_exp=5)
            )
            for channel in CHANNELS:
                writer.set_delivery(index, channel, _ring.now(), SECOND)
        writer.set_state(State.LIVE, Reason.SYNCED)
        writer.heartbeat()
        began = time.process_time()
        text = metrics.render(lambda: sample.take(INSTANCE, ["venue"]))
        taken = time.process_time() - began
    finally:
        writer.close(unlink=True)
    series = [line for line in text.splitlines() if not line.startswith(b"#")]
    assert len(series) < 200 * 32, (
        "series a symbol: 7 ages, 7 expectations, 2 states, 2 ages, 1 status, counters"
    )
    assert taken < 1.0, f"{taken:.3f} s of CPU"
    print(f"{len(series)} series in {taken * 1e3:.0f} ms")


def test_the_setting_reaches_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    spawned: list[list[str]] = []
    monkeypatch.setattr(service, "spawn", lambda name, arguments, **_: spawned.append(arguments))
    for require in REQUIRE:
        settings = Settings(engine=EngineSettings(instance=INSTANCE, require=require), venues={})
        engine = service.Engine(settings, SharedMemory(INSTANCE))
        with socket.socket() as engine._socket:
            engine._spawn_http("http")
    assert [given[given.index("--require") + 1] for given in spawned] == list(REQUIRE)
    assert EngineSettings().require == "listed"


def test_a_long_look_does_not_hold_up_the_loop(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop's heartbeat goes on while hundreds of symbols are rendered; else the supervisor calls the
    process hung."""
    turns: list[int] = []
    looked = threading.Event()
    real = sample.take

    def slow(*arguments: Any) -> list[sample.FeedSample]:
        assert looked.wait(10), "the loop stood still"
        return real(*arguments)

    monkeypatch.setattr(sample, "take", slow)

    async def ask() -> int:
        async with TestClient(TestServer(server.application(INSTANCE, ["venue"]))) as client:
            request = asyncio.ensure_future(client.get("/metrics"))
            while not request.done():
                await asyncio.sleep(0.001)
                turns.append(1)
                if len(turns) == 50:
                    looked.set()
            return (await request).status

    assert asyncio.run(ask()) == 200
    assert len(turns) >= 50
