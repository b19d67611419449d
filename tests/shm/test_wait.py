"""Waiting: bounded, woken by the futex across processes, early on DOWN, and asyncio on top of it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import shm
from shm.layout import Reason, State
from shm.names import Names
from shm.segment import mark_down
from shm.writer import Writer

ROOT = Path(shm.__file__).resolve().parent.parent
LONG = 30.0  # a bound that no passing test reaches


@pytest.fixture
def feed(instance: str, writer: Writer) -> shm.Feed:
    return shm.attach("feed", instance)


def armed(writer: Writer) -> bool:
    return bool(writer.doorbell.load(0) & 0xFFFFFFFF)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def doorbell_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "tickring-doorbell"]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_returns_at_once_when_there_is_something(writer: Writer, feed: shm.Feed) -> None:
    cursor = feed.cursor()
    writer.trade(0, 1, 1)
    writer.commit()
    began = time.monotonic()
    assert cursor.wait(LONG) is True
    assert time.monotonic() - began < 5
    assert len(cursor.poll()) == 1


@pytest.mark.parametrize("spin", [0.0, 1.0])
def test_timeout_is_kept(feed: shm.Feed, spin: float) -> None:
    cursor = feed.cursor()
    began = time.monotonic()
    assert cursor.wait(0.02, spin) is False
    assert 0.02 <= time.monotonic() - began < 5


@pytest.mark.parametrize("timeout", [0.0, -1.0])
def test_no_timeout_is_a_look(feed: shm.Feed, timeout: float) -> None:
    assert feed.cursor().wait(timeout) is False


def test_woken_across_processes(instance: str, writer: Writer) -> None:
    code = (
        "import shm\n"
        f"cursor = shm.attach('feed', {instance!r}).cursor()\n"
        f"print(cursor.wait({LONG}), len(cursor.poll()))\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    until(lambda: armed(writer))
    began = time.monotonic()
    writer.trade(0, 1, 1)
    writer.commit()
    out, _ = child.communicate(timeout=LONG)
    assert out.split() == ["True", "1"]
    assert time.monotonic() - began < LONG / 2
    assert not armed(writer)  # the flag went down with the wake


def in_thread(wait: Callable[[], object], writer: Writer, then: Callable[[], object]) -> object:
    """What `wait` returns when `then` happens while it sleeps."""
    result: list[object] = []
    thread = threading.Thread(target=lambda: result.append(wait()))
    thread.start()
    until(lambda: armed(writer))
    then()
    thread.join(LONG)
    return result[0]


def test_early_return_on_a_stored_down(instance: str, writer: Writer, feed: shm.Feed) -> None:
    cursor = feed.cursor()
    began = time.monotonic()

    def die() -> None:
        assert writer._lock is not None
        time.sleep(0.005)  # armed and asleep are two steps; only the second is woken by a state alone
        writer._lock.release()
        writer._lock = writer._names = None
        assert mark_down(instance, "feed")

    assert in_thread(lambda: cursor.wait(LONG), writer, die) is False
    assert time.monotonic() - began < LONG / 2
    assert feed.state is State.DOWN


def test_a_state_of_a_living_writer_is_a_record(writer: Writer, feed: shm.Feed) -> None:
    cursor = feed.cursor()
    down = in_thread(lambda: cursor.wait(LONG), writer, lambda: writer.set_state(State.DOWN, Reason.STOP))
    assert down is True
    assert cursor.poll()["words"][0, 0] == State.DOWN


def test_head_that_only_catches_up_is_nothing_new(writer: Writer, feed: shm.Feed) -> None:
    cursor = feed.cursor()
    writer.trade(0, 1, 1)
    assert len(cursor.poll()) == 1  # read before its head
    began = time.monotonic()
    assert in_thread(lambda: cursor.wait(0.1), writer, writer.commit) is False
    assert time.monotonic() - began >= 0.1


def test_a_dead_waiter_costs_one_wake(writer: Writer) -> None:
    writer.doorbell.store(0, 1)
    writer.trade(0, 1, 1)
    writer.commit()
    assert not armed(writer)


def test_naps_without_a_doorbell(instance: str, writer: Writer, feed: shm.Feed) -> None:
    Names(instance, "feed").doorbell.unlink()
    cursor = feed.cursor()
    assert cursor.doorbell is None
    assert cursor.wait(0.01) is False
    result: list[bool] = []
    thread = threading.Thread(target=lambda: result.append(cursor.wait(LONG)))
    thread.start()
    writer.trade(0, 1, 1)
    writer.commit()
    thread.join(LONG)
    assert result == [True]
    assert not armed(writer)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_reader_of_another_group_naps(instance: str, writer: Writer) -> None:
    Names(instance, "feed").data.chmod(0o644)
    code = (
        "import os, shm, shm.reader\n"
        "os.setgroups([]); os.setgid(12345); os.setuid(12345)\n"
        f"cursor = shm.attach('feed', {instance!r}, wait=1.0).cursor(from_oldest=True)\n"
        "print(cursor.doorbell, cursor.wait(5.0), len(cursor.poll()), cursor.wait(0.01))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["None", "True", "1", "False"], done.stderr


def test_async_for(writer: Writer, feed: shm.Feed) -> None:
    cursor = feed.cursor()
    got: list[int] = []

    async def read() -> None:
        async for batch in cursor:
            got.extend(batch["words"][:, 0].tolist())
            if len(got) >= 60:
                return

    async def write() -> None:
        for i in range(60):
            writer.trade(0, i, 1)
            writer.commit()
            if i % 3 == 0:
                await asyncio.sleep(0)
            if i % 7 == 6:  # a ring has 16 slots; a reader that is behind would lose some
                await asyncio.to_thread(until, lambda: cursor.position > writer.head)

    async def main() -> None:
        await asyncio.wait_for(asyncio.gather(read(), write()), LONG)

    before = descriptors()
    asyncio.run(main())
    assert got == list(range(60))
    assert cursor.lost == 0
    assert doorbell_threads() == []
    assert descriptors() == before


@pytest.mark.parametrize("times", [1, 2])
def test_cancelled_iteration_leaves_nothing(writer: Writer, feed: shm.Feed, times: int) -> None:
    cursor = feed.cursor()

    async def read() -> None:
        async for _ in cursor:
            pytest.fail("there is nothing to read")

    async def main() -> None:
        await asyncio.to_thread(int)  # the loop's own pool is there from here on
        before = set(threading.enumerate())
        open_before = descriptors()
        task = asyncio.create_task(read())
        await asyncio.to_thread(until, lambda: armed(writer))
        for _ in range(times):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert set(threading.enumerate()) == before  # at the return, not some time later
        assert descriptors() == open_before

    asyncio.run(main())
    writer.trade(0, 1, 1)
    writer.commit()
    assert len(cursor.poll()) == 1  # the cursor goes on


def test_iteration_ends_with_the_error_of_a_closed_feed(writer: Writer, feed: shm.Feed) -> None:
    cursor = feed.cursor()

    async def main() -> None:
        async def read() -> None:
            async for _ in cursor:
                pass

        task = asyncio.create_task(read())
        await asyncio.to_thread(until, lambda: armed(writer))
        feed.close()
        writer.close()  # the cursor would follow, through a feed that was closed
        with pytest.raises(shm.Closed):
            await asyncio.wait_for(task, LONG)

    asyncio.run(main())
    assert doorbell_threads() == []
