"""The rules of `workers.venues.kraken.sync`, through the publisher and by the captures' own oracle."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kraken_frames import DECODER, incoming, make_decoder, oracle, reference

import shm
from shm import Geometry, Kind, Reason, Scope, State
from shm.instruments import Instrument
from shm.segment import open_writer
from tests.instances import mine
from workers.books.book import Book
from workers.books.publish import Publisher
from workers.decode.normal import Decoded, MessageFlag, Scale
from workers.venues.kraken._checksum import Checksum
from workers.venues.kraken.checksum import checksum
from workers.venues.kraken.sync import BookSync

PRICE_EXP, SIZE_EXP = 4, 8
_count = itertools.count()


def text(mantissa: int, exponent: int) -> str:
    digits = str(mantissa).rjust(exponent + 1, "0")
    return f"{digits[:-exponent]}.{digits[-exponent:]}" if exponent else digits


def texts(levels: Any, price_exp: int = PRICE_EXP, size_exp: int = SIZE_EXP) -> list[tuple[str, str]]:
    return [(text(price, price_exp), text(size, size_exp)) for price, size in levels]


def frame(kind: str, bids: Any, asks: Any, after: tuple[Any, Any] | int) -> bytes:
    """A message of MINA/GBP; `after`: the book after it, for the checksum, or that itself."""

    def side(levels: Any) -> str:
        return ",".join(f'{{"price":{price},"qty":{size}}}' for price, size in texts(levels))

    crc = after if isinstance(after, int) else checksum(texts(after[0]), texts(after[1]))
    return (
        f'{{"channel":"book","type":"{kind}","data":[{{"symbol":"MINA/GBP","bids":[{side(bids)}],'
        f'"asks":[{side(asks)}],"checksum":{crc},"timestamp":"2026-08-16T23:37:05.723653Z"}}]}}'
    ).encode()


class Lab:
    """One instrument's publisher over a segment of its own."""

    def __init__(self, depth: int, window: int = 20) -> None:
        self.instance = mine(f"kraken-sync-{next(_count)}")
        geometry = Geometry(slots=4096, instruments=4, depth=window)
        self.writer = open_writer(self.instance, "kraken", geometry, heartbeat_limit=60.0)
        self.writer.set_state(State.LIVE, Reason.SYNCED)
        self.requests: list[int] = []
        self.precision: list[tuple[int, int, bytes]] = []
        decoder = make_decoder({})
        self.publisher = Publisher(self.writer, decoder, lambda: BookSync(depth), listener=self)
        spec = Instrument(symbol="MINA/GBP", venue_symbol="MINA/GBP", price_exp=PRICE_EXP, size_exp=SIZE_EXP)
        self.index = self.writer.add_instrument(spec)
        self.publisher.add_instrument(self.index, PRICE_EXP, SIZE_EXP)
        decoder.add_symbol("MINA/GBP", self.index, PRICE_EXP, SIZE_EXP)
        self.feed = shm.attach("kraken", self.instance)
        self.cursor = self.feed.cursor(from_oldest=True)

    def request_snapshot(self, index: int) -> None:
        self.requests.append(index)

    def on_precision(self, index: int, code: int, frame: bytes) -> None:
        self.precision.append((index, code, frame))

    def play(self, data: bytes) -> None:
        self.publisher.hot_path.frame(data, 1)
        self.publisher.hot_path.batch_end()

    @property
    def state(self) -> State:
        return State(self.publisher.state(self.index, Scope.BOOK))

    @property
    def sides(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        book = self.publisher.book(self.index)
        return book.window(False, 2000), book.window(True, 2000)

    def reasons(self) -> list[tuple[State, Reason]]:
        """The status changes of the book since the last call."""
        found = []
        while len(batch := self.cursor.poll()):
            found += [
                (State(int(record["words"][0])), Reason(int(record["words"][1])))
                for record in batch
                if record["kind"] == Kind.STATUS and record["aux"] == Scope.BOOK
            ]
        return found

    def close(self) -> None:
        self.feed.close()
        self.writer.close(unlink=True)


@pytest.fixture
def make_lab() -> Iterator[Callable[..., Lab]]:
    labs: list[Lab] = []

    def make(depth: int, **options: int) -> Lab:
        labs.append(Lab(depth, **options))
        return labs[-1]

    yield make
    for lab in labs:
        lab.close()


# -- captures -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(("name", "states"), [("session", 30), ("session_resync", 19)])
def test_every_state_is_the_oracle_s(make_lab: Callable[..., Lab], name: str, states: int) -> None:
    lab = make_lab(25)
    frames = incoming(name)  # skips where the captures are not
    expected = oracle(name)
    compared = 0
    for number, data in enumerate(frames, 1):
        lab.play(data)
        if (row := expected.get(number)) is None:
            continue
        bids, asks = lab.sides
        assert [[*level] for level in texts(bids[:10])] == row["bids"], number
        assert [[*level] for level in texts(asks[:10])] == row["asks"], number
        assert (len(bids), len(asks)) == (row["n_bids"], row["n_asks"])
        assert checksum(texts(bids), texts(asks)) == row["checksum"]
        assert Checksum(PRICE_EXP, SIZE_EXP).compute(lab.publisher.book(lab.index)) == row["checksum"]
        assert lab.state is State.LIVE
        compared += 1
    assert compared == states == len(expected)
    assert lab.requests == []


@pytest.mark.parametrize(("name", "checked"), [("session", 30), ("session_resync", 19)])
def test_every_checksum_agrees_natively_and_in_python(name: str, checked: int) -> None:
    book, native = Book(), Checksum(PRICE_EXP, SIZE_EXP)
    agreed = 0
    for data in incoming(name):
        if b'"book","type"' not in data:
            continue
        [form] = reference(data, {"MINA/GBP": Scale(0, PRICE_EXP, SIZE_EXP)})
        apply(book, form, 25)
        assert native.compute(book) == form.payload[0]
        assert checksum(texts(book.window(False, 10)), texts(book.window(True, 10))) == form.payload[0]
        agreed += 1
    assert agreed == checked
    assert (native.price_decimals, native.size_decimals) == (PRICE_EXP, SIZE_EXP)  # nothing was tried


def apply(book: Book, form: Decoded, depth: int) -> None:
    if form.flags & MessageFlag.SNAPSHOT:
        book.clear()
    for ask, levels in ((False, form.bids), (True, form.asks)):
        for price, size in levels:
            book.set(ask, price, size)
    if depth:
        book.truncate(depth)


def test_a_book_that_is_not_cut_fails_its_checksum() -> None:
    """Rule 3, turned off: on a market that moves, what fell out comes back as an old price."""
    for depth, least in ((10, 60), (25, 10)):
        venue = Market(depth)
        cut, uncut, native = Book(), Book(), Checksum(PRICE_EXP, SIZE_EXP)
        wrong = {"cut": 0, "uncut": 0}
        for data in itertools.chain([venue.snapshot()], (venue.step() for _ in range(600))):
            [form] = DECODER.decode_messages(data)
            for name, book, levels in (("cut", cut, depth), ("uncut", uncut, 0)):
                apply(book, form, levels)
                wrong[name] += native.compute(book) != form.payload[0]
        assert wrong["cut"] == 0
        assert wrong["uncut"] >= least, (depth, wrong)


class Market:
    """A venue's book that moves, and its messages to whom has subscribed `depth` levels: what falls out of
    them is not sent, what moves into them is."""

    def __init__(self, depth: int, seed: int = 3) -> None:
        self.rng = random.Random(seed)
        self.depth = depth
        self.middle = 5000
        self.sides = [
            {self.middle - 1 - i: self._size() for i in range(60)},
            {self.middle + 1 + i: self._size() for i in range(60)},
        ]

    def _size(self) -> int:
        return self.rng.randrange(1, 10**11)

    def view(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        return (
            sorted(self.sides[0].items(), reverse=True)[: self.depth],
            sorted(self.sides[1].items())[: self.depth],
        )

    def snapshot(self) -> bytes:
        return frame("snapshot", *self.view(), self.view())

    def step(self) -> bytes:
        before = self.view()
        self.middle += self.rng.choice((-4, -2, -1, 1, 2, 4))
        for ask, side in enumerate(self.sides):
            for price in [price for price in side if (price <= self.middle) == bool(ask)]:
                del side[price]
            for distance in range(1, 61):
                if self.rng.random() < 0.1:
                    side[self.middle + distance if ask else self.middle - distance] = self._size()
            for price in [price for price in side if self.rng.random() < 0.03]:
                del side[price]
            side.setdefault(self.middle + 1 if ask else self.middle - 1, self._size())
        changes = []
        for old, now, whole in zip(before, self.view(), self.sides, strict=True):
            gone = [(price, 0) for price, _ in old if price not in whole]
            added = [level for level in now if level not in old]
            changes.append(gone + added)
            self.rng.shuffle(changes[-1])
        return frame("update", changes[0], changes[1], self.view())


# -- rules --------------------------------------------------------------------------------------------
BIDS, ASKS = [(100, 5), (99, 6), (98, 7)], [(101, 1), (102, 2), (103, 3)]


def live(lab: Lab) -> None:
    lab.play(frame("snapshot", BIDS, ASKS, (BIDS, ASKS)))
    assert lab.reasons()[-1] == (State.LIVE, Reason.SYNCED)
    lab.requests.clear()


def test_rule_1_an_update_before_the_snapshot_is_not_used(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(25)
    lab.play(frame("update", [(100, 9)], [], 1))
    assert lab.state is State.RESYNC
    assert lab.requests == [lab.index]
    live(lab)
    assert lab.sides == (BIDS, ASKS)
    # A later snapshot replaces the book, which stays LIVE.
    lab.play(frame("snapshot", BIDS[:1], ASKS[1:], (BIDS[:1], ASKS[1:])))
    assert lab.sides == (BIDS[:1], ASKS[1:])
    assert lab.reasons() == []


def test_rule_2_a_price_that_is_repeated(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(25)
    live(lab)
    bids = [(100, 9), (100, 0), (99, 0), (99, 4), (100, 2), (97, 0), (98, 3), (98, 7), (98, 0)]
    after = [(100, 2), (99, 4)]
    lab.play(frame("update", bids, [], (after, ASKS)))
    assert lab.sides == (after, ASKS)
    assert lab.state is State.LIVE
    # The other order is another book: had the first one held, the checksum would show it.
    lab.play(frame("update", bids[::-1], [], (after, ASKS)))
    assert lab.reasons() == [(State.RESYNC, Reason.CHECKSUM)]


def test_rule_3_the_book_is_cut_to_what_is_subscribed(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(10, window=5)
    bids, asks = [(100 - i, 1 + i) for i in range(10)], [(111 + i, 1 + i) for i in range(10)]
    lab.play(frame("snapshot", bids, asks, (bids, asks)))
    # A better bid: the tenth falls out, and no message has it.
    better = [(101, 3), *bids[:-1]]
    lab.play(frame("update", [(101, 3)], [], (better, asks)))
    assert lab.sides == (better, asks)
    # The best goes, and what moves in is sent.
    lab.play(frame("update", [(101, 0), (91, 8)], [], ([*bids[:-1], (91, 8)], asks)))
    assert lab.sides == ([*bids[:-1], (91, 8)], asks)
    assert lab.state is State.LIVE
    assert lab.publisher.errors == 0


def test_rule_4_and_5_a_wrong_checksum(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(25)
    live(lab)
    lab.play(frame("update", [(100, 9)], [], 12345))
    assert lab.state is State.RESYNC
    assert lab.reasons() == [(State.RESYNC, Reason.CHECKSUM)]
    assert lab.requests == [lab.index]
    # What comes until the snapshot is not used, and nothing of it is published.
    lab.play(frame("update", [(100, 9)], [], 12345))
    assert lab.reasons() == []
    live(lab)
    # A snapshot is compared, too.
    lab.play(frame("snapshot", BIDS, ASKS, 1))
    assert lab.reasons() == [(State.RESYNC, Reason.CHECKSUM)]


def test_rule_4_a_lost_message_shows(make_lab: Callable[..., Lab]) -> None:
    """Of what the checksum covers: any change of the ten best levels."""
    found = 0
    for lost in range(1, 40):
        lab = make_lab(10, window=10)
        venue = Market(10)
        lab.play(venue.snapshot())
        messages = [venue.step() for _ in range(lost + 1)]
        for number, data in enumerate(messages, 1):
            if number != lost:
                lab.play(data)
        found += lab.state is State.RESYNC
    assert found == 39


def test_rule_6_a_message_known_to_be_lost(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(25)
    live(lab)
    assert lab.publisher.invalidate_without_ids([lab.index]) == 1
    assert lab.reasons() == [(State.RESYNC, Reason.MALFORMED)]


# -- the checksum by itself ---------------------------------------------------------------------------
def test_native_and_twin_are_equal_on_any_book() -> None:
    rng = random.Random(11)
    for _ in range(300):
        price_exp, size_exp = rng.randint(0, 10), rng.randint(0, 10)
        book = Book()
        for ask in (False, True):
            for _ in range(rng.choice((0, 1, 9, 10, 11, 30))):
                book.set(
                    ask,
                    rng.randrange(1, 10 ** rng.randint(1, 18)),
                    rng.randrange(1, 10 ** rng.randint(1, 18)),
                )
        sides = [texts(book.window(ask, 40), price_exp, size_exp) for ask in (False, True)]
        assert Checksum(price_exp, size_exp).compute(book) == checksum(*sides)


@pytest.mark.parametrize("size", [1, 9, 10**8 - 1, 10**8, 10**16 - 1, 10**16, 10**16 + 7, 2**63 - 1])
def test_numbers_of_any_length(size: int) -> None:
    book = Book()
    book.set(False, 10**8 + 1, size)
    book.set(True, 2**63 - 1, size)
    assert Checksum(0, 8).compute(book) == checksum(
        texts([(10**8 + 1, size)], 0, 8), texts([(2**63 - 1, size)], 0, 8)
    )


def test_an_empty_book() -> None:
    assert Checksum(4, 8).compute(Book()) == checksum([], []) == 0


@pytest.mark.parametrize(("price", "size"), [(4, 8), (3, 8), (4, 5), (1, 0), (6, 8), (4, 10), (0, 0)])
def test_numbers_that_are_spelled_otherwise_than_the_slot_has_them(price: int, size: int) -> None:
    """A pair that has fewer decimals than its slot, or writes zeros beyond what it lists."""
    book, native = Book(), Checksum(4, 8)
    bids, asks = [(20_000 - i, 3 + i) for i in range(12)], [(30_000 + i, 5 + i) for i in range(12)]
    for ask, levels in ((False, bids), (True, asks)):
        for p, s in levels:
            book.set(ask, p * 10**4, s * 10**8)
    spelled = [
        [
            (f"{p}.{'0' * price}" if price else str(p), f"{s}.{'0' * size}" if size else str(s))
            for p, s in levels
        ]
        for levels in (bids, asks)
    ]
    crc = checksum(*spelled)
    assert native.matches(book, crc)
    assert (native.price_decimals, native.size_decimals) == (price, size)
    assert native.compute(book) == crc
    # Another book is another one in every spelling.
    assert not native.matches(book, crc ^ 1)
    book.set(False, 20_000 * 10**4, 1)
    assert not native.matches(book, crc)


def test_published_numbers_are_exact(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(25)
    live(lab)
    cell = lab.feed.book("MINA/GBP")
    assert [tuple(level) for level in cell.exact[0].tolist()] == BIDS
