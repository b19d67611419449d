"""When a listing is read again, in virtual time: the schedule of `workers.worker.instruments`, without a
venue."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

import shm
from shm import InstrumentStatus, Reason, Scope, State
from shm.counters import InstrumentCounter
from shm.instruments import Instrument
from shm.layout import Geometry
from shm.segment import open_writer
from shm.writer import Writer
from tests.workers.rest.rest_kit import VirtualLoop
from workers.books.manager import BookManager, BookManagerConfig
from workers.books.publish import Publisher
from workers.contract.errors import RestError, WorkerError
from workers.contract.protocols import ConnectionEvent, ConnectionState
from workers.venues.listing import Listing
from workers.worker.events import FeedEventHub, FeedEvents
from workers.worker.instruments import CONFIRM, Instruments, _missing_event
from workers.worker.listing_schedule import HINT_GAP, HINTED

INTERVAL = 300.0
BTC = Instrument(symbol="BTC/USDT", venue_symbol="BTCUSDT", price_exp=2, size_exp=5, tick=1, lot=1)
ETH = Instrument(symbol="ETH/USDT", venue_symbol="ETHUSDT", price_exp=2, size_exp=4, tick=1, lot=1)


class Service:
    def __init__(self, books: BookManager) -> None:
        self.books = books
        self.followed: list[tuple[list[str], list[str], bool]] = []
        self.dropped_symbols: list[str] = []
        self.nothing = 0

    def carry(self, instrument: Instrument) -> None:
        self.books.carry(instrument, top=True, book=False)

    def dropped(self, instrument: Instrument) -> None:
        self.dropped_symbols.append(instrument.venue_symbol)

    async def follow(self, added: Sequence[str], removed: Sequence[str], renamed: bool) -> None:
        self.followed.append((list(added), list(removed), renamed))

    def nothing_listed(self) -> None:
        self.nothing += 1


class Desk(FeedEvents):
    """One `Instruments` and what its venue lists; `readings` are the times at which it was asked."""

    def __init__(
        self,
        writer: Writer,
        symbols: Sequence[str],
        listed: dict[str, Instrument],
        scopes: Sequence[Scope] = (Scope.TOP,),
    ) -> None:
        self.writer = writer
        self.listed = listed
        self.readings: list[float] = []
        self.failing: WorkerError | None = None
        self.unsure: set[str] = set()
        self.skipped: dict[str, str] = {}
        self.lines: list[str] = []
        self.publisher = publisher = Publisher(writer, None, None)
        self.books = BookManager(writer, publisher, None, BookManagerConfig(stale_after=0.0))
        self.service = Service(self.books)
        self.instruments = Instruments(
            symbols,
            writer,
            publisher,
            self.books,
            self.service,
            self.read,
            interval=INTERVAL,
            retry=0.5,
            most_retry=30.0,
            scopes=scopes,
            events=self,
            chance=lambda: 0.5,
        )
        self.schedule = self.instruments.schedule

    def report(self, line: str) -> None:
        self.lines.append(line)

    async def read(self, symbols: Sequence[str]) -> Listing:
        self.readings.append(asyncio.get_running_loop().time() - 1000.0)
        if self.failing is not None:
            raise self.failing
        found = [self.listed[symbol] for symbol in symbols if symbol in self.listed]
        missing = {symbol: "not listed" for symbol in symbols if symbol not in self.listed}
        unsure = self.unsure & missing.keys()
        return Listing(instruments=found, missing=missing, unsure=unsure, skipped=self.skipped)


@pytest.fixture
def writer(instance: str) -> Iterator[Writer]:
    made = open_writer(instance, "feed", Geometry(slots=1024, instruments=8, depth=5), 0.25)
    yield made
    made.close(unlink=True)


def schedule(writer: Writer, during: Callable[[Desk, float], Any], seconds: float, step: float = 1.0) -> Desk:
    """Watches for so long; `during` is called every `step` seconds."""

    async def main() -> Desk:
        desk = Desk(writer, ["BTC/USDT", "ETH/USDT"], {"BTC/USDT": BTC, "ETH/USDT": ETH})
        await desk.instruments.begin()
        task = asyncio.ensure_future(desk.instruments.watch())
        loop = asyncio.get_running_loop()
        while loop.time() < 1000.0 + seconds:
            during(desk, loop.time() - 1000.0)
            await asyncio.sleep(step)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return desk

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())


def test_it_is_read_every_interval(writer: Writer) -> None:
    desk = schedule(writer, lambda *_: None, 1000.0)
    assert desk.readings == [0.0, 300.0, 600.0, 900.0]


def test_a_hint_is_followed_at_once(writer: Writer) -> None:
    desk = schedule(writer, lambda desk, now: now == 100 and desk.schedule.hint("silent", "BTC/USDT"), 150.0)
    assert desk.readings == [0.0, 100.0]


def test_a_hint_right_after_a_reading_waits(writer: Writer) -> None:
    desk = schedule(writer, lambda desk, now: now == 1 and desk.schedule.hint("silent", "BTC/USDT"), 50.0)
    assert desk.readings == [0.0, HINT_GAP]


def test_a_ground_that_leads_to_nothing_is_followed_ever_more_rarely(writer: Writer) -> None:
    """A market that is quiet by nature falls silent again and again, and trades all the same."""
    desk = schedule(writer, lambda desk, _: desk.schedule.hint("silent", "BTC/USDT"), 3000.0)
    gaps = [b - a for a, b in itertools.pairwise(desk.readings[1:])]
    assert gaps == sorted(gaps)
    assert gaps[-1] >= INTERVAL * 0.9


def test_many_grounds_together_lead_to_no_storm(writer: Writer) -> None:
    """Two hundred quiet markets: each gives a hint now and then."""
    desk = schedule(writer, lambda desk, now: desk.schedule.hint("silent", f"X{now % 200}/USDT"), 3000.0)
    assert len([at for at in desk.readings if at > 1500]) <= 1500 / INTERVAL * (HINTED + 1)


def test_a_change_makes_hints_urgent_again(writer: Writer) -> None:
    def during(desk: Desk, now: float) -> None:
        if now < 500:
            desk.schedule.hint("silent", "BTC/USDT")
        if now == 500:
            desk.listed["BTC/USDT"] = msgspec.structs.replace(BTC, status=InstrumentStatus.HALTED)
            desk.schedule.hint("notice", "BTC/USDT")
        if now == 600:
            desk.schedule.hint("silent", "BTC/USDT")

    desk = schedule(writer, during, 610.0)
    assert 600.0 in desk.readings
    assert desk.writer.instruments()[0].status is InstrumentStatus.HALTED


def test_a_reading_that_fails_changes_nothing_and_is_tried_again(writer: Writer) -> None:
    def during(desk: Desk, now: float) -> None:
        desk.failing = RestError("no answer") if 250 <= now < 350 else None

    desk = schedule(writer, during, 700.0)
    between = [at for at in desk.readings if 300 <= at < 350]
    assert len(between) >= 5, between
    assert max(b - a for a, b in itertools.pairwise(between)) <= 30
    assert len(desk.lines) <= 4, "said the 1st, 2nd, 4th, 8th time"
    assert desk.service.followed == [(["BTC/USDT", "ETH/USDT"], [], False)]


def test_a_symbol_that_the_venue_calls_otherwise_now(writer: Writer) -> None:
    """Of two entries of one symbol the other stands for it now: a new slot, and the subscription moves."""

    def during(desk: Desk, now: float) -> None:
        if now == 10:
            desk.listed["ETH/USDT"] = msgspec.structs.replace(ETH, venue_symbol="ETHUSDT2")

    desk = schedule(writer, during, 310.0)
    assert desk.service.followed == [(["BTC/USDT", "ETH/USDT"], [], False), ([], [], True)]
    assert desk.service.dropped_symbols == ["ETHUSDT"]
    assert [slot.venue_symbol for slot in writer.instruments()] == ["BTCUSDT", "ETHUSDT", "ETHUSDT2"]


def test_a_venue_that_raises_for_the_whole_listing_is_asked_again(writer: Writer) -> None:
    """Nothing is served without it: the feed says why, and the process stays."""

    async def main() -> list[float]:
        desk = Desk(writer, ["BTC/USDT"], {"BTC/USDT": BTC})
        desk.failing = WorkerError("of no use")
        beginning = asyncio.ensure_future(desk.instruments.begin())
        await asyncio.sleep(100.0)
        assert not beginning.done()
        desk.failing = None
        assert await beginning
        return desk.readings

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        readings = runner.run(main())
    assert len(readings) > 6
    assert [slot.symbol for slot in writer.instruments()] == ["BTC/USDT"]


def test_a_served_symbol_that_cannot_be_read_goes_on_being_served(writer: Writer) -> None:
    """Kind: silence taken for evidence. Its entry has become unreadable, or the part of the
    listing that would have it is refused: that is no delisting. Absent from what was read, it is delisted."""

    def change(desk: Desk, now: float) -> None:
        if now == 10:
            del desk.listed["BTC/USDT"]
            desk.unsure.add("BTC/USDT")
        if now == 700:
            desk.unsure.clear()

    seen: dict[float, InstrumentStatus] = {}

    def during(desk: Desk, now: float) -> None:
        change(desk, now)
        seen[now] = writer.instruments()[0].status

    desk = schedule(writer, during, 1000.0)
    assert desk.readings == [0.0, 300.0, 600.0, 900.0]
    assert (seen[301], seen[601], seen[899]) == (InstrumentStatus.ACTIVE,) * 3
    assert seen[901] is InstrumentStatus.NOT_LISTED, "no message ever came of it"
    assert desk.service.followed[1:] == [([], ["BTC/USDT"], False)]
    assert sum("is served as it was listed before" in line for line in desk.lines) == 1


def hear(desk: Desk) -> None:
    """A message about each served symbol."""
    for symbol in desk.instruments.carried:
        index = desk.books.index_of(symbol)
        assert index is not None
        desk.writer.count_instrument(index, InstrumentCounter.MESSAGES)


def absences(
    writer: Writer, absent: Callable[[float], bool], seconds: float, **more: Any
) -> tuple[Desk, dict[float, InstrumentStatus]]:
    """BTC/USDT is delivered all the time, and not listed while `absent`; its status by second."""
    seen: dict[float, InstrumentStatus] = {}

    def during(desk: Desk, now: float) -> None:
        hear(desk)
        desk.listed.pop("BTC/USDT", None)
        if not absent(now):
            desk.listed["BTC/USDT"] = BTC
        more.get("during", lambda *_: None)(desk, now)
        seen[now] = writer.instruments()[0].status

    return schedule(writer, during, seconds), seen


def test_one_shorter_listing_takes_no_delivered_symbol_down(writer: Writer, instance: str) -> None:
    """Kind: one answer believed against all that is heard. An edge cache, or a backend that is still
    loading, answers once with a shorter list while the streams go on. It is asked once more, early, and
    nothing is noted."""
    desk, seen = absences(writer, lambda now: 250 <= now < 310, 700.0)
    assert desk.readings == [0.0, 300.0, 300.0 + CONFIRM, 600.0 + CONFIRM]
    assert set(seen.values()) == {InstrumentStatus.ACTIVE}
    assert desk.service.followed == [(["BTC/USDT", "ETH/USDT"], [], False)]
    assert desk.lines == []
    with shm.attach("feed", instance) as feed:
        assert feed.events() == []


def test_two_listings_without_it_are_believed_against_a_stream_that_goes_on(writer: Writer) -> None:
    """What is still sent of a market that the venue has taken out is no price to trade on. It is noted once,
    when it is certain."""
    desk, seen = absences(writer, lambda now: now >= 250, 1000.0)
    assert desk.readings[:3] == [0.0, 300.0, 300.0 + CONFIRM]
    assert seen[319] is InstrumentStatus.ACTIVE
    assert seen[321] is InstrumentStatus.NOT_LISTED
    assert desk.service.followed[1:] == [([], ["BTC/USDT"], False)]
    assert len(desk.lines) == 1
    assert len(desk.readings) == 5, "and no early readings after it"


def test_hints_do_not_make_the_second_answer_come_earlier(writer: Writer) -> None:
    """What a cache answers within its few seconds is the same answer."""

    def during(desk: Desk, now: float) -> None:
        if 300 <= now < 319:
            desk.schedule.hint("notice", f"X{now}")

    desk, seen = absences(writer, lambda now: 250 <= now < 319, 400.0, during=during)
    assert len([at for at in desk.readings if 300 <= at < 300 + CONFIRM]) > 1
    assert 300.0 + CONFIRM in desk.readings
    assert set(seen.values()) == {InstrumentStatus.ACTIVE}


def test_two_shorter_listings_that_are_not_in_a_row_are_one_each(writer: Writer) -> None:
    """Between them it was listed, or in an entry that cannot be read."""
    desk, seen = absences(writer, lambda now: 250 <= now < 310 or 600 < now < 630, 900.0)
    assert set(seen.values()) == {InstrumentStatus.ACTIVE}

    def during(desk: Desk, now: float) -> None:
        desk.unsure = {"BTC/USDT"} if 310 <= now < 500 else set()

    desk, seen = absences(writer, lambda now: 250 <= now < 630, 900.0, during=during)
    assert set(seen.values()) == {InstrumentStatus.ACTIVE}
    assert desk.readings[-1] == 620.0 + CONFIRM


def test_a_second_reading_that_fails_confirms_nothing(writer: Writer) -> None:
    def during(desk: Desk, now: float) -> None:
        desk.failing = RestError("no answer") if 310 <= now < 330 else None

    desk, seen = absences(writer, lambda now: 250 <= now < 325, 500.0, during=during)
    assert set(seen.values()) == {InstrumentStatus.ACTIVE}
    assert len([at for at in desk.readings if at >= 320]) > 1


def test_what_is_live_is_delivered(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quiet market has a book from REST, and no message has come yet."""
    never = SimpleNamespace(MESSAGES=InstrumentCounter.PRECISION)  # of which there are none
    monkeypatch.setattr("workers.worker.instruments.InstrumentCounter", never)

    def live(desk: Desk, now: float) -> None:
        if now == 1:
            index = desk.books.index_of("BTC/USDT")
            assert index is not None
            desk.publisher.messages.top(index, 1, 1, 2, 1, 1, 0, 1)
            assert desk.publisher.state(index, Scope.TOP) == State.LIVE
        if now == 250:
            del desk.listed["BTC/USDT"]
        seen[now] = writer.instruments()[0].status

    seen: dict[float, InstrumentStatus] = {}
    schedule(writer, live, 330.0)
    assert (seen[301], seen[321]) == (InstrumentStatus.ACTIVE, InstrumentStatus.NOT_LISTED)


def test_what_the_venue_refused_is_not_delivered(writer: Writer) -> None:
    """A subscription that was refused on a new connection, and a listing without it: two have said it."""

    def refused(desk: Desk, now: float) -> None:
        if now == 260:
            event = ConnectionEvent(state=ConnectionState.CONNECTED, rejected=(("BTC/USDT", "top"),))
            FeedEventHub(desk.instruments, desk.schedule).rejected(event)

    _, seen = absences(writer, lambda now: now >= 250, 330.0, during=refused)
    assert seen[261] is InstrumentStatus.NOT_LISTED


def test_a_halt_is_believed_at_once(writer: Writer) -> None:
    def halt(desk: Desk, now: float) -> None:
        if now == 250:
            desk.listed["ETH/USDT"] = msgspec.structs.replace(ETH, status=InstrumentStatus.HALTED)

    desk, _ = absences(writer, lambda now: False, 310.0, during=halt)
    assert desk.readings == [0.0, 300.0]
    assert writer.instruments()[1].status is InstrumentStatus.HALTED


def test_an_entry_of_its_name_that_cannot_be_read_does_not_say_that_it_is_gone(writer: Writer) -> None:
    """Kind: silence taken for evidence. Where the venue calls the currency otherwise than everybody (MEXC's
    ``BIFIUSDT`` is BIFIF/USDT), an entry that has lost its currency is recognised by its name alone."""

    def during(desk: Desk, now: float) -> None:
        if now == 250:
            desk.skipped = {"BTCUSDT": "a currency is empty"}

    desk, seen = absences(writer, lambda now: now >= 250, 700.0, during=during)
    assert set(seen.values()) == {InstrumentStatus.ACTIVE}
    assert desk.readings == [0.0, 300.0, 600.0]
    [line] = [line for line in desk.lines if "BTC/USDT" in line]
    assert line.startswith("BTC/USDT is served as it was listed before: its entry BTCUSDT: a currency")


BOTH = [Scope.TOP, Scope.BOOK]


@pytest.mark.parametrize("scopes", [[], [Scope.TOP]])
def test_what_the_configuration_names_no_more(writer: Writer, instance: str, scopes: list[Scope]) -> None:
    """Kind: the configuration does not name it any more, and what it left behind goes on being counted. A
    symbol that traded, one that was not listed, a channel, and a feed that has no cells at all."""
    listed = {"BTC/USDT": BTC, "ETH/USDT": ETH}

    def cells(symbol: str) -> list[tuple[State, Reason]]:
        with shm.attach("feed", instance) as feed:
            return [(feed.cell_state(symbol, each), feed.cell_reason(symbol, each)) for each in BOTH]

    async def main() -> None:
        before = Desk(writer, ["BTC/USDT", "ETH/USDT", "ETH/USTD"], listed, scopes=BOTH)
        await before.instruments.begin()
        for index in range(3):
            writer.book_state(index, State.RESYNC, Reason.WRITER_DIED)  # as the next writer finds it
        after = Desk(writer, ["BTC/USDT"], listed, scopes=scopes)
        await after.instruments.begin()
        slots = {slot.symbol: slot.status for slot in writer.instruments()}
        assert slots == {
            "BTC/USDT": InstrumentStatus.ACTIVE,
            "ETH/USDT": InstrumentStatus.HALTED,
            "ETH/USTD": InstrumentStatus.NOT_LISTED,
        }
        for symbol in ("ETH/USDT", "ETH/USTD"):
            assert cells(symbol) == [(State.DOWN, Reason.UNSUBSCRIBED)] * 2
        assert cells("BTC/USDT")[1] == (State.DOWN, Reason.NONE)
        again = Desk(writer, ["BTC/USDT", "ETH/USDT", "ETH/USTD"], listed, scopes=scopes)
        await again.instruments.begin()
        await again.instruments.apply(await again.read(["BTC/USDT", "ETH/USDT", "ETH/USTD"]))
        for symbol in slots:
            reasons = {reason for _, reason in cells(symbol)}
            assert Reason.UNSUBSCRIBED not in reasons, symbol
        assert {slot.symbol: slot.status for slot in writer.instruments()} == {
            **slots,
            "ETH/USDT": InstrumentStatus.ACTIVE,
        }

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())


NEAREST = ["ETH/USDT", "ETH/USDC", "ETH/TUSD", "ETH/BUSD"]
PERPETUALS = ["BTC/USDT:USDT", "BTC/USDC:USDC", "BTC/USD:BTC"]


@pytest.mark.parametrize(
    ("listing", "text"),
    [
        (Listing(instruments=[], nearest={"A": NEAREST}), "ETH/USDT, ETH/USDC, ETH/TUSD"),
        (Listing(instruments=[], nearest={"A": PERPETUALS}), "BTC/USDT:USDT, BTC/USDC:USDC"),
        (Listing(instruments=[], missing={"A": "the venue does not list it"}), ""),
        (
            Listing(instruments=[], missing={"A": "status null cannot be read"}, unsure={"A"}),
            "status null cannot be read",
        ),
    ],
)
def test_what_an_event_has_room_for(listing: Listing, text: str) -> None:
    assert _missing_event("A", listing)[1] == text
