"""Update ids that a venue has or has not, from one snapshot to the next; and tops whose ids begin anew."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from shm import Reason, Scope, State
from workers.books.snapshot_sync import SnapshotSync
from workers.books.sync import Diff, Refetch, Replay, Step, StreamSync
from workers.decode.normal import MessageFlag
from workers.handover.handover import Handover

BIDS, ASKS = [(100, 1), (99, 2)], [(101, 3), (102, 4)]


class Learns(StreamSync):
    """A venue that sends ids or not: each snapshot says which."""

    def on_snapshot(self, last_update_id: int, asked: int = 0, came: int = 0) -> Replay | Refetch:
        self.has_update_ids = last_update_id > 0
        return super().on_snapshot(last_update_id)


class Stream:
    def __init__(self, lab: Any) -> None:
        self.lab = lab
        self.index = lab.add()

    def send(self, first: int, last: int, bids: Any = ((98, 1),), flags: int = 0, asks: Any = ()) -> None:
        self.lab.now += 1_000
        assert self.lab.publisher.messages.depth_update(
            self.index, first, last, bids, asks, self.lab.now * 7, self.lab.now, flags
        )

    def snapshot(self, last: int) -> None:
        self.send(last, last, BIDS, MessageFlag.SNAPSHOT, ASKS)

    def cell(self) -> tuple[State, Reason]:
        cell = self.lab.feed.book("AAA/BBB", allow_stale=True)
        return cell.state, cell.reason

    def live(self) -> bool:
        self.lab.check(self.index)
        return self.cell()[0] is State.LIVE


@pytest.fixture
def stream(make_lab: Callable[..., Any]) -> Stream:
    return Stream(make_lab(make_sync=Learns))


# -- books ---------------------------------------------------------------------------------------------------
def test_a_snapshot_says_whether_the_events_after_it_have_ids(stream: Stream) -> None:
    publisher = stream.lab.publisher
    assert not publisher.has_update_ids(stream.index)  # as its venue begins
    stream.snapshot(10)
    assert publisher.has_update_ids(stream.index)
    stream.send(11, 12)
    assert publisher.invalidate_without_ids() == 0  # a lost message will show by itself
    stream.send(14, 14)
    assert stream.cell() == (State.RESYNC, Reason.GAP)
    stream.snapshot(0)
    stream.send(0, 0)
    assert stream.live()
    assert not publisher.has_update_ids(stream.index)
    assert publisher.invalidate_without_ids() == 1
    assert stream.cell() == (State.RESYNC, Reason.MALFORMED)
    stream.snapshot(20)
    stream.send(21, 21)
    assert stream.live()
    assert publisher.invalidate_without_ids() == 0
    assert stream.lab.feed.book("AAA/BBB").update_id == 21


@pytest.mark.parametrize(("snapshot", "event"), [(10, (0, 0)), (10, (11, 0)), (0, (11, 12)), (0, (1, 1))])
def test_ids_that_come_or_go_between_two_snapshots_are_a_gap(
    stream: Stream, snapshot: int, event: tuple[int, int]
) -> None:
    """What does not say where it belongs, or says so to a book that does not know, is never applied."""
    stream.snapshot(snapshot)
    stream.send(*event)
    assert stream.cell() == (State.RESYNC, Reason.GAP)
    assert stream.lab.requests == [stream.index]
    stream.lab.check(stream.index)
    stream.snapshot(snapshot)
    assert stream.live()


def test_a_snapshot_without_ids_is_never_an_older_one(stream: Stream) -> None:
    """After a lost connection: rule 9 compares ids, and there is none."""
    stream.snapshot(5_000)
    stream.lab.publisher.lost(stream.index, State.DOWN, Reason.DISCONNECTED)
    stream.snapshot(0)
    assert stream.live()
    assert stream.lab.feed.book("AAA/BBB").update_id == 0
    stream.lab.publisher.lost(stream.index, State.DOWN, Reason.DISCONNECTED)
    stream.snapshot(4_000)  # and what has one again is not older than that
    assert stream.live()


def test_the_negative_control_an_older_snapshot_with_ids_is_fetched_again(stream: Stream) -> None:
    stream.snapshot(5_000)
    stream.lab.publisher.lost(stream.index, State.DOWN, Reason.DISCONNECTED)
    stream.snapshot(4_000)
    assert stream.cell()[0] is State.RESYNC


@pytest.mark.parametrize(("before", "after"), [(10, 0), (0, 10)])
def test_a_handover_that_began_otherwise_fails(stream: Stream, before: int, after: int) -> None:
    """Tracks with ids cannot hold events without, nor the other way round."""
    stream.snapshot(before)
    lab = stream.lab
    handover = Handover(lab.publisher, [(stream.index, "book")], clock=lambda: lab.now)
    handover.subscribed()
    lab.now += 2_000_000_000
    stream.snapshot(before)
    assert handover.failed == ""
    stream.snapshot(after)
    assert "update ids" in handover.failed
    assert stream.live()
    handover.abandon()
    stream.send(after and after + 1, after and after + 1)
    assert stream.live()


def step(sync: Any, first: int, last: int) -> Step:
    return sync.on_diff(Diff(first, last, 0, 0, (), ()))  # type: ignore[no-any-return]


def test_the_state_machine_of_fetched_snapshots_too() -> None:
    sync = SnapshotSync()
    assert step(sync, 0, 0) is Step.BUFFER
    assert not sync.buffer  # nothing to line up
    sync.on_snapshot(10)
    assert step(sync, 11, 11) is Step.APPLY
    assert step(sync, 0, 0) is Step.GAP
    assert (sync.synced, sync.gap) == (False, (12, 0))


def test_the_state_machine_of_streamed_ones() -> None:
    sync = StreamSync(has_update_ids=True)
    sync.on_snapshot(10)
    assert step(sync, 0, 0) is Step.GAP
    assert (sync.gap, sync.synced) == ((11, 0), False)
    bare = StreamSync()
    bare.on_snapshot(0)
    assert step(bare, 5, 5) is Step.GAP
    assert step(bare, 0, 0) is Step.BUFFER


# -- tops (rule 5) ---------------------------------------------------------------------------------------
class Tops:
    def __init__(self, lab: Any) -> None:
        self.lab = lab
        self.index = lab.add()

    def send(self, number: int, time: int, bid: int, flags: int = 0) -> int:
        self.lab.now += 1_000
        self.lab.publisher.messages.top(self.index, bid, 1, bid + 5, 1, number, time, self.lab.now, flags)
        self.lab.publisher.hot_path.batch_end()
        return int(self.lab.feed.top("AAA/BBB").exact[0])


@pytest.fixture
def tops(lab: Any) -> Tops:
    return Tops(lab)


@pytest.mark.parametrize(
    ("published", "comes", "taken"),
    [
        ((50, 1_000), (7, 1_001), True),  # the venue counts anew
        ((50, 1_000), (7, 1_000), False),  # as old
        ((50, 1_000), (7, 999), False),
        ((50, 1_000), (7, 0), False),  # nothing says that it is newer
        ((50, 0), (7, 1_001), False),  # nor that what is published is older
        ((50, 0), (7, 0), False),
        ((50, 1_000), (51, 999), True),  # ids go before times
        ((50, 1_000), (50, 999), True),
    ],
)
def test_an_older_id_needs_a_newer_time(
    tops: Tops, published: tuple[int, int], comes: tuple[int, int], taken: bool
) -> None:
    tops.send(*published, 100)
    assert tops.send(*comes, 200) == (200 if taken else 100)
    assert tops.lab.counter("outdated") == (0 if taken else 1)


def test_a_time_of_sending_makes_no_older_id_newer(tops: Tops) -> None:
    """A server that lags sends old tops now."""
    tops.send(50, 1_000, 100, MessageFlag.SENT)
    assert tops.send(49, 1_001, 200, MessageFlag.SENT) == 100
    assert tops.lab.counter("outdated") == 1
    assert tops.send(51, 1_000, 300, MessageFlag.SENT) == 300
    record = tops.lab.feed.top("AAA/BBB")
    assert record.ts_event == 1_000  # told all the same


def test_after_ids_have_begun_anew_they_count_from_there(tops: Tops) -> None:
    tops.send(50, 1_000, 100)
    assert tops.send(7, 1_001, 101) == 101
    assert tops.send(8, 1_001, 102) == 102
    assert tops.send(6, 1_001, 103) == 102  # not newer


def test_the_memory_of_time_ends_with_the_instrument(tops: Tops) -> None:
    tops.send(50, 1_000, 100)
    tops.lab.publisher.lost(tops.index, State.DOWN, Reason.DISCONNECTED)
    assert tops.lab.publisher.state(tops.index, Scope.TOP) == State.DOWN
    tops.lab.publisher.messages.top(tops.index, 90, 1, 95, 1, 49, 999, tops.lab.now)  # a replica that lags
    assert tops.lab.publisher.state(tops.index, Scope.TOP) == State.DOWN
    tops.lab.publisher.drop_instrument(tops.index)
    tops.lab.publisher.add_instrument(tops.index, 2, 2)
    assert tops.send(1, 5, 80) == 80


def test_over_a_handover_an_older_id_is_a_repetition_or_it_fails(tops: Tops) -> None:
    """The new connection counts anew: all it says would be taken for repetitions, so it never is ready."""
    tops.send(50, 1_000, 100)
    lab = tops.lab
    handover = Handover(
        lab.publisher, [(tops.index, "top")], normalise=lambda parsed: parsed.data, clock=lambda: lab.now
    )
    handover.subscribed()
    from workers.contract.protocols import MessageType, ParsedMessage
    from workers.decode.normal import DecodeCode, Decoded, MessageKind

    decoded = Decoded(
        DecodeCode.OK, MessageKind.TOP, tops.index, 1_005, 3, payload=(200, 1, 205, 1, 0, 0, 0, 0)
    )
    handover.keep(
        ParsedMessage(message_type=MessageType.OTHER, data=[decoded], timestamp=lab.now, raw_data=b"-")
    )
    lab.now += 5_000_000_000
    assert not handover.ready()
    handover.complete()  # all the same, because the old one has ended
    assert lab.feed.top("AAA/BBB").exact[0] == 100  # nothing went back
    assert tops.send(4, 1_006, 201) == 201  # and the newest heals it


def test_an_instrument_without_a_top_has_none(make_lab: Callable[..., Any]) -> None:
    lab = make_lab(make_sync=partial(StreamSync, True))
    index = lab.add(top=False)
    lab.poll()
    assert lab.publisher.messages.top(
        index, 100, 1, 101, 1, 5, 0, lab.now
    )  # a venue may send it with something else
    lab.publisher.hot_path.batch_end()
    assert lab.poll() == []
    assert lab.state(index, Scope.TOP) is State.DOWN
    lab.publisher.messages.depth_update(index, 5, 5, BIDS, ASKS, 1, lab.now, MessageFlag.SNAPSHOT)
    assert lab.state(index) is State.LIVE
    book_less = lab.add("CCCDDD", book=False)
    assert lab.publisher.messages.depth_update(book_less, 5, 5, BIDS, ASKS, 1, lab.now, MessageFlag.SNAPSHOT)
    assert lab.state(book_less) is State.DOWN
