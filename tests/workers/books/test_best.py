"""The best of a book without a publisher: the top that a program without the engine is given."""

from __future__ import annotations

import random
from functools import partial

import pytest

from shm.layout import Flag
from workers.books.best import Best
from workers.books.book import Book
from workers.books.sync import StreamSync
from workers.decode.normal import DecodeCode, Decoded, Levels, MessageFlag, MessageKind, Scale

SNAPSHOT, CHECKED = int(MessageFlag.SNAPSHOT), int(MessageFlag.CHECKED)
BIDS, ASKS = ((100, 1), (99, 2)), ((101, 3), (102, 4))


def total(book: Book, crc: int) -> bool:
    return sum(size for ask in (False, True) for _, size in book.window(ask, 10)) == crc


SYNC = partial(StreamSync, check=total, max_depth=3, top_from_book=True)


def form(bids: Levels = (), asks: Levels = (), flags: int = 0, crc: int = 0, last: int = 0) -> Decoded:
    return Decoded(
        DecodeCode.OK, MessageKind.DEPTH, 7, 5, last, last, flags, (crc, *[0] * 7), tuple(bids), tuple(asks)
    )


def begun(numbered: bool = False) -> Best:
    best = Best(SYNC(has_update_ids=numbered), Scale(7, 2, 2))
    top = best.take(form(BIDS, ASKS, SNAPSHOT, last=10 if numbered else 0))
    assert top is not None
    assert (top.kind, top.instrument, top.ts_event, top.payload[:4]) == (
        MessageKind.TOP,
        7,
        5,
        (100, 1, 101, 3),
    )
    return best


def test_before_a_snapshot_there_is_none() -> None:
    best = Best(SYNC(), Scale(7, 2, 2))
    assert best.take(form(BIDS, ASKS)) is None
    assert not best.synced
    assert "waiting" in repr(best)


def test_only_a_changed_top_is_returned() -> None:
    best = begun()
    assert best.take(form(((99, 5),))) is None
    assert best.synced
    top = best.take(form(((100, 4),)))
    assert top is not None
    assert top.payload[:4] == (100, 4, 101, 3)
    empty = best.take(form(((100, 0), (99, 0))))
    assert empty is not None
    assert (empty.flags, empty.payload[:4]) == (Flag.NO_BID, (0, 0, 101, 3))


def test_a_wrong_checksum_voids_the_book() -> None:
    best = begun()
    assert best.take(form(((100, 4),), flags=CHECKED, crc=13)) is not None
    assert best.take(form(((100, 5),), flags=CHECKED, crc=99)) is None
    assert not best.synced
    assert best.take(form(((100, 6),))) is None
    assert best.take(form(BIDS, ASKS, SNAPSHOT)) is not None  # a top that was returned before, but not last


@pytest.mark.parametrize("wrong", [((101, 1),), ((103, 1),)])
def test_a_crossed_book_is_void(wrong: Levels) -> None:
    best = begun()
    assert best.take(form(wrong)) is None
    assert not best.synced


def test_a_gap_in_the_ids_voids_the_book() -> None:
    best = begun(numbered=True)
    assert best.take(form(((100, 2),), last=11)) is not None
    assert best.take(form(((100, 3),), last=11)) is None  # a repetition
    assert best.synced
    assert best.take(form(((100, 3),), last=13)) is None
    assert not best.synced


def test_it_is_the_best_of_a_plain_book() -> None:
    chance = random.Random(4)
    best, sides = begun(), [dict(BIDS), dict(ASKS)]
    last = (100, 1, 101, 3)
    for _ in range(3_000):
        changes: list[list[tuple[int, int]]] = [[], []]
        for _ in range(chance.randrange(3)):
            ask = chance.random() < 0.5
            price = chance.randint(101, 106) if ask else chance.randint(95, 100)
            changes[ask].append((price, chance.choice([0, 1, 2])))
        for side, change in zip(sides, changes, strict=True):
            for price, size in change:
                side[price] = size
                if not size:
                    del side[price]
        for ask, side in enumerate(sides):
            for price in sorted(side, reverse=not ask)[3:]:
                del side[price]
        bid, ask = max(sides[0], default=0), min(sides[1], default=0)
        right = (bid, sides[0].get(bid, 0), ask, sides[1].get(ask, 0))
        top = best.take(form(changes[0], changes[1]))
        assert (top is None) == (right == last)
        assert top is None or top.payload[:4] == right
        last = right
