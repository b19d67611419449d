"""What becomes of the frames: the published books and tops, by the oracles of the captures and of time."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from shm import Scope, State
from shm._ring import now as monotonic_ns
from tests.conformance.fixture import CHECKED, Book, Fixture, Recording, TextLevel, load
from tests.conformance.player import MOST_SNAPSHOTS, Player, reference, rows, slots
from tests.conformance.report import Case, row
from workers.books.manager import BookManager, BookManagerConfig
from workers.books.sync import Outcome, Snapshot
from workers.contract.errors import RestError
from workers.contract.protocols import DATA_TYPES
from workers.decode.normal import Scale
from workers.venues import venue as venues
from workers.venues.venue import Venue

SCOPES = (Scope.TOP, Scope.BOOK)
SECOND = 1_000_000_000


def replay(
    recording: Recording, fixture: Fixture, venue: Venue, instance: str, drop: int = -1
) -> tuple[int, list[str], int]:
    """How many of the oracle's books were right, what was wrong, and how many tops had a book to compare
    with (all were equal). `drop` leaves one incoming frame out."""
    found = rows(recording)
    books = list(recording.books())
    wrong: list[str] = []
    right = count = 0
    tops: dict[tuple[str, int], tuple[int, ...]] = {}
    bests: dict[tuple[str, int], tuple[int, ...]] = {}

    def compare(player: Player, after: int) -> int:
        problems = [player.difference(book) for book in books if book.after == after]
        wrong.extend(each for each in problems if each is not None)
        return problems.count(None)

    with Player(instance, fixture, venue, slots(recording, found), **recording.keys) as player:
        player.carry()
        for each in found:
            if (whole := recording.snapshot(each)) is not None:
                index = player.scales[whole[0]].instrument
                outcome = player.publisher.apply_snapshot(index, whole[1], limit=recording.limit)
                assert outcome in (Outcome.SYNCED, Outcome.REFETCH), outcome
            if each.dir != "in":
                continue
            count += 1
            if count - 1 == drop:
                continue
            player.frame(each.payload(), each.ts)
            right += compare(player, count)
            if recording.tops:
                _note(player, tops, bests)
        right += compare(player, -1)
        assert player.publisher.errors == 0, player.publisher.last_error
    common = tops.keys() & bests.keys()
    assert all(tops[key] == bests[key] for key in common)
    return right, wrong, len(common)


def _note(player: Player, tops: dict[Any, tuple[int, ...]], bests: dict[Any, tuple[int, ...]]) -> None:
    for symbol, scale in player.scales.items():
        # A top that was taken from the book is no proof of the stream of tops.
        if player.state(symbol, Scope.TOP) is State.LIVE and not player.publisher.top_filled(
            scale.instrument
        ):
            top = player.feed.top(symbol)
            tops[symbol, top.update_id] = top.exact
        if player.state(symbol) is State.LIVE:
            book = player.feed.book(symbol)
            bids, asks = book.exact
            if len(bids) and len(asks):
                bests[symbol, book.update_id] = (*bids[0].tolist(), *asks[0].tolist())


@row(6, "The books that a real capture leads to are the oracle's, exactly")
def test_books_of_real_captures(case: Case, instance: str) -> None:
    compare(case, case.fixture.recordings, instance)


@row(7, "So are those of our own small recording")
def test_books_of_own_recordings(case: Case, instance: str) -> None:
    compare(case, case.fixture.own, instance)


def compare(case: Case, recordings: Sequence[Recording], instance: str) -> None:
    right = booked = 0
    for number, recording in enumerate(recordings):
        if not recording.booked:
            continue
        equal, wrong, _ = replay(recording, case.fixture, case.venue, f"{instance}-{number}")
        assert wrong == []
        assert equal == recording.booked, recording.name
        right += equal
        booked += recording.booked
    if not booked:
        pytest.skip("not applicable: the capture has no book")
    case.figure = f"{right}/{booked}"


@row(8, "Where top and book share update ids, equal ids have equal prices (real capture)")
def test_tops_are_the_books_best(case: Case, instance: str) -> None:
    tops = 0
    for number, recording in enumerate(case.fixture.recordings):
        if recording.tops:
            _, _, common = replay(recording, case.fixture, case.venue, f"{instance}-{number}")
            assert common == recording.tops
            tops += common
    if not tops:
        pytest.skip("not applicable: the capture has no top with a book's id")
    case.figure = f"{tops}/{tops}"


CHECKSUM = re.compile(rb'(?<="checksum":)-?[0-9]+')


@row(9, "Every checksum of a real capture is that of our book; one that is another is noticed at once")
def test_checksums_of_real_captures(case: Case, instance: str) -> None:
    right = 0
    for number, recording in enumerate(case.fixture.recordings):
        count = checked(case, recording, f"{instance}-{number}")
        if count:
            right += count
            assert checked(case, recording, f"{instance}-{number}-altered", alter=count // 2) == count // 2
    if not right:
        pytest.skip("not applicable: the capture has no checksum")
    case.figure = f"{right}/{right}"


def checked(case: Case, recording: Recording, instance: str, alter: int = -1) -> int:
    """After how many frames with a checksum the book is LIVE; up to the one that is altered, after which it
    must be RESYNC."""
    found = rows(recording)
    scales = slots(recording, found)
    symbols = {scale.instrument: symbol for symbol, scale in scales.items()}
    count = 0
    with Player(instance, case.fixture, case.venue, scales, **recording.keys) as player:
        player.carry()
        for each in found:
            if each.dir != "in":
                continue
            frame = each.payload()
            summed = [
                form for form in reference(case.venue, player.parser, frame, scales) if form.flags & CHECKED
            ]
            if summed and count == alter:
                frame = CHECKSUM.sub(lambda text: b"%d" % (int(text[0]) ^ 1), frame)
            player.frame(frame, each.ts)
            for form in summed:
                wanted = State.RESYNC if count == alter else State.LIVE
                assert player.state(symbols[form.instrument]) is wanted, frame
            if summed and count == alter:
                return count
            count += bool(summed)
    return count


# -- one message -----------------------------------------------------------------------------------------
BIDS = [("100.00", "1.000"), ("99.99", "2.000"), ("99.98", "3.000"), ("99.97", "4.000"), ("99.96", "5.000")]
ASKS = [
    ("100.01", "1.500"),
    ("100.02", "2.500"),
    ("100.03", "3.500"),
    ("100.04", "4.500"),
    ("100.05", "5.500"),
]
ROOM = Scale(0, 2, 3)


@row(10, "A price repeated in one message: levels are applied in the order sent, by both decoders")
def test_a_repeated_price_is_applied_in_its_order(case: Case, instance: str) -> None:
    fixture = case.fixture
    symbol = fixture.venue_symbol(fixture.symbols[0])
    bids: list[TextLevel] = [
        ("100.00", "7.000"), ("100.00", "8.000"), ("99.99", "9.000"), ("99.99", "0.000"),
        ("99.98", "0.000"), ("99.98", "6.000"),
    ]  # fmt: skip
    asks: list[TextLevel] = [
        ("100.01", "0.000"),
        ("100.01", "2.000"),
        ("100.01", "0.000"),
        ("100.02", "1.000"),
    ]
    after = (
        [("100.00", "8.000"), ("99.98", "6.000"), *BIDS[3:]],
        [("100.02", "1.000"), *ASKS[2:]],
    )
    for number, native in enumerate((True, False)):
        with Player(f"{instance}-{number}", fixture, case.venue, {symbol: ROOM}, native=native) as player:
            player.carry()
            player.begin(symbol, fixture.wire.begin(symbol, 100, BIDS, ASKS))
            player.frame(fixture.wire.change(symbol, 100, 101, bids, asks, after))
            assert player.difference(Book(symbol=symbol, bids=after[0], asks=after[1])) is None
            assert player.left == (0 if native else player.left)


# -- time ------------------------------------------------------------------------------------------------
class Afternoon:
    """200 instruments under a book manager, with a clock that `second` advances.

    REST gives each book its first snapshot and then fails, so that no quiet book can be proven by it.
    """

    STALE = 5.0
    COUNT = 200

    def __init__(
        self, fixture: Fixture, venue: Venue, instance: str, count: int = COUNT, stale_after: float = STALE
    ) -> None:
        self.fixture = fixture
        self.symbols = [fixture.venue_symbol(fixture.made_up(number)) for number in range(count)]
        scales = {symbol: Scale(number, 2, 3) for number, symbol in enumerate(self.symbols)}
        self.player = Player(instance, fixture, venue, scales, max_instruments=256)
        self.offset = 0
        self.update = 100
        self.begun = False
        self.books = BookManager(
            self.player.writer,
            self.player.publisher,
            self.fetch if venue.books.snapshot is not None else None,
            BookManagerConfig(
                stale_after=stale_after,
                stale_after_min=stale_after,  # nothing is learnt: the bound is what it is
                stale_after_max=stale_after,
                concurrency=count,
            ),
            resubscribe=self.resubscribe,
            clock=self.now,
            sleep=self.sleep,
        )
        for spec, scale in zip(self.player.instruments, scales.values(), strict=True):
            self.books.carry(msgspec.structs.replace(spec, index=scale.instrument))

    def now(self) -> int:
        return monotonic_ns() + self.offset

    async def sleep(self, seconds: float) -> None:
        if self.begun:
            await asyncio.Event().wait()  # a backoff is longer than this test
        self.offset += int(seconds * SECOND)
        await asyncio.sleep(0)

    async def fetch(self, instrument: Any, levels: int, priority: Any) -> Snapshot:
        if self.begun:
            raise RestError("nothing to prove it by")
        whole = self.fixture.wire.begin(instrument.symbol, 100, BIDS, ASKS)
        assert isinstance(whole, Snapshot)
        return whole

    async def resubscribe(self, instrument: Any) -> None:
        pass

    async def begin(self) -> None:
        """All of them LIVE, top and book."""
        self.books.subscribed()
        for _ in range(10 * MOST_SNAPSHOTS):
            await asyncio.sleep(0)
        self.begun = True
        for symbol in self.symbols:
            whole = self.fixture.wire.begin(symbol, 100, BIDS, ASKS)
            if isinstance(whole, bytes):
                self.player.frame(whole, self.now())
        self.send(self.symbols)
        assert self.live() == len(self.symbols), self.live()

    def send(self, symbols: Sequence[str]) -> None:
        """A top and a change of the book for these."""
        size = f"{self.update % 9 + 1}.000"
        bids = [("100.00", size), *BIDS[1:]]
        for symbol in symbols:
            wire = self.fixture.wire
            if (top := wire.top(symbol, self.update + 1, bids[0], ASKS[0])) is not None:
                self.player.frame(top, self.now())
            change = wire.change(symbol, self.update, self.update + 1, bids[:1], [], (bids, ASKS))
            self.player.frame(change, self.now())
        self.update += 1

    async def second(self) -> None:
        self.offset += SECOND
        self.books.tick()
        await asyncio.sleep(0)

    def live(self) -> int:
        """Instruments of which both cells are LIVE."""
        return sum(
            all(self.player.state(symbol, scope) is State.LIVE for scope in SCOPES) for symbol in self.symbols
        )

    async def close(self) -> None:
        await self.books.close()
        self.player.__exit__(None, None, None)


@row(11, "One silent symbol among 200 is STALE within the bound and a second, the others stay LIVE")
def test_one_silent_symbol_among_200(case: Case, instance: str) -> None:
    asyncio.run(one_silent(case, instance, Afternoon.STALE))
    case.figure = "199/199"


async def one_silent(case: Case, instance: str, stale_after: float) -> None:
    some = Afternoon(case.fixture, case.venue, instance, stale_after=stale_after)
    try:
        await some.begin()
        silent = some.symbols[57]
        others = [symbol for symbol in some.symbols if symbol != silent]
        for second in range(1, int(some.STALE) + 3):
            some.send(others)
            await some.second()
            if second < some.STALE:
                assert some.live() == 200, second
        assert [some.player.state(silent, scope) for scope in SCOPES] == [State.STALE] * 2
        assert some.live() == 199
    finally:
        await some.close()


@row(12, "Heartbeats are no data: with them alone, everything is STALE within the same bound")
def test_heartbeats_keep_nothing_live(case: Case, instance: str) -> None:
    heartbeats = case.fact(case.fixture.heartbeats)

    async def main() -> None:
        some = Afternoon(case.fixture, case.venue, instance, count=2)
        try:
            await some.begin()
            for frame in heartbeats:
                assert some.player.publisher.hot_path.frame(frame, some.now()) == 0
                assert some.player.parser.parse(frame).message_type not in DATA_TYPES
            for _ in range(int(some.STALE) + 2):
                for frame in heartbeats:
                    some.player.frame(frame, some.now())
                await some.second()
            for symbol in some.symbols:
                assert [some.player.state(symbol, scope) for scope in SCOPES] == [State.STALE] * 2
        finally:
            await some.close()

    asyncio.run(main())


# -- negative controls --------------------------------------------------------------------------------------
def test_a_book_that_misses_a_frame_is_noticed(instance: str) -> None:
    """Negative control of rows 6 and 7: one change of a book is left out."""
    fixture, venue = load("binance_spot"), venues.load("binance_spot")
    [recording] = fixture.own
    frames = [each.payload() for each in rows(recording) if each.dir == "in"]
    drop = max(n for n, frame in enumerate(frames[:-20]) if b'"e":"depthUpdate"' in frame)
    right, wrong, _ = replay(recording, fixture, venue, instance, drop)
    assert right == recording.booked - 1
    assert "RESYNC" in wrong[0]


def test_a_book_that_is_not_cut_is_noticed(instance: str) -> None:
    """Negative control of row 7: levels that have fallen out of what is subscribed stay, and come back."""
    fixture, venue = load("kraken"), venues.load("kraken")

    def uncut(keys: Any) -> Any:
        sync: Any = venue.books.make_sync(keys)
        sync.max_depth = 0
        return sync

    [recording] = fixture.own
    whole = dataclasses.replace(venue, books=dataclasses.replace(venue.books, make_sync=uncut))
    right, wrong, _ = replay(recording, fixture, whole, instance)
    assert right < recording.booked
    assert wrong


def test_an_oracle_that_lies_is_noticed(instance: str) -> None:
    fixture, venue = load("binance_spot"), venues.load("binance_spot")
    [recording] = fixture.own
    first, *others = recording.books()
    lie = dataclasses.replace(first, bids=[(first.bids[0][0], "0.00001000"), *first.bids[1:]])
    _, wrong, _ = replay(
        dataclasses.replace(recording, books=lambda: [lie, *others]), fixture, venue, instance
    )
    assert len(wrong) == 1
    assert "bids" in wrong[0]


def test_silence_that_nobody_minds_is_noticed(instance: str) -> None:
    """Negative control of row 11: a book manager that is patient for an hour."""
    case = Case(load("binance_spot"), venues.load("binance_spot"))
    with pytest.raises(AssertionError, match="STALE"):
        asyncio.run(one_silent(case, instance, 3600.0))


def test_levels_applied_in_another_order_are_noticed(instance: str) -> None:
    """Negative control of row 10: the same levels, the other way round."""
    fixture, venue = load("binance_spot"), venues.load("binance_spot")
    with Player(instance, fixture, venue, {"BTCUSDT": ROOM}) as player:
        player.carry()
        player.begin("BTCUSDT", fixture.wire.begin("BTCUSDT", 100, BIDS, ASKS))
        twice = [("100.00", "8.000"), ("100.00", "7.000")]
        player.frame(fixture.wire.change("BTCUSDT", 100, 101, twice, [], (BIDS, ASKS)))
        right = [("100.00", "8.000"), *BIDS[1:]]
        assert player.difference(Book(symbol="BTCUSDT", bids=right, asks=ASKS)) is not None
