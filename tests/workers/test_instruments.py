"""When a listing is read again, in virtual time: the schedule of `workers.instruments`, without a venue."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import pytest

from shm import InstrumentStatus, Scope
from shm.instruments import Instrument
from shm.layout import Geometry
from shm.segment import open_writer
from shm.writer import Writer
from tests.workers.rest.rest_kit import VirtualLoop
from workers.books.keeper import BookKeeper, KeeperConfig
from workers.books.publish import Publisher
from workers.errors import RestError, WorkerError
from workers.instruments import HINT_GAP, HINTED, Instruments, _missing_event
from workers.listing import Listing

INTERVAL = 300.0
BTC = Instrument(symbol="BTC/USDT", venue_symbol="BTCUSDT", price_exp=2, size_exp=5, tick=1, lot=1)
ETH = Instrument(symbol="ETH/USDT", venue_symbol="ETHUSDT", price_exp=2, size_exp=4, tick=1, lot=1)


class Service:
    def __init__(self, keeper: BookKeeper) -> None:
        self.keeper = keeper
        self.followed: list[tuple[list[str], list[str], bool]] = []
        self.dropped_symbols: list[str] = []
        self.nothing = 0

    def carry(self, instrument: Instrument) -> None:
        self.keeper.carry(instrument, top=True, book=False)

    def dropped(self, instrument: Instrument) -> None:
        self.dropped_symbols.append(instrument.venue_symbol)

    async def follow(self, added: Sequence[str], removed: Sequence[str], renamed: bool) -> None:
        self.followed.append((list(added), list(removed), renamed))

    def nothing_listed(self) -> None:
        self.nothing += 1


class Desk:
    """One `Instruments` and what its venue lists; `readings` are the times at which it was asked."""

    def __init__(self, writer: Writer, symbols: Sequence[str], listed: dict[str, Instrument]) -> None:
        self.writer = writer
        self.listed = listed
        self.readings: list[float] = []
        self.failing: WorkerError | None = None
        self.unsure: set[str] = set()
        self.lines: list[str] = []
        publisher = Publisher(writer, None, None)
        self.keeper = BookKeeper(writer, publisher, None, KeeperConfig(stale_after=0.0))
        self.service = Service(self.keeper)
        self.instruments = Instruments(
            symbols,
            writer,
            publisher,
            self.keeper,
            self.service,
            self.read,
            interval=INTERVAL,
            retry=0.5,
            most_retry=30.0,
            scopes=[Scope.TOP],
            say=self.lines.append,
            chance=lambda: 0.5,
        )

    async def read(self, symbols: Sequence[str]) -> Listing:
        self.readings.append(asyncio.get_running_loop().time() - 1000.0)
        if self.failing is not None:
            raise self.failing
        found = [self.listed[symbol] for symbol in symbols if symbol in self.listed]
        missing = {symbol: "not listed" for symbol in symbols if symbol not in self.listed}
        return Listing(instruments=found, missing=missing, unsure=self.unsure & missing.keys())


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
    desk = schedule(
        writer, lambda desk, now: now == 100 and desk.instruments.hint("silent", "BTC/USDT"), 150.0
    )
    assert desk.readings == [0.0, 100.0]


def test_a_hint_right_after_a_reading_waits(writer: Writer) -> None:
    desk = schedule(writer, lambda desk, now: now == 1 and desk.instruments.hint("silent", "BTC/USDT"), 50.0)
    assert desk.readings == [0.0, HINT_GAP]


def test_a_ground_that_leads_to_nothing_is_followed_ever_more_rarely(writer: Writer) -> None:
    """A market that is quiet by nature falls silent again and again, and trades all the same."""
    desk = schedule(writer, lambda desk, _: desk.instruments.hint("silent", "BTC/USDT"), 3000.0)
    gaps = [b - a for a, b in itertools.pairwise(desk.readings[1:])]
    assert gaps == sorted(gaps)
    assert gaps[-1] >= INTERVAL * 0.9


def test_many_grounds_together_lead_to_no_storm(writer: Writer) -> None:
    """Two hundred quiet markets: each gives a hint now and then."""
    desk = schedule(writer, lambda desk, now: desk.instruments.hint("silent", f"X{now % 200}/USDT"), 3000.0)
    assert len([at for at in desk.readings if at > 1500]) <= 1500 / INTERVAL * (HINTED + 1)


def test_a_change_makes_hints_urgent_again(writer: Writer) -> None:
    def during(desk: Desk, now: float) -> None:
        if now < 500:
            desk.instruments.hint("silent", "BTC/USDT")
        if now == 500:
            desk.listed["BTC/USDT"] = msgspec.structs.replace(BTC, status=InstrumentStatus.HALTED)
            desk.instruments.hint("notice", "BTC/USDT")
        if now == 600:
            desk.instruments.hint("silent", "BTC/USDT")

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
    assert seen[901] is InstrumentStatus.NOT_LISTED
    assert desk.service.followed[1:] == [([], ["BTC/USDT"], False)]
    assert sum("is served as it was listed before" in line for line in desk.lines) == 1


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
