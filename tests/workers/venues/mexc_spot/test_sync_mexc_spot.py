"""The venue's rules of a local book, by their numbers in sync.py."""

from __future__ import annotations

import pytest

from workers.books.snapshot_sync import SnapshotSync
from workers.books.sync import Diff, Gap, Refetch, Replay, Step
from workers.venues.mexc_spot.sync import LAG, BookSync, buffer_of

SECOND = 1_000_000_000
LATER = int(LAG * SECOND)


def push(first: int, last: int) -> Diff:
    return Diff(first, last, 0, 0, (), ())


def waiting(*pushes: Diff) -> BookSync:
    sync = BookSync()
    for each in pushes:
        assert sync.on_diff(each) is Step.BUFFER  # rules 1 and 2
    return sync


def test_rule_4_an_older_snapshot_is_fetched_again_and_the_cache_stays() -> None:
    sync = waiting(push(101, 105), push(106, 106))
    for older in (50, 99, 100):  # at 100 it may lack the push that ends there
        assert sync.on_snapshot(older) == Refetch(f"snapshot at {older}, the stream starts at 101")
    assert not sync.synced
    assert sync.on_snapshot(101) == Replay([push(101, 105), push(106, 106)])
    assert sync.last_id == 106


def test_rules_5_and_7_what_the_snapshot_has_is_dropped() -> None:
    sync = waiting(push(101, 105), push(106, 110), push(111, 111))
    assert sync.on_snapshot(107) == Replay([push(106, 110), push(111, 111)])
    assert sync.on_diff(push(112, 115)) is Step.APPLY
    assert sync.last_id == 115


def test_rule_6_a_hole_in_the_cache_empties_it() -> None:
    sync = waiting(push(101, 105), push(107, 110))
    assert isinstance(sync.on_snapshot(103), Refetch)
    assert isinstance(sync.on_snapshot(106), Refetch)
    assert sync.on_snapshot(107) == Replay([push(107, 110)])


def test_rule_7_a_hole_voids_the_book() -> None:
    sync = waiting(push(101, 105))
    assert isinstance(sync.on_snapshot(105), Replay)
    assert sync.on_diff(push(100, 105)) is Step.IGNORE
    assert sync.on_diff(push(106, 108)) is Step.APPLY
    assert sync.on_diff(push(110, 111)) is Step.GAP
    assert sync.gap == Gap(109, 110)
    assert not sync.synced
    assert isinstance(sync.on_snapshot(109), Refetch)
    assert sync.on_snapshot(110) == Replay([push(110, 111)])


def test_rule_4_a_snapshot_without_a_push_may_be_older_than_the_stream() -> None:
    """The stream goes on at 101, snapshots lag at 90: the changes of 91 to 100 would be missing from the
    book."""
    assert isinstance(SnapshotSync().on_snapshot(90), Replay), "others take it"
    sync = BookSync()
    for second, older in enumerate((90, 90, 95, 95, 95, 95, 95)):
        assert isinstance(sync.on_snapshot(older, second * SECOND, second * SECOND), Refetch)
        assert not sync.synced
    assert sync.not_before == 2 * SECOND + LATER
    assert sync.on_diff(push(101, 105)) is Step.BUFFER
    assert sync.not_before == 0, "the push shows how old a snapshot is"
    assert isinstance(sync.on_snapshot(95, 100 * SECOND, 100 * SECOND), Refetch)
    assert isinstance(sync.on_snapshot(100), Refetch)
    assert sync.on_snapshot(101) == Replay([push(101, 105)])


def test_rule_4_without_a_push_a_snapshot_is_taken_when_a_later_one_has_the_same_id() -> None:
    """Kind: a count where time is meant. From the first's receipt to the second's request."""
    sync = BookSync()
    assert sync.not_before == 0
    assert isinstance(sync.on_snapshot(90, 10 * SECOND, 12 * SECOND), Refetch)
    assert sync.not_before == 12 * SECOND + LATER
    for _ in range(9):  # however often
        assert isinstance(sync.on_snapshot(90, sync.not_before - 1, sync.not_before + SECOND), Refetch)
    assert sync.on_snapshot(90, sync.not_before, sync.not_before + SECOND) == Replay([])
    assert sync.on_diff(push(91, 91)) is Step.APPLY
    sync.reset()  # a new connection, of another server
    assert sync.not_before == 0
    assert isinstance(sync.on_snapshot(91, 100 * SECOND, 100 * SECOND), Refetch)


def test_rule_4_a_snapshot_with_another_id_starts_anew() -> None:
    sync = BookSync()
    for n in range(6):
        at = n * LATER + SECOND
        assert isinstance(sync.on_snapshot(90 + n % 2, at, at), Refetch)
        assert sync.not_before == at + LATER


def test_rule_4_an_unusable_push_counts_too() -> None:
    """Two snapshots at 90, a push at 101 between them: the second is older than the stream."""
    sync = BookSync()
    assert isinstance(sync.on_snapshot(90, SECOND, SECOND), Refetch)
    broken = push(101, 100)._replace(ts_recv=2 * SECOND)
    assert sync.on_diff(broken) is Step.BUFFER
    assert sync.not_before == 2 * SECOND + LATER
    assert isinstance(sync.on_snapshot(90, sync.not_before, sync.not_before), Refetch)
    # A push whose numbers do not fit shows how new a snapshot has to be, with no more after it.
    sync.reset_after(105)
    assert sync.not_before == 0
    assert isinstance(sync.on_snapshot(105, 100 * SECOND, 100 * SECOND), Refetch)
    assert sync.on_snapshot(106, 100 * SECOND, 100 * SECOND) == Replay([])


@pytest.mark.parametrize(("interval", "pushes"), [("100ms", 400), ("10ms", 4000)])
def test_the_cache_outlasts_the_managers_eight_attempts(interval: str, pushes: int) -> None:
    assert buffer_of(interval) == pushes
    eight = sum(0.25 * 2**attempt for attempt in range(7))
    assert pushes * int(interval[:-2]) / 1000 > eight
