"""`tickring events`: a feed's event log in words, once and followed, over restarts and generations."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import shm
from engine import cli
from engine.views import events
from shm.events import Code, describe
from shm.instruments import Instrument
from shm.layout import Geometry, Reason, Scope
from shm.segment import open_writer
from shm.writer import Writer
from tests.instances import mine

INSTANCE = mine("events")
ROOT = Path(__file__).parents[2]
SYMBOL = "BTC/USD:BTC-220527"


def make(slots: int = 256) -> Writer:
    made = open_writer(INSTANCE, "venue", Geometry(slots=slots, instruments=2), heartbeat_limit=60.0)
    if not made.instruments():
        made.add_instrument(Instrument(symbol=SYMBOL, venue_symbol="BTC", price_exp=1, size_exp=0))
    return made


@pytest.fixture
def writer() -> Iterator[Writer]:
    made = make()
    made.log(Code.CONNECTED, 1)
    made.log(Code.GAP, 10, 12, instrument=0)
    made.log(Code.RESYNC, Reason.GAP, instrument=0)
    yield made
    made.close(unlink=True)


def test_in_words(writer: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["events", "venue", "--instance", INSTANCE]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[20:].split("Z ")[1] for line in lines] == [
        "info    connected, connection 1",
        f"warning {SYMBOL}: gap: expected update 10, got 12",
        f"warning {SYMBOL}: book is being rebuilt: gap",
    ]
    assert lines[0][4] == lines[0][7] == "-"


def test_as_json_the_newest(writer: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["events", "venue", "--count", "1", "--json", "--instance", INSTANCE]) == 0
    [line] = capsys.readouterr().out.splitlines()
    event = json.loads(line)
    assert event.pop("time").endswith("Z")
    assert event == {
        "seq": 3,
        "severity": "warning",
        "code": "resync",
        "symbol": SYMBOL,
        "text": "book is being rebuilt: gap",
    }


def test_of_no_feed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["events", "venue", "--instance", f"{INSTANCE}-none"]) == 4
    assert capsys.readouterr().err.startswith("tickring: no feed 'venue' in instance")


def test_following_shows_what_comes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, Any]] = []
    writers = [make()]
    writers[0].log(Code.CONNECTED, 1)

    def nap(seconds: float) -> None:
        if len(shown) == 1:
            writers[0].log(Code.ERROR, "first")
            writers[0].log(Code.ERROR, "second")
        elif len(shown) == 3:
            writers[0].close(unlink=False)
            writers[:] = [make(slots=512)]  # another geometry: a new generation, whose log begins anew
            writers[0].log(Code.ERROR, "third")
        else:
            raise KeyboardInterrupt

    monkeypatch.setattr(events.time, "sleep", nap)
    with shm.attach("venue", INSTANCE) as feed:
        events.follow(feed, shown.append, 1, True)
    writers[0].close(unlink=True)
    assert [one["text"] for one in shown if one["code"] == "error"] == ["first", "second", "third"]


def test_an_order_to_stop_ends_it_cleanly(writer: Writer) -> None:
    command = [sys.executable, "-m", "engine.cli", "events", "venue", "--follow", "--instance", INSTANCE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert "connected" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


@pytest.mark.parametrize(
    ("code", "words", "text"),
    [
        (Code.STALE, (1200, Scope.TOP, 0, 0), "top: no proof of delivery for 1200 ms"),
        (Code.STALE, (1200, 0, 0, 0), "no proof of delivery for 1200 ms"),
        (Code.FRESH, (Scope.BOOK, 0, 0, 0), "book: delivers again"),
        (Code.FRESH, (0, 0, 0, 0), "delivers again"),
        (Code.CONNECTED, (2, 0, 0, 0), "connected, connection 2"),
        (Code.CONNECTED, (3, 1, 0, 0), "connected again, connection 3"),
        (Code.STARTED, (77, 1, 0, 0), "worker 77 started, epoch 1"),
        (
            Code.STARTED,
            (78, 2, 0, 0),
            "worker 78 started, epoch 2; the one before had ended without an order",
        ),
    ],
)
def test_words_of_events(code: Code, words: tuple[int, ...], text: str) -> None:
    assert describe(code, words) == text
