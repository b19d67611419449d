"""Quiet books without update ids, whose snapshots come in the stream, proven by sweeps and new subscriptions
(freshness, rule 3); time is a number here.

The kind: a market that is healthy and quiet is STALE, because the one way to prove a book asks for something
that its venue does not have (update ids, a snapshot by REST, exact sizes).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from shm import Reason, Scope, State
from shm.instruments import Instrument
from shm.layout import Reason as StateReason
from tests.workers.books.test_books import SECOND
from workers.books.freshness import DEEP
from workers.books.manager import BookManager, BookManagerConfig
from workers.books.sync import Best, StreamSync
from workers.contract.errors import RestError
from workers.contract.rest import Priority
from workers.decode.normal import DecodeCode, Decoded, MessageFlag, MessageKind
from workers.handover.handover import Handover

STALE = 60  # s
STEPS = 10  # of the clock, a second
LETTERS = "ABCDEFGHIJKLMNOPQRST"
Levels = tuple[tuple[int, int], ...]
Sides = tuple[Levels, Levels]
BOOK: Sides = (((100, 130), (99, 200)), ((101, 310),))  # at two decimals: 1.30 at 1.00, 3.10 at 1.01


def best_of(sides: Sides) -> Best:
    """As Kraken sends it: sizes are whole lots, rounded up."""
    texts: list[str] = []
    for levels in sides:
        price, size = levels[0] if levels else (0, 0)
        texts += [f"{price / 100:.5f}", f"{-(-size // 100)}.000"] if size else ["", ""]
    return Best(*texts, within="1")


class Market:
    """Venue and book manager: what the venue's books are, what it does with new subscriptions."""

    def __init__(self, make_lab: Callable[..., Any], count: int, **options: Any) -> None:
        self.lab = make_lab(
            instruments=count + 2, depth=2, make_sync=partial(StreamSync, max_depth=10, top_from_book=True)
        )
        self.now = 1_000 * SECOND
        self.books: dict[str, Sides] = {}
        self.answers: dict[str, Best | None] = {}  # what a sweep answers instead of the truth
        self.indexes: dict[str, int] = {}
        self.sweeps: list[int] = []
        self.fails: list[Exception] = []
        self.renewed: list[tuple[int, str]] = []  # when (ns), symbol
        self.asked: list[str] = []  # by rule 5 of snapshots
        self.mute: set[str] = set()  # new subscriptions of these bring nothing
        self.open = 0  # subscriptions being made
        self.most_open = 0
        self.silent: list[tuple[str, Scope]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        renews, sweeps = options.pop("renews", True), options.pop("sweeps", True)
        config = {"stale_after": float(STALE), "instead_of": 0, "proofs_per_second": 2.0} | options
        config = {"stale_after_min": float(STALE), "stale_after_max": float(STALE)} | config
        self.manager = BookManager(
            self.lab.writer,
            self.lab.publisher,
            None,
            BookManagerConfig(**config),
            sweep=self.sweep if sweeps else None,
            resubscribe=self.resubscribe,
            renew=self.renew if renews else None,
            on_silent=lambda index, scope: self.silent.append((self.name(index), scope)),
            clock=lambda: self.now,
            sleep=self.sleep,
            chance=lambda: 1.0,
        )
        for n in range(count):
            slot = self.lab.slot(f"{LETTERS[n // 20]}{LETTERS[n % 20]}XUSD")
            self.manager.carry(slot)
            self.indexes[slot.venue_symbol] = slot.index
            self.books[slot.venue_symbol] = BOOK
            self.snapshot(slot.venue_symbol)

    def name(self, index: int) -> str:
        return next(name for name, each in self.indexes.items() if each == index)

    async def sleep(self, seconds: float) -> None:
        until = self.now + int(seconds * SECOND)
        while self.now < until:  # noqa: ASYNC110 (the clock is a number)
            await asyncio.sleep(0)

    def publish(self, symbol: str, bids: Levels, asks: Levels, flags: int = 0) -> None:
        form = Decoded(
            DecodeCode.OK, MessageKind.DEPTH, self.indexes[symbol], flags=flags, bids=bids, asks=asks
        )
        self.lab.publisher.messages.publish_message(form, self.now)

    def snapshot(self, symbol: str) -> None:
        self.publish(symbol, *self.books[symbol], int(MessageFlag.SNAPSHOT))

    async def sweep(self, instruments: Sequence[Instrument], priority: Priority) -> Mapping[str, Best]:
        assert priority == Priority.QUERY
        self.sweeps.append(self.now)
        if self.fails:
            raise self.fails[0]
        bests = {symbol: self.answers.get(symbol, best_of(each)) for symbol, each in self.books.items()}
        await self.gate.wait()
        return {symbol: best for symbol, best in bests.items() if best is not None}

    async def renew(self, instrument: Instrument) -> None:
        self.renewed.append((self.now, instrument.venue_symbol))
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            await asyncio.sleep(0)
            assert self.state(instrument.venue_symbol) == State.LIVE  # as it was
            if instrument.venue_symbol in self.mute:
                await asyncio.Event().wait()
            self.snapshot(instrument.venue_symbol)
        finally:
            self.open -= 1

    async def resubscribe(self, instrument: Instrument) -> None:
        self.asked.append(instrument.venue_symbol)

    async def wait(self, seconds: int, each: Callable[[int], None] = lambda second: None) -> None:
        for n in range(seconds):
            for _ in range(STEPS):
                self.now += SECOND // STEPS
                await self.settle()
            each(n)
            self.manager.tick()
            await self.settle()

    async def settle(self) -> None:
        for _ in range(12):
            await asyncio.sleep(0)

    def state(self, symbol: str, scope: Scope = Scope.BOOK) -> int:
        return int(self.lab.publisher.state(self.indexes[symbol], scope))

    def not_live(self) -> list[str]:
        scopes = (Scope.BOOK, Scope.TOP)
        return [s for s in self.indexes if any(self.state(s, scope) != State.LIVE for scope in scopes)]

    def best(self, symbol: str) -> tuple[int, ...]:
        return tuple(self.lab.publisher.published_top(self.indexes[symbol]))


def play(
    make_lab: Any, scenario: Callable[[Market], Coroutine[Any, Any, None]], count: int = 5, **options: Any
) -> Market:
    made: list[Market] = []

    async def main() -> None:
        market = Market(make_lab, count, **options)
        made.append(market)
        assert market.not_live() == []
        await scenario(market)
        assert market.manager.failures == 0
        await market.manager.close()
        for index in market.lab.publisher.indexes:
            market.lab.check(index)

    asyncio.run(main())
    return made[0]


# -- proven ------------------------------------------------------------------------------------------------
def test_two_hundred_quiet_books_stay_live(make_lab: Any) -> None:
    """On a request each quarter of `stale_after`; and each is compared with a new subscription's snapshot
    within ten, one after the other, evenly."""

    async def scenario(market: Market) -> None:
        def look(second: int) -> None:
            assert market.not_live() == [], second

        await market.wait(DEEP * STALE + 60, look)

    market = play(make_lab, scenario, 200)
    assert 0 <= len(market.renewed) - market.lab.counter("audits") <= 1  # the last one may be under way
    assert market.silent == market.asked == []
    assert all(later - before > STALE * SECOND // 4 for before, later in pairwise(market.sweeps))
    first = market.renewed[0][0]
    bound = first + (DEEP * STALE + STALE // 2) * SECOND
    assert {symbol for when, symbol in market.renewed if when <= bound} == set(market.books)
    assert market.most_open == 1
    minutes = [(when - first) // (60 * SECOND) for when, _ in market.renewed]
    assert max(minutes.count(minute) for minute in range(10)) <= 1.2 * 200 / DEEP
    assert len(market.renewed) <= 1.2 * 200 * (DEEP + 1) / DEEP


def test_the_rotation_leaves_out_what_is_not_quiet(make_lab: Any) -> None:
    async def scenario(market: Market) -> None:
        def speak(second: int) -> None:
            if second % 7 == 0:
                market.publish("AAXUSD", ((99, 300 + second),), ())

        await market.wait(2 * DEEP * STALE, speak)
        assert {symbol for _, symbol in market.renewed} == set(market.books) - {"AAXUSD"}

    play(make_lab, scenario)


@pytest.mark.parametrize("without", ["sweeps", "renews"])
def test_without_a_sweep_and_new_subscriptions_it_is_stale(make_lab: Any, without: str) -> None:
    """The control, and what a venue that has neither is left with."""

    async def scenario(market: Market) -> None:
        await market.wait(STALE)
        assert market.not_live() == []
        await market.wait(2)
        assert market.not_live() == list(market.books)
        assert market.sweeps == market.renewed == []
        await market.wait(STALE + 1)
        assert {symbol for symbol, _ in market.silent} == set(market.books)

    play(make_lab, scenario, **{without: False})


# -- what proves a book ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("answer", "proves"),
    [
        (Best("1.00", "1.30", "1.01", "3.10"), True),
        (Best("1.00", "1.000", "1.01", "3.10"), False),  # exact, and another
        (Best("1.00000", "1.000", "1.01000", "3.000", within="1"), True),  # cut
        (Best("1.00", "2.000", "1.01", "4.000", within="1"), True),  # rounded up
        (Best("1.00", "1.000", "1.01", "3.000", within="0.31"), True),
        (Best("1.00", "1.000", "1.01", "3.000", within="0.1"), False),  # the bid's is 0.30 more
        (Best("1.00", "1.310", "1.01", "3.100", within="0.01"), False),
        (Best("1.00", "1.309", "1.01", "3.100", within="0.01"), False),  # finer than sizes are
        (Best("1.00", "0.000", "1.01", "3.000", within="1"), False),  # 1.30 is more than one lot
        (Best("1.00", "2.300", "1.01", "3.000", within="1"), False),
        (Best("1.00", "1.000", "1.01", "4.100", within="1"), False),
        (Best("1.01", "1.000", "1.01", "3.000", within="1"), False),
        (Best("1.00", "1.000", "1.02", "3.000", within="1"), False),
        (Best("1.00001", "1.000", "1.01", "3.000", within="1"), False),
        (Best("", "", "1.01", "3.000", within="1"), False),
        (Best("1.00", "1.000", "", "", within="1"), False),
        (Best("1.00", "1.000", "0.00", "0.000", within="1"), False),
        (Best("1.00", "much", "1.01", "3.000", within="1"), False),
        (Best("1.00", "-1", "1.01", "3.000", within="1"), False),
        (Best("1.00", "1.000", "1.01", "3.000", within="a lot"), False),
        (Best("1.00", "1.000", "1.01", "3.000", within="0.001"), False),  # finer than the slot's sizes
        (None, False),
    ],
)
def test_prices_are_equal_and_sizes_within_their_rounding(
    make_lab: Any, answer: Best | None, proves: bool
) -> None:
    async def scenario(market: Market) -> None:
        market.books["ABXUSD"] = BOOK
        market.answers["ABXUSD"] = answer
        await market.wait(STALE // 2 + 1)
        assert len(market.sweeps) == 1
        proof = market.lab.publisher.proof(market.indexes["ABXUSD"], Scope.BOOK)
        assert (proof >= market.sweeps[0]) is proves

    play(make_lab, scenario)


@pytest.mark.parametrize("within", ["", "1"])
def test_an_empty_side_is_a_side_too(make_lab: Any, within: str) -> None:
    async def scenario(market: Market) -> None:
        market.books["ABXUSD"] = BOOK[0], ()
        market.snapshot("ABXUSD")
        market.answers["ABXUSD"] = Best("1.00", "1.30", "", "", within=within)
        await market.wait(STALE // 2 + 1)
        assert market.lab.publisher.proof(market.indexes["ABXUSD"], Scope.BOOK) >= market.sweeps[0]

    play(make_lab, scenario)


def test_a_small_size_may_be_rounded_to_zero(make_lab: Any) -> None:
    async def scenario(market: Market) -> None:
        market.books["ABXUSD"] = ((100, 30),), BOOK[1]
        market.snapshot("ABXUSD")
        market.answers["ABXUSD"] = Best("1.00", "0.000", "1.01", "4.000", within="1")
        await market.wait(STALE // 2 + 1)
        # It proves a size of 0.30, for less than a lot may be rounded to zero; a price without a size is a
        # side.
        assert market.lab.publisher.proof(market.indexes["ABXUSD"], Scope.BOOK) >= market.sweeps[0]

    play(make_lab, scenario)


def test_an_event_after_the_request_voids_the_proof(make_lab: Any) -> None:
    async def scenario(market: Market) -> None:
        index = market.indexes["ABXUSD"]
        market.gate.clear()
        while not market.sweeps:
            await market.wait(1)
        market.now += SECOND // 2
        market.publish("ABXUSD", ((50, 700),), ())
        at = market.now
        market.now += SECOND // 4
        market.gate.set()
        await market.settle()
        assert market.lab.publisher.proof(index, Scope.BOOK) == at
        assert index not in market.manager._proofs.best_only
        assert market.lab.publisher.proof(market.indexes["ACXUSD"], Scope.BOOK) == market.now

    play(make_lab, scenario)


def test_a_stream_that_was_lost_is_not_proven(make_lab: Any) -> None:
    async def scenario(market: Market) -> None:
        index = market.indexes["ABXUSD"]
        market.gate.clear()
        while not market.sweeps:
            await market.wait(1)
        market.manager.lost([index])
        market.gate.set()
        await market.wait(2 * STALE)
        assert market.not_live() == ["ABXUSD"]
        assert market.state("ABXUSD") == State.DOWN
        assert "ABXUSD" not in {symbol for _, symbol in market.renewed}

    play(make_lab, scenario)


# -- what it leaves ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("wrong", [Best("1.00", "1.00", "1.02", "3.00", within="1"), None])
def test_what_a_sweep_does_not_prove_is_subscribed_anew(make_lab: Any, wrong: Best | None) -> None:
    """And nothing is reported when the snapshot shows that the book was right."""

    async def scenario(market: Market) -> None:
        market.answers["ABXUSD"] = wrong
        await market.wait(5 * STALE, lambda second: pytest.fail("not LIVE") if market.not_live() else None)
        when = [at // SECOND for at, symbol in market.renewed if symbol == "ABXUSD"]
        assert 5 <= len(when) <= 10  # each time that half of `stale_after` is over
        assert market.silent == market.asked == []

    play(make_lab, scenario)


def test_a_sweep_that_fails_leaves_all_to_new_subscriptions_at_a_pace(make_lab: Any) -> None:
    async def scenario(market: Market) -> None:
        market.fails = [RestError("no")]
        await market.wait(3 * STALE, lambda second: pytest.fail("not LIVE") if market.not_live() else None)
        seconds = [when // SECOND for when, _ in market.renewed]
        assert max(seconds.count(second) for second in seconds) <= 3
        assert {symbol for _, symbol in market.renewed} == set(market.books)
        assert market.most_open == 1

    play(make_lab, scenario, 20)


def test_a_dead_stream_whose_market_moves_is_corrected_and_then_connected_again(make_lab: Any) -> None:
    """Its new subscription brings a snapshot and nothing else again."""

    async def scenario(market: Market) -> None:
        await market.wait(100)
        market.renewed.clear()
        market.books["ABXUSD"] = ((102, 100),), ((104, 100),)
        moved = market.now
        while market.best("ABXUSD")[0] != 102:
            assert market.now < moved + (STALE // 2 + STALE // 4 + 2) * SECOND
            await market.wait(1)
        assert market.not_live() == []
        assert market.silent == []  # the market may have moved just now
        market.books["ABXUSD"] = ((105, 100),), ((106, 100),)
        moved = market.now
        while not market.silent:
            assert market.now < moved + (STALE // 2 + STALE // 4 + 2) * SECOND
            await market.wait(1)
        assert market.silent == [("ABXUSD", Scope.BOOK)]

    play(make_lab, scenario)


def test_a_stream_with_an_event_in_between_is_alive(make_lab: Any) -> None:
    async def scenario(market: Market) -> None:
        for price in (102, 105):
            market.books["ABXUSD"] = ((price, 100),), ((110, 100),)
            await market.wait(STALE)
            assert market.best("ABXUSD")[0] == price
            market.publish("ABXUSD", ((99, 400 + price),), ())
        assert market.silent == []

    play(make_lab, scenario)


def test_without_new_subscriptions_it_is_stale_and_reported_as_silent(make_lab: Any) -> None:
    """What is left when they bring nothing: RESYNC within `settle`, and rule 5 of snapshots."""

    async def scenario(market: Market) -> None:
        await market.wait(100)
        market.mute.add("ABXUSD")
        market.books["ABXUSD"] = ((102, 100),), ((104, 100),)
        moved = market.now
        while market.state("ABXUSD") == State.LIVE:
            assert market.now < moved + STALE * SECOND
            await market.wait(1)
        assert market.state("ABXUSD") == State.RESYNC
        reason = market.lab.publisher.reason(market.indexes["ABXUSD"], Scope.BOOK)
        assert reason == Reason.SNAPSHOT == StateReason.SNAPSHOT
        asked = [at for at, symbol in market.renewed if symbol == "ABXUSD"][-1]
        assert market.now - asked <= 4 * SECOND
        assert "ABXUSD" in market.asked
        assert market.not_live() == ["ABXUSD"]
        market.snapshot("ABXUSD")
        await market.wait(1)
        assert market.not_live() == []

    play(make_lab, scenario)


def test_an_unexpected_exception_is_counted_and_the_book_is_not_live_for_long(make_lab: Any) -> None:
    async def scenario(market: Market) -> None:
        async def broken(instrument: Instrument) -> None:
            raise RuntimeError("bug")

        market.manager._renewals._renew = broken
        market.answers["ABXUSD"] = None
        await market.wait(STALE - 5)
        assert market.state("ABXUSD") == State.RESYNC
        assert market.manager.failures > 0
        assert "bug" in str([event.text for event in market.lab.feed.events(100)])
        market.manager.context.failures = 0

    play(make_lab, scenario)


def test_a_change_that_no_sweep_shows_is_found_by_the_rotation(make_lab: Any) -> None:
    """Below the best, or of a size by less than it is rounded to."""

    async def scenario(market: Market) -> None:
        await market.wait(100)
        market.books["ABXUSD"] = ((100, 170), (99, 200)), ((101, 310),)
        market.books["ACXUSD"] = ((100, 130), (98, 500)), ((101, 310),)
        moved, found = market.now, {}
        while len(found) < 2:
            assert market.now < moved + (DEEP * STALE + STALE // 2) * SECOND
            await market.wait(1)
            assert market.not_live() == []
            for symbol in ("ABXUSD", "ACXUSD"):
                book = market.lab.publisher.book(market.indexes[symbol])
                if tuple(book.window(False, 2)) == market.books[symbol][0]:
                    found[symbol] = (market.now - moved) // SECOND
        print(f"found after {found} s")
        assert market.silent == []

    play(make_lab, scenario)


def test_a_book_with_an_event_while_it_waits_is_not_compared(make_lab: Any) -> None:
    async def scenario(market: Market) -> None:
        market.fails = [RestError("no")]
        market.mute.add("AAXUSD")  # whose turn takes as long as `settle`
        while not market.renewed:
            await market.wait(1)
        for symbol in set(market.books) - {"AAXUSD"}:
            market.publish(symbol, ((99, 999),), ())
        await market.wait(10)
        assert {symbol for _, symbol in market.renewed} == {"AAXUSD"}

    play(make_lab, scenario, proofs_per_second=20.0)


def test_a_book_that_a_handover_watches_is_not_compared(make_lab: Any) -> None:
    async def scenario(market: Market) -> None:
        market.answers["ABXUSD"] = None
        index = market.indexes["ABXUSD"]
        Handover(market.lab.publisher, [(index, "book")])
        assert market.lab.publisher.watched == [index]
        await market.wait(STALE - 5)
        assert market.sweeps
        assert "ABXUSD" not in {symbol for _, symbol in market.renewed}

    play(make_lab, scenario)
