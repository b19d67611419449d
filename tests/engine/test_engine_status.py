"""What the running engine tells of its feeds: a feed that never came up is shown, with what it said."""

from __future__ import annotations

import asyncio
import io
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from engine import cli
from engine.http import sample, server
from engine.logging import configure
from engine.settings.settings import EngineSettings, Settings
from engine.supervision import status as engine_status
from engine.supervision.engine import Engine
from engine.supervision.memory import SharedMemory
from engine.supervision.process import spawn
from engine.supervision.status import EngineStatus, WorkerStatus
from engine.supervision.supervisor import Phase
from engine.views.views import status_text
from shm import segment
from tests.instances import mine
from workers.config.venue import VenueConfig

DUMMY = str(Path(__file__).with_name("dummy_worker.py"))
INSTANCE = mine("status")
SAID = "the venue lists no FOO/BAR"


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    yield
    assert list(Path("/dev/shm").glob(f"tickring.{INSTANCE}.*")) == []


def tree(**modes: str) -> Settings:
    venues = {
        feed: VenueConfig(
            ws_url=f"ws://{mode}",
            rest_url="http://none",
            symbols=["BTC/USDT"],
            ring_slots=256,
            max_instruments=4,
            cpu="none",
        )
        for feed, mode in modes.items()
    }
    return Settings(engine=EngineSettings(instance=INSTANCE, listen="off"), venues=venues)


def drive(scenario: Callable[[Engine], None], *, structured: bool = False, **modes: str) -> None:
    """The scenario is called once every feed is LIVE or parked."""
    engine = Engine(tree(**modes), SharedMemory(INSTANCE), worker=(DUMMY,), structured=structured)

    def settled() -> bool:
        live = {one.name for one in sample.take(INSTANCE, modes) if one.state is sample.State.LIVE}
        parked = {name for name, child in engine.machine.children.items() if child.phase is Phase.PARKED}
        return live | parked == modes.keys()

    async def both() -> None:
        running = asyncio.ensure_future(engine.run())
        try:
            deadline = time.monotonic() + 10
            while not settled():
                assert time.monotonic() < deadline
                await asyncio.sleep(0.005)
            scenario(engine)
        finally:
            engine.stop()
            await asyncio.wait_for(running, 10)

    asyncio.run(both())


def test_a_feed_whose_worker_never_came_up_is_down_and_says_why(capfd: pytest.CaptureFixture[str]) -> None:
    def scenario(engine: Engine) -> None:
        capfd.readouterr()
        where = ("--instance", INSTANCE)
        assert cli.run(["status", "--require-live", *where]) == 3
        out = capfd.readouterr().out
        [row] = [line for line in out.splitlines() if line.startswith("parked_one")]
        assert "DOWN (parked)" in row
        assert f"  parked: {SAID}" in out.splitlines()
        assert cli.run(["feeds", "--json", *where]) == 0
        document = json.loads(capfd.readouterr().out)
        assert document["engine"] == {"pid": os.getpid(), "address": None}
        states = {feed["name"]: (feed["state"], feed["worker"]["phase"]) for feed in document["feeds"]}
        assert states == {"good_one": ("LIVE", "running"), "parked_one": ("DOWN", "parked")}
        for command in (["events", "parked_one"], ["book", "parked_one", "A/B"], ["tail", "parked_one"]):
            assert cli.run([*command, *where]) == 4
            assert capfd.readouterr().err == (
                f"tickring: feed 'parked_one' of instance {INSTANCE!r} is not up: parked: {SAID}\n"
            )

    drive(scenario, good_one="good", parked_one="config")
    assert engine_status.read(INSTANCE) is None


def test_readyz_says_the_same() -> None:
    from aiohttp.test_utils import TestClient, TestServer

    async def ask() -> dict[str, object]:
        async with TestClient(TestServer(server.application(INSTANCE, ["okx"]))) as client:
            found: dict[str, object] = await (await client.get("/readyz")).json()
            return found

    lock = segment.exclusive_instance(INSTANCE)
    try:
        status = WorkerStatus(phase="parked", last_action="exited with 2; parked", last_stderr=SAID)
        engine_status.write(INSTANCE, EngineStatus(pid=1, feeds={"okx": status}))
        assert asyncio.run(ask()) == {"ready": False, "not_ready": {"okx": f"parked: {SAID}"}}
    finally:
        lock.release(unlink=True)
        assert engine_status.read(INSTANCE) is None, "what a dead engine has left says nothing"
        engine_status.remove(INSTANCE)


def test_where_no_engine_can_be_asked_that_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    from shm.layout import Geometry

    with_feed = segment.open_writer(INSTANCE, "venue", Geometry(slots=256, instruments=4))
    try:
        assert cli.run(["status", "--instance", INSTANCE]) == 0
        assert "no engine of instance" in capsys.readouterr().err
    finally:
        with_feed.close(unlink=True)


def test_the_status_of_a_feed_whose_worker_does_not_run_has_the_reason() -> None:
    """Its segment is there and DOWN; the document is made by the same code as that of `/status`."""
    worker = WorkerStatus(phase="waiting", last_action="killed by signal 9; restarted in 0.5 s")
    for each, reason in (
        (worker, "waiting: killed by signal 9; restarted in 0.5 s"),
        (msgspec.structs.replace(worker, last_stderr="no route"), "waiting: no route"),
    ):
        document = sample.status_document("here", [sample.FeedSample("okx", worker=each)])
        assert reason in status_text(document)
        assert document["feeds"][0]["worker"] == {  # type: ignore[index]
            "phase": "waiting",
            "restarts": 0,
            "last_action": each.last_action,
            "last_stderr": each.last_stderr,
        }


@pytest.mark.parametrize(
    ("worker", "text"),
    [
        (WorkerStatus(phase="parked", last_action="exited with 2; parked", last_stderr="no"), "parked: no"),
        (WorkerStatus(phase="waiting", last_action="killed by signal 9"), "waiting: killed by signal 9"),
        (WorkerStatus(phase="running", last_action="killed by signal 9; restarted"), "starting"),
        (WorkerStatus(phase="running", last_stderr="no answer"), "starting: no answer"),
    ],
)
def test_in_words(worker: WorkerStatus, text: str) -> None:
    assert str(worker) == text


def test_status_fits_80_columns() -> None:
    feed = {
        "name": "binance_futures",
        "state": "LIVE",
        "epoch": 12,
        "pid": 4194304,
        "heartbeat_age_ms": 49.9,
        "messages": 123456789,
        "instruments": 500,
        "restarts": 3,
        "cells": {"top": {"LIVE": 400, "STALE": 100}, "book": {"LIVE": 300, "RESYNC": 100, "STALE": 100}},
    }
    down = {"name": "okx", "state": "DOWN", "problem": f"parked: {SAID} " * 4, "worker": {"phase": "parked"}}
    text = status_text({"feeds": [feed, down]}, 80)
    assert max(map(len, text.splitlines())) <= 80, text
    assert "100 of 500 books RESYNC" in " ".join(text.split())


# -- what workers say ---------------------------------------------------------------------------------------
def test_what_a_worker_says_is_json_where_the_log_is(capfd: pytest.CaptureFixture[str]) -> None:
    import logging

    stream = io.StringIO()
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        assert configure("info", "json", stream)
        drive(lambda engine: None, structured=True, okx="config")
    finally:
        root.handlers[:], root.level = before
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    [line] = [line for line in lines if line["message"] == SAID]
    assert (line["level"], line["feed"]) == ("warning", "okx")
    assert SAID not in capfd.readouterr().err


def test_it_goes_on_as_it_came_where_the_log_is_text(capfd: pytest.CaptureFixture[str]) -> None:
    drive(lambda engine: None, okx="config")
    assert f"worker okx: {SAID}\n" in capfd.readouterr().err


TALK = """
import os, sys
os.write(2, b"one\\ntw")
os.write(1, b"o\\n" + b"x" * 20000 + b"\\nlast, without an end")
"""


def test_every_line_comes_before_the_exit() -> None:
    async def main() -> list[str]:
        lines: list[str] = []
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[int] = loop.create_future()
        process = spawn("talk", ["-c", TALK])
        process.watch(loop, ended.set_result, lambda: None, lines.append)
        assert await asyncio.wait_for(ended, 10) == 0
        return lines

    lines = asyncio.run(main())
    assert lines[:2] == ["one", "two"]
    assert lines[-1] == "last, without an end"
    assert "".join(lines[2:-1]) == "x" * 20000
    assert max(map(len, lines)) <= 65536 + 8192


def test_a_worker_does_not_wait_for_who_does_not_read() -> None:
    """Half a mebibyte fits into the pipe: the worker ends although nobody has read a byte."""
    program = "import os; [os.write(2, b'x' * 1023 + b'\\n') for _ in range(512)]"
    process = spawn("talk", ["-c", program])
    assert process._popen.wait(10) == 0
    process.end()


def test_the_file_is_read_only_while_the_lock_is_held() -> None:
    assert engine_status.read(INSTANCE) is None
    lock = segment.exclusive_instance(INSTANCE)
    try:
        assert engine_status.read(INSTANCE) is None, "nothing is told yet"
        status = EngineStatus(pid=7, address="http://h:1", feeds={"okx": WorkerStatus(phase="running")})
        engine_status.write(INSTANCE, status)
        assert engine_status.read(INSTANCE) == status
        assert msgspec.json.decode(engine_status.path(INSTANCE).read_bytes(), type=EngineStatus) == status
        engine_status.path(INSTANCE).write_bytes(b"{")
        assert engine_status.read(INSTANCE) is None
    finally:
        engine_status.remove(INSTANCE)
        lock.release(unlink=True)
