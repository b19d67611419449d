"""The book manager deepens books: when others wait, without a permit, with snapshots that are late or wrong.

Kind: what is done beside costs a LIVE book its state. Its members: a request that fails, one that is not
permitted, a snapshot that is older than the request, one of no use, one that contradicts the book.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from shm import Reason, State
from shm.events import Code
from tests.workers.books.moving import Event, Market, texts
from tests.workers.books.test_books import SECOND, Desk, RestDown, held_back, logged
from tests.workers.books.test_books import run as run  # the fixture
from workers.books.sync import Snapshot
from workers.contract.rest import Priority

KEYS = {"depth": 4, "limit": 40, "tiers": (10, 20, 40), "stale_after": 0.0, "settle": 0.3}


class Kept:
    """A desk with one book of a market, begun with ten levels."""

    def __init__(self, desk: Desk, symbol: str = "AAABBB") -> None:
        self.desk = desk
        self.symbol = symbol
        self.index = desk.carry(symbol)
        self.market = Market(levels=60)
        self.answer(self.market.snapshot(10))

    def answer(self, *answers: Any) -> None:
        self.desk.rest.answers[self.symbol] = list(answers)

    def deliver(self, event: Event) -> None:
        self.desk.depth(self.index, *event)

    async def begin(self) -> None:
        self.desk.books.subscribed([self.index])
        await self.desk.settle()
        assert self.state is State.LIVE
        self.desk.books.look_ahead()

    async def need(self) -> None:
        """The market moves on so far that a deeper snapshot is asked for; it is under way."""
        for _ in range(2):
            self.deliver(self.market.move(2, jitter=0))
        self.desk.rest.gate.clear()
        self.desk.books.look_ahead()
        await self.desk.settle()

    async def answered(self, *answers: Any) -> None:
        """An event comes, then the answer."""
        self.deliver(self.market.move(0))
        self.answer(*(answers or (self.market.snapshot(20),)))
        self.desk.rest.gate.set()
        await self.desk.settle()

    @property
    def state(self) -> State:
        state: State = self.desk.lab.state(self.index)
        return state

    @property
    def known(self) -> int:
        return dict(self.desk.lab.publisher.known_levels())[self.index]

    def limits(self) -> list[int]:
        return [limit for symbol, limit in self.desk.rest.requests if symbol == self.symbol]


async def begun(desk: Desk) -> Kept:
    kept = Kept(desk)
    await kept.begin()
    return kept


def test_a_book_is_deepened_while_it_is_live(run: Any) -> None:
    async def scenario(desk: Desk) -> None:
        kept = await begun(desk)
        await kept.need()
        await kept.answered(kept.market.snapshot(40))
        assert kept.limits() == [10, 40]
        assert desk.rest.priorities[-1] is Priority.BACKGROUND
        assert (kept.state, kept.known) == (State.LIVE, 40)
        assert desk.lab.counter("resyncs") == desk.lab.counter("audit_errors") == 0
        desk.books.look_ahead()
        assert len(kept.limits()) == 2

    run(scenario, **KEYS)


@pytest.mark.parametrize("trouble", [RestDown("no"), held_back(20.0)])
def test_a_failed_deeper_snapshot_is_tried_again_later(run: Any, trouble: Exception) -> None:
    async def scenario(desk: Desk) -> None:
        kept = await begun(desk)
        await kept.need()
        await kept.answered(trouble)
        known = kept.known
        assert (kept.state, desk.naps) == (State.LIVE, [])
        desk.books.look_ahead()
        await desk.settle()
        assert len(kept.limits()) == 2
        desk.now += 6 * SECOND
        await kept.need()
        await kept.answered(kept.market.snapshot(40))
        assert (kept.state, kept.known > known) == (State.LIVE, True)

    run(scenario, **KEYS)


def test_a_snapshot_that_is_older_than_the_request_is_requested_again(run: Any) -> None:
    """A replica that lags: the events since the first request are kept until one is new enough."""

    async def scenario(desk: Desk) -> None:
        kept = await begun(desk)
        old = kept.market.snapshot(40)
        await kept.need()
        await kept.answered(old, old, kept.market.snapshot(40))
        assert len(kept.limits()) == 4
        assert (kept.state, kept.known, len(desk.naps)) == (State.LIVE, 40, 2)

    run(scenario, **KEYS)


def test_snapshots_that_stay_older_are_given_up(run: Any) -> None:
    async def scenario(desk: Desk) -> None:
        kept = await begun(desk)
        old = kept.market.snapshot(40)
        await kept.need()
        await kept.answered(old)
        assert (kept.state, len(kept.limits())) == (State.LIVE, 7)
        assert desk.lab.publisher.collected_diffs(kept.index) is None  # no copies are kept any more

    run(scenario, **KEYS)


def test_a_stream_that_does_not_come_as_far_is_given_up(run: Any) -> None:
    async def scenario(desk: Desk) -> None:
        kept = await begun(desk)
        await kept.need()
        kept.market.move(1)  # which is lost
        kept.answer(kept.market.snapshot(40))
        desk.rest.gate.set()
        await desk.settle()
        assert (kept.state, desk.naps) == (State.LIVE, [0.05] * 6)

    run(scenario, **KEYS)


def useless(good: Snapshot) -> list[Snapshot]:
    return [
        good._replace(bids=[*good.bids, ("1.005", "1.00")]),
        good._replace(bids=[*good.bids, ("x", "1.00")]),
        good._replace(asks=[*good.asks, ("1.00", "1.00")]),
    ]


@pytest.mark.parametrize("which", [0, 1, 2])
def test_an_unusable_snapshot_changes_nothing_and_is_not_requested_again_at_once(
    run: Any, which: int
) -> None:
    async def scenario(desk: Desk) -> None:
        kept = await begun(desk)
        await kept.need()
        kept.deliver(kept.market.move(0))
        bad = useless(kept.market.snapshot(20))[which]
        await kept.answered(bad)
        for seconds, requests in ((29, 2), (2, 3)):
            for _ in range(seconds):
                desk.now += SECOND
                desk.books.look_ahead()
                await desk.settle()
            assert (kept.state, len(kept.limits())) == (State.LIVE, requests)

    run(scenario, **KEYS)


def test_a_contradiction_is_that_of_an_audit(run: Any) -> None:
    async def scenario(desk: Desk) -> None:
        kept = await begun(desk)
        await kept.need()
        event = kept.market.move(0)
        kept.deliver(event)
        bids, asks = kept.market.sides()
        wrong = texts(kept.market.last_id, [(bids[0][0], bids[0][1] + 1), *bids[1:40]], asks[:40])
        kept.answer(wrong, kept.market.snapshot(40))
        desk.rest.gate.set()
        await desk.settle()
        assert logged(desk.lab, Code.AUDIT_FAILED) == [
            f"book differs from the venue's snapshot at update {kept.market.last_id} in 1 levels"
        ]
        reasons = [event.text for event in desk.lab.feed.events() if event.code == "resync"]
        assert len(reasons) == 1
        assert Reason.AUDIT.name.lower() in reasons[0].lower()
        assert (kept.state, desk.lab.counter("audit_errors")) == (State.LIVE, 1)  # from another snapshot

    run(scenario, **KEYS)


def test_first_snapshots_come_before_deeper_ones(run: Any) -> None:
    """But for a book that has next to nothing left: without it, it would be the next to wait."""

    async def scenario(desk: Desk) -> None:
        kept = await begun(desk)
        other = Kept(desk, "CCCDDD")
        desk.rest.gate.clear()
        desk.books.subscribed([other.index])
        await desk.settle()
        await kept.need()
        assert (kept.known >= 5, kept.limits(), other.limits()) == (True, [10], [10])
        while kept.known >= 5:  # the window of four, and 20 % more
            kept.deliver(kept.market.move(1, jitter=0))
        desk.books.look_ahead()
        await desk.settle()
        assert (kept.limits(), other.limits()) == ([10, 40], [10])
        desk.rest.gate.set()
        await desk.settle()
        assert (kept.state, other.state) == (State.LIVE, State.LIVE)

    run(scenario, **KEYS)


def test_a_book_that_gets_no_snapshot_does_not_keep_others_from_theirs(run: Any) -> None:
    """Kind: one stranger's entry decides for all. It fails, waits, fails: that is no queue."""

    async def scenario(desk: Desk) -> None:
        kept = await begun(desk)
        other = Kept(desk, "CCCDDD")
        hold = asyncio.Event()

        async def sleep(seconds: float) -> None:
            await hold.wait()

        desk.books.context.sleep = sleep
        other.answer(RestDown("no"))
        desk.books.subscribed([other.index])
        await desk.settle()
        desk.books.tick()
        await kept.need()
        assert (kept.known >= 5, kept.limits()) == (True, [10, 40])
        hold.set()
        other.answer(other.market.snapshot(10))
        await kept.answered(kept.market.snapshot(40))
        assert (kept.state, other.state) == (State.LIVE, State.LIVE)

    run(scenario, **KEYS)


def test_events_are_copied_only_once_the_request_goes_out(run: Any) -> None:
    """While it waits for its turn, perhaps for a minute, each event would cost more."""

    async def scenario(desk: Desk) -> None:
        kept = await begun(desk)
        other = Kept(desk, "CCCDDD")
        desk.rest.gate.clear()
        desk.books.subscribed([other.index])
        await desk.settle()
        while kept.known >= 5:
            kept.deliver(kept.market.move(1, jitter=0))
        desk.books.look_ahead()
        await desk.settle()
        assert desk.lab.publisher.collected_diffs(kept.index) is None
        desk.rest.gate.set()
        kept.answer(kept.market.snapshot(40))
        await desk.settle()
        assert (kept.limits(), other.state) == ([10, 40], State.LIVE)

    run(scenario, **{**KEYS, "concurrency": 1})


def test_after_a_gap_a_quick_market_begins_deeper_unless_others_wait(run: Any) -> None:
    async def scenario(desk: Desk) -> None:
        kept = await begun(desk)
        other = Kept(desk, "CCCDDD")
        await other.begin()
        await kept.need()
        await kept.answered(kept.market.snapshot(40))
        for _ in range(2):
            kept.market.move(0)
        kept.answer(kept.market.snapshot(40))
        kept.deliver(kept.market.move(0))  # a gap
        await desk.settle()
        assert (kept.state, kept.limits()) == (State.LIVE, [10, 40, 40])
        desk.books.lost()
        for each in (kept, other):
            each.answer(each.market.snapshot(10))
        desk.books.subscribed()
        await desk.settle()
        assert (kept.limits()[3:], other.limits()[1:]) == ([10], [10])

    run(scenario, **KEYS)


def test_a_snapshot_that_does_not_reach_the_window_is_followed_by_a_deeper_one(run: Any) -> None:
    async def scenario(desk: Desk) -> None:
        kept = Kept(desk)
        kept.answer(kept.market.snapshot(10), kept.market.snapshot(20))
        desk.rest.gate.clear()
        desk.books.subscribed()
        kept.deliver(kept.market.move(7, jitter=0))
        await desk.settle()
        desk.rest.gate.set()
        await desk.settle()
        assert kept.limits() == [10, 20]
        assert kept.state is State.LIVE

    run(scenario, **KEYS)


def test_the_most_traded_of_many_is_first(run: Any) -> None:
    async def scenario(desk: Desk) -> None:
        kept = [Kept(desk, f"{letter * 3}USD") for letter in "ABCDEF"]
        desk.rest.gate.clear()
        desk.books.subscribed()
        await desk.settle()
        desk.lab.publisher.messages.trade(kept[4].index, 100, 1, 1, 0, desk.now)
        desk.lab.publisher.hot_path.batch_end()
        kept[5].deliver(kept[5].market.move(0))
        kept[5].answer(kept[5].market.snapshot(10))
        desk.rest.gate.set()
        await desk.settle()
        assert [symbol[0] for symbol, _ in desk.rest.requests] == ["A", "E", "F", "B", "C", "D"]
        assert desk.lab.publisher.activity(kept[4].index) == (1, 1)

    run(scenario, **{**KEYS, "concurrency": 1})
