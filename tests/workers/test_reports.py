"""What a worker reports to its operator: where the venue's code raised, why there is no snapshot."""

from __future__ import annotations

import json
import traceback
from types import SimpleNamespace
from typing import Any

import pytest

from shm.events import Code
from workers.books.snapshots import OLDER
from workers.worker.reports import PLACES, Reports


class Log:
    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def log(self, *event: Any) -> None:
        self.events.append(event)


@pytest.fixture
def writer() -> Log:
    return Log()


@pytest.fixture
def reports(writer: Any) -> Reports:
    return Reports(writer, "binance_spot")


def raised(text: str) -> BaseException:
    try:
        json.loads(text)
    except ValueError as error:
        return error
    raise AssertionError("it is JSON")


def test_a_fault_is_reported_once_a_place(
    reports: Reports, writer: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        reports.message_failed(raised("{"), b'{"stream":' + b"x" * 500)
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("worker binance_spot: a message could not be handled: json/decoder.py:")
    assert "JSONDecodeError: Expecting property name" in line
    assert """it begins b'{"stream":xxx""" in line
    assert len(line) < 300
    [(code, text)] = writer.events
    assert (code, text.startswith("json/decoder.py:")) == (Code.ERROR, True)


def test_the_place_is_in_the_venues_own_code(
    reports: Reports, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["/x/dispatch.py", "/x/workers/venues/toy/parser.py", "/x/json/decoder.py"]
    frames = [traceback.FrameSummary(name, 7, "f") for name in names]
    monkeypatch.setattr(traceback, "extract_tb", lambda trace: frames)
    reports.message_failed(KeyError("s"), b"{}")
    assert "toy/parser.py:7: KeyError: 's'; it begins b'{}'" in capsys.readouterr().err


def test_places_are_bounded(
    reports: Reports, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3 * PLACES):
        frame = traceback.FrameSummary("/x/generated.py", number, "f")
        monkeypatch.setattr(traceback, "extract_tb", lambda trace, frame=frame: [frame])
        reports.message_failed(ValueError("x"), b"")
    assert len(capsys.readouterr().err.splitlines()) == PLACES


def test_attempts_at_a_snapshot_are_reported_ever_more_rarely(
    reports: Reports, capsys: pytest.CaptureFixture[str]
) -> None:
    made: Any = SimpleNamespace(symbol="BTC/USDT:USDT")
    for attempt in range(1, 101):
        reports.snapshot_failed(made, attempt, "HTTP 503")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "worker binance_spot: BTC/USDT:USDT: snapshot attempt 1 failed: HTTP 503"
    assert len(lines) == 7


def test_a_snapshot_that_is_older_than_the_stream_is_asked_for_again_without_a_word(
    reports: Reports, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kind: what a venue's own rules expect is reported as a failure. Snapshots of MEXC are often
    older than its stream (rule 4), and each of those was a warning."""
    made: Any = SimpleNamespace(symbol="BTC/USDT")
    for attempt in range(1, 101):
        reports.snapshot_failed(made, attempt, OLDER)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"worker binance_spot: BTC/USDT: snapshot attempt 8 failed: {OLDER}"
    assert len(lines) == 4
