"""Any file under a segment's name: a `ShmError` with a reason, never another exception, a hang or LIVE.

The attacks need no second user: what an owner may write into a segment is the same for all readers, and what
another user's file is refused for is in `test_owners.py`.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import shm
from shm import Incompatible, NotFound, Scope, ShmError, State, layout
from shm.instruments import Instrument
from shm.layout import Geometry, Reason, Region
from shm.names import Names
from shm.segment import open_writer

GEOMETRY = Geometry(slots=1024, instruments=4, depth=5, events=64)
S = "BTC/USDT"
BIG = 2**64 - 1


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """A hang is a failure, not a test run that never ends."""

    def late(*_: object) -> None:
        raise AssertionError(f"not within {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def segment(instance: str) -> bytes:
    """A whole segment, LIVE, with one instrument, a top, a book and records."""
    writer = open_writer(instance, "feed", GEOMETRY, heartbeat_limit=3600.0)
    writer.add_instrument(Instrument(symbol=S, venue_symbol="BTCUSDT", price_exp=2, size_exp=3))
    writer.set_state(State.LIVE, Reason.SYNCED)
    for n in range(1, 40):
        writer.top(0, 100 + n, 1, 102 + n, 1, update_id=n)
    writer.top_state(0, State.LIVE, Reason.SYNCED)
    writer.commit()
    made = Names(instance, "feed").data.read_bytes()
    writer.close()
    return made


def write(instance: str, content: bytes) -> None:
    path = Names(instance, "feed").data
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    path.chmod(0o640)


def read_everything(instance: str) -> tuple[list[str], list[State]]:
    """All that a reader can ask. Returns the errors, all ShmErrors, and the states that were seen."""
    errors: list[str] = []
    states: list[State] = []

    def ask(question: Callable[[], Any]) -> None:
        try:
            found = question()
        except ShmError as error:
            errors.append(f"{type(error).__name__}: {error}")
        else:
            if isinstance(found, State):
                states.append(found)

    with within(10.0):
        for info in shm.feeds(instance):
            errors += [info.problem] if info.problem else []
            states.append(info.state)
        try:
            feed = shm.attach("feed", instance)
        except ShmError as error:
            return [*errors, f"{type(error).__name__}: {error}"], states
        with feed:
            for question in (
                lambda: feed.state, lambda: feed.reason, lambda: feed.pid, lambda: feed.epoch,
                lambda: feed.heartbeat_age, lambda: feed.wall_offset, lambda: feed.symbols,
                lambda: feed.instruments, lambda: feed.slots, lambda: feed.top(S, allow_stale=True).state,
                lambda: feed.top(S).state, lambda: repr(feed.top(S, allow_stale=True)),
                lambda: feed.top(S, allow_stale=True).reason, lambda: feed.top(S, allow_stale=True).status,
                lambda: feed.book(S, allow_stale=True).state, lambda: feed.book(S).state,
                lambda: feed.book(S, allow_stale=True).bids, feed.counters, feed.histograms,
                lambda: feed.events(1000), lambda: feed.cell_state(S, Scope.BOOK),
                lambda: feed.cell_state(S, Scope.TOP), lambda: feed.cell_reason(S, Scope.TOP),
                lambda: feed.cell_age(S, Scope.TOP), lambda: feed.delivery(S), lambda: repr(feed),
            ):  # fmt: skip
                ask(question)

            def follow() -> None:
                for oldest in (False, True):
                    cursor = feed.cursor(oldest)
                    for _ in range(3):
                        cursor.wait(0.001)
                        cursor.poll()
                        cursor.get()
                    cursor.resync()
                    cursor.poll()

            def fold() -> None:
                folded = feed.fold()
                for _ in range(3):
                    folded.poll()
                folded.book(S)
                folded.state(S)

            ask(follow)
            ask(fold)
    return errors, states


@pytest.fixture
def whole(instance: str) -> bytes:
    return segment(instance)


def changed(content: bytes, *words: tuple[int, int]) -> bytes:
    raw = bytearray(content)
    for offset, value in words:
        struct.pack_into("<Q", raw, offset, value)
    return bytes(raw)


def beating(content: bytes, *words: tuple[int, int]) -> bytes:
    """With a heartbeat of now, so that nothing but `words` keeps it from being LIVE."""
    return changed(content, (layout.H_HEARTBEAT, time.monotonic_ns()), *words)


def test_the_whole_one_is_live(instance: str, whole: bytes) -> None:
    """The control: what is refused below is refused for what was changed."""
    write(instance, beating(whole))
    errors, states = read_everything(instance)
    assert errors == ["Stale: BTC/USDT is DOWN (NONE), never had an event"]  # no book has come
    assert State.LIVE in states


NOT_REGULAR = {
    "a FIFO": lambda path: os.mkfifo(path),
    "a directory": lambda path: path.mkdir(),
    "a link": lambda path: path.symlink_to("/etc/hostname"),
    "a link to itself": lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize("kind", NOT_REGULAR)
def test_what_is_no_regular_file(instance: str, kind: str) -> None:
    path = Names(instance, "feed").data
    NOT_REGULAR[kind](path)
    try:
        errors, states = read_everything(instance)
        assert errors
        assert "not a regular file" in errors[-1]
        assert State.LIVE not in states
    finally:
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


def test_a_socket(instance: str) -> None:
    path = Names(instance, "feed").data
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        try:
            assert "not a regular file" in read_everything(instance)[0][-1]
        finally:
            path.unlink()


@pytest.mark.parametrize("size", [0, 1, 7, 4095])
def test_a_short_file(instance: str, whole: bytes, size: int) -> None:
    write(instance, whole[:size])
    errors, states = read_everything(instance)
    assert "truncated" in errors[-1]
    assert State.LIVE not in states


def test_a_file_that_ends_early(instance: str, whole: bytes) -> None:
    write(instance, beating(whole)[:-4096])
    assert "truncated" in read_everything(instance)[0][-1]


def test_a_sparse_file_of_three_gibibytes_costs_nothing(instance: str, whole: bytes) -> None:
    """Only what the geometry gives is mapped: reading a hole of tmpfs would take memory for it."""
    path = Names(instance, "feed").data
    write(instance, beating(whole))
    os.truncate(path, 3 * 2**30)
    before = os.stat(path).st_blocks
    _, states = read_everything(instance)
    assert State.LIVE in states
    assert os.stat(path).st_blocks == before


HEADER = {
    "no magic": ((layout.H_MAGIC, 5), "wrong magic"),
    "not ready": ((layout.H_READY, 0), "not ready"),
    "another major": ((layout.H_VERSION, 9 << 32), "layout 9.0"),
    "more bytes than there are": ((layout.H_SEGMENT_SIZE, BIG), "truncated"),
    "no slots": ((layout.H_SLOTS, 0), "impossible geometry"),
    "slots without end": ((layout.H_SLOTS, 2**63), "regions|truncated"),
    "instruments without end": ((layout.H_INSTRUMENTS, BIG), "impossible geometry"),
    "a region elsewhere": ((layout.H_REGIONS, BIG), "regions"),
    "more instruments than slots": ((layout.H_INSTRUMENT_COUNT, 601), "601 instruments in 4 slots"),
    "a base without end": ((layout.H_BASE, BIG), "impossible base"),
    "an earlier boot": ((layout.H_BOOT_ID, 1), "earlier boot"),
    "another feed's": ((layout.H_FEED, int.from_bytes(b"other", "little")), "under another name"),
}


@pytest.mark.parametrize("case", HEADER)
def test_a_header_that_cannot_be(instance: str, whole: bytes, case: str) -> None:
    word, reason = HEADER[case]
    write(instance, beating(whole, word))
    with within(5.0), pytest.raises((Incompatible, NotFound), match=reason):
        shm.attach("feed", instance)
    assert State.LIVE not in read_everything(instance)[1]


def test_a_count_that_grows_after_the_attach(instance: str, whole: bytes) -> None:
    """It was SIGSEGV: the count was believed, whatever the slots had room for."""
    write(instance, beating(whole))
    with shm.attach("feed", instance) as feed:
        with Names(instance, "feed").data.open("r+b") as file:
            for offset, value in ((layout.H_INSTRUMENT_COUNT, BIG), (layout.H_INSTRUMENTS_VERSION, 77)):
                file.seek(offset)
                file.write(struct.pack("<Q", value))
        with pytest.raises(Incompatible, match="corrupt"):
            feed.book(S)


@pytest.mark.parametrize("ahead", [7_200 * 10**9, 2**62, 2**63])
def test_a_heartbeat_in_the_future_is_none(instance: str, whole: bytes, ahead: int) -> None:
    write(instance, changed(whole, (layout.H_HEARTBEAT, (time.monotonic_ns() + ahead) % 2**64)))
    assert State.LIVE not in read_everything(instance)[1]


@pytest.mark.parametrize("limit", [2**62, 2**63, BIG])
def test_a_limit_without_end_is_none(instance: str, whole: bytes, limit: int) -> None:
    write(instance, beating(whole, (layout.H_HEARTBEAT_LIMIT, limit)))
    assert State.LIVE not in read_everything(instance)[1]


@pytest.mark.parametrize("state", [4, 255, 2**32 + 3, 2**63 + 3, BIG])
def test_a_state_that_is_none_is_down(instance: str, whole: bytes, state: int) -> None:
    write(instance, beating(whole, (layout.H_STATE, state)))
    _, states = read_everything(instance)
    assert set(states) == {State.DOWN}


@pytest.mark.parametrize("state", [4, 200, 255])
def test_a_cell_state_that_is_none_is_down(instance: str, whole: bytes, state: int) -> None:
    top = GEOMETRY.regions()[Region.TOPS][0]
    write(instance, beating(whole, (top + 80, state)))
    with shm.attach("feed", instance) as feed:
        assert feed.cell_state(S, Scope.TOP) is State.DOWN
        assert feed.top(S, allow_stale=True).state is State.DOWN
    read_everything(instance)


@pytest.mark.parametrize("received", [2**63 - 1, 2**63, BIG])
def test_a_cell_received_at_no_time(instance: str, whole: bytes, received: int) -> None:
    tops, books = (GEOMETRY.regions()[each][0] for each in (Region.TOPS, Region.BOOKS))
    write(instance, beating(whole, (tops + 56, received), (tops + 80, 2), (books + 24, received)))
    assert State.LIVE not in read_everything(instance)[1][2:]


@pytest.mark.parametrize("exponent", [19, 400, 2**31, 2**63, BIG])
def test_an_exponent_out_of_range(instance: str, whole: bytes, exponent: int) -> None:
    slots = GEOMETRY.regions()[Region.INSTRUMENTS][0]
    for place in (136, 144):
        write(instance, beating(whole, (slots + place, exponent)))
        with pytest.raises(Incompatible, match="exponent of slot 0"):
            shm.attach("feed", instance)


def test_names_that_are_no_text(instance: str, whole: bytes) -> None:
    slots, counters = (GEOMETRY.regions()[each][0] for each in (Region.INSTRUMENTS, Region.COUNTERS))
    write(instance, beating(whole, (slots, BIG), (slots + 64, BIG), (counters, BIG)))
    read_everything(instance)


RINGS = {
    "all ahead": lambda n: BIG,
    "all far ahead": lambda n: 2**63,
    "all empty": lambda n: 0,
    "of their residue, far ahead": lambda n: n + (1 << 40) * GEOMETRY.slots,
    "of another residue": lambda n: n + 1_000_001,
}


@pytest.mark.parametrize("head", [0, 1, 2**40, 2**61, 2**62, 2**63, BIG])
@pytest.mark.parametrize("ring", RINGS)
def test_a_ring_of_nonsense_costs_bounded_work(instance: str, whole: bytes, ring: str, head: int) -> None:
    place = GEOMETRY.regions()[Region.RING][0]
    words = [(place + layout.RECORD * n, RINGS[ring](n)) for n in range(GEOMETRY.slots)]
    write(instance, beating(whole, (layout.H_HEAD, head), *words))
    read_everything(instance)


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Words of a segment replaced by chance, by hostile ones more often, in the header more often."""
    raw = bytearray(beating(content))
    hostile = [0, 1, 2**31, 2**32 - 1, 2**53, 2**62, 2**63, 2**63 - 1, BIG, BIG - 1]
    for _ in range(chance.choice([1, 1, 2, 5, 50])):
        area = chance.choice([layout.PAGE, layout.PAGE, len(raw)])
        value = chance.choice(hostile) if chance.random() < 0.7 else chance.getrandbits(64)
        struct.pack_into("<Q", raw, chance.randrange(area // 8) * 8, value)
    return bytes(raw)


@pytest.mark.parametrize("times", [200, 10000])
def test_random_damage(instance: str, whole: bytes, times: int) -> None:
    chance = random.Random(times)
    for _ in range(times):
        write(instance, damaged(whole, chance))
        read_everything(instance)
