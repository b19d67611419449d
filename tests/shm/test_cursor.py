"""The cursor: dense, increasing, and got + lost = published, whatever the writer did in between."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import shm
from shm import layout
from shm._cursor import RECORD_DTYPE
from shm.instruments import Instrument
from shm.layout import Flag, Geometry, Kind, Reason, State
from shm.segment import open_writer
from shm.writer import Writer
from tests.instances import mine

SLOTS = 16
HALF = SLOTS // 2


def put(writer: Writer, n: int) -> None:
    """`n` trades whose words all say which sequence they are; never more than half a ring a commit."""
    for i in range(1, n + 1):
        seq = writer.next_sequence
        writer.record(Kind.TRADE, Flag.SELL, seq % 65_536, 0, seq, seq, seq, seq, seq, seq)
        if i % HALF == 0:
            writer.commit()
    writer.commit()


def whole(batch: shm.Batch) -> bool:
    """No torn record: every word of each says the same."""
    seq = batch["seq"].astype(np.int64)
    return bool(
        (batch["words"] == seq[:, None]).all()
        and (batch["ts_event"] == seq).all()
        and (batch["ts_recv"] == seq).all()
    )


@pytest.fixture
def feed(instance: str, writer: Writer) -> shm.Feed:
    return shm.attach("feed", instance)


def test_records_arrive_as_they_were_put(writer: Writer, feed: shm.Feed) -> None:
    cursor = feed.cursor()
    writer.record(Kind.MARK, 3, 777, 1, -5, 6, 1, -2, 2**63 - 1, -(2**63))
    writer.commit()
    batch = cursor.poll()
    assert isinstance(batch, np.ndarray)
    assert batch.dtype == RECORD_DTYPE
    fields = ("seq", "ts_event", "ts_recv", "instrument", "kind", "flags", "aux")
    (row,) = batch[list(fields)].tolist()
    assert row == (cursor.position - 1, -5, 6, 1, Kind.MARK, 3, 777)
    assert batch["words"].tolist() == [[1, -2, 2**63 - 1, -(2**63)]]
    assert batch.lost == 0


def test_get(writer: Writer, feed: shm.Feed) -> None:
    cursor = feed.cursor()
    assert cursor.get() is None
    put(writer, 2)
    record = cursor.get()
    assert record is not None
    seq = record.seq
    assert (record.kind, record.flags, record.aux, record.instrument) == (Kind.TRADE, Flag.SELL, seq, 0)
    assert record.words == (seq,) * 4
    assert (record.ts_event, record.ts_recv) == (seq, seq)
    assert "TRADE" in repr(record)
    assert len(cursor.poll()) == 1
    put(writer, 3 * SLOTS)
    lapped = cursor.get()
    assert lapped is not None
    assert lapped.seq == seq + 2 + cursor.lost
    assert cursor.poll().lost == 0  # the loss before that record was told by `lost`


def test_record_of_a_newer_kind(writer: Writer, feed: shm.Feed) -> None:
    cursor = feed.cursor()
    writer.record(200, 0, 0, 0, 0, 0, 1, 2, 3, 4)
    record = cursor.get()
    assert record is not None
    assert "200" in repr(record)


def test_idle_poll_makes_no_object(feed: shm.Feed) -> None:
    cursor = feed.cursor()
    empty = cursor.poll()
    assert len(empty) == 0
    assert empty.lost == 0
    assert cursor.poll() is empty
    before = sys.getallocatedblocks()
    for _ in range(1000):
        cursor.poll()
    assert sys.getallocatedblocks() - before < 20  # not one a poll
    assert not empty.flags.writeable


@pytest.mark.parametrize("limit", [0, -1])
def test_poll_takes_at_least_one(feed: shm.Feed, limit: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        feed.cursor().poll(limit)


def test_batch_is_yours(writer: Writer, feed: shm.Feed) -> None:
    cursor = feed.cursor()
    put(writer, 5)
    first = cursor.poll()
    kept = first.tobytes()
    put(writer, 3 * SLOTS)
    cursor.poll()
    cursor.poll()
    assert first.tobytes() == kept
    assert first.flags.owndata
    first["words"] = 0  # and may be changed


@pytest.mark.parametrize("behind", range(4 * SLOTS))
def test_lap_at_every_position(writer: Writer, feed: shm.Feed, behind: int) -> None:
    cursor = feed.cursor()
    start = cursor.position
    put(writer, behind)
    batch = cursor.poll()
    assert cursor.got + cursor.lost == behind
    assert whole(batch)
    if behind <= SLOTS:
        assert cursor.lost == 0  # negative control: what is still there is never called lost
        assert len(batch) == behind
    else:
        assert batch.lost == cursor.lost == behind - HALF - 1  # goes on half a ring behind the head
        assert batch["seq"][0] == start + batch.lost
    assert batch["seq"].tolist() == list(range(start + batch.lost, start + behind))


def test_lap_ends_a_batch(writer: Writer, feed: shm.Feed) -> None:
    cursor = feed.cursor()
    put(writer, SLOTS)
    assert len(cursor.poll(3)) == 3
    put(writer, 2)  # overtakes none that is expected next
    batch = cursor.poll()
    assert (batch.lost, len(batch)) == (0, SLOTS - 1)
    put(writer, SLOTS + 4)
    batch = cursor.poll(2)
    assert (batch.lost, len(batch)) == (SLOTS + 4 - HALF - 1, 2)
    assert cursor.poll().lost == 0  # reported once


def test_from_oldest(writer: Writer, feed: shm.Feed) -> None:
    cursor = feed.cursor(from_oldest=True)
    assert cursor.poll()["seq"].tolist() == [1]  # the take-over's STATUS
    put(writer, 5 * SLOTS)
    batch = feed.cursor(from_oldest=True).poll()
    assert batch["seq"].tolist() == list(range(writer.head - HALF + 1, writer.head + 1))
    assert batch.lost == 0


def test_from_now(writer: Writer, feed: shm.Feed) -> None:
    put(writer, 5)
    assert len(feed.cursor().poll()) == 0


def test_resync_reads_cells_and_goes_on_behind_the_head(writer: Writer, feed: shm.Feed) -> None:
    cursor = feed.cursor()
    put(writer, 3)
    writer.top(0, 100, 1, 101, 1)
    writer.commit()
    cells = cursor.resync()
    top, book = cells["BTC/USDT"]
    assert set(cells) == {"BTC/USDT", "ETH/USDT"}
    assert top is not None
    assert book is not None
    assert (top.exact, top.ring_seq) == ((100, 1, 101, 1), writer.head)
    assert cursor.position == writer.head + 1
    assert (cursor.lost, cursor.got) == (4, 0)  # skipped is lost: got + lost = published
    put(writer, 1)
    batch = cursor.poll()
    assert (len(batch), batch.lost) == (1, 4)


def test_skip_never_goes_back(writer: Writer, feed: shm.Feed) -> None:
    cursor = feed.cursor()
    put(writer, 3)
    cursor.poll()
    position = cursor.position
    cursor.skip_to(1)
    assert (cursor.position, cursor.lost) == (position, 0)


def test_uncommitted_records_are_readable_and_no_lap(writer: Writer, feed: shm.Feed) -> None:
    cursor = feed.cursor()
    for i in range(HALF):
        writer.trade(0, i, 1)
        assert len(cursor.poll()) == 1
    assert cursor.lost == 0
    assert cursor.head_sequence < cursor.position - 1


def test_status_of_the_feed(writer: Writer, feed: shm.Feed) -> None:
    cursor = feed.cursor()
    writer.set_state(State.STALE, Reason.SILENT)
    record = cursor.get()
    assert record is not None
    assert (record.kind, record.instrument) == (Kind.STATUS, layout.NO_INSTRUMENT)
    assert record.words[:3] == (State.STALE, Reason.SILENT, writer.epoch)


class RingMachine(RuleBasedStateMachine):
    """Random writing and reading of one tiny ring against a list: I1, I2, I3, and no false lap."""

    serial = 0

    @initialize()
    def begin(self) -> None:
        RingMachine.serial += 1
        self.name = mine(f"cursor-{RingMachine.serial}")
        self.geometry = Geometry(slots=SLOTS, instruments=1, depth=1, events=8)
        self.writer = open_writer(self.name, "feed", self.geometry, 3600.0)
        self.writer.add_instrument(Instrument(symbol="A/B", venue_symbol="AB", price_exp=0, size_exp=0))
        self.cursor = shm.attach("feed", self.name).cursor()
        self.start = self.cursor.position
        self.seen: list[int] = []
        self.gaps = 0
        self.unreported = 0  # skipped by resync, to be reported with the next batch

    @rule(n=st.integers(1, 2 * SLOTS + 3))
    def write(self, n: int) -> None:
        put(self.writer, n)

    @rule(n=st.integers(1, HALF - 1))
    def write_within_an_update(self, n: int) -> None:
        # Half a ring at most between two commits is the writer's promise.
        self.writer.commit()
        for _ in range(n):
            seq = self.writer.next_sequence
            self.writer.record(Kind.TRADE, 0, 0, 0, seq, seq, seq, seq, seq, seq)

    @rule(limit=st.integers(1, 2 * SLOTS))
    def poll(self, limit: int) -> None:
        expected = self.cursor.position
        there = expected >= self.writer.next_sequence - SLOTS
        lost = self.cursor.lost
        batch = self.cursor.poll(limit)
        if not len(batch):
            assert expected == self.writer.next_sequence
            return
        lapped = self.cursor.lost - lost
        assert batch["seq"][0] == expected + lapped
        assert (lapped == 0) == there  # lost if, and only if, it was overwritten
        assert batch.lost == lapped + self.unreported
        self.unreported = 0
        self.take(batch)
        assert len(batch) == min(limit, self.writer.next_sequence - int(batch["seq"][0]))

    @rule()
    def get(self) -> None:
        lost = self.cursor.lost
        record = self.cursor.get()
        if record is not None:
            self.gaps += self.cursor.lost - lost + self.unreported
            self.unreported = 0
            self.seen.append(record.seq)

    def take(self, batch: shm.Batch) -> None:
        trades = batch[batch["kind"] == Kind.TRADE]
        assert (trades["words"] == trades["seq"].astype(np.int64)[:, None]).all()
        self.gaps += batch.lost
        self.seen += batch["seq"].tolist()

    @rule()
    def restart(self) -> None:
        assert self.writer._lock is not None
        self.writer._lock.release()
        self.writer._lock = self.writer._names = None
        self.writer = open_writer(self.name, "feed", self.geometry, 3600.0)
        assert self.writer.adopted

    @rule(limit=st.integers(1, SLOTS))
    def resync(self, limit: int) -> None:
        self.writer.commit()
        lost = self.cursor.lost
        self.cursor.resync()
        self.unreported += self.cursor.lost - lost
        self.poll(limit)

    @invariant()
    def strictly_increasing_and_nothing_unaccounted(self) -> None:
        if hasattr(self, "cursor"):
            assert all(a < b for a, b in itertools.pairwise(self.seen))
            assert len(self.seen) == self.cursor.got
            assert self.start + self.cursor.got + self.cursor.lost == self.cursor.position

    def teardown(self) -> None:
        if not hasattr(self, "cursor"):
            return
        try:
            self.writer.commit()
            while len(batch := self.cursor.poll()):
                self.unreported = 0  # the batch says it
                self.take(batch)
            assert self.gaps + self.unreported + len(self.seen) == self.writer.next_sequence - self.start
            assert self.cursor.got + self.cursor.lost == self.writer.next_sequence - self.start
        finally:
            self.writer.close()


TestRing = RingMachine.TestCase
TestRing.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)


def test_readers_do_not_disturb_each_other(writer: Writer, feed: shm.Feed) -> None:
    cursors = [feed.cursor() for _ in range(3)]
    put(writer, 6)
    got: list[Callable[[], int]] = [lambda c=c: len(c.poll()) for c in cursors]  # type: ignore[misc]
    assert [count() for count in got] == [6, 6, 6]
