"""Comparing a live book with an independent snapshot. Pure: levels in, differences out.

A snapshot S at update id L is seldom of the same moment as the book. The events between are known (they were
kept while S was fetched), so S is rolled forward to the book's id and then has to equal it, level by level,
in the price range that both contain: a snapshot of `limit` levels ends at its worst one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import NamedTuple

from workers.books.book import Book
from workers.books.sync import Diff, Snapshot
from workers.decode.decimals import Verdict, to_mantissa


class Agreement(IntEnum):
    """Whether a book agrees with a snapshot."""

    AGREES = 0
    DIFFERS = 1
    TOO_OLD = 2  # the snapshot is from before the first event that was kept
    AHEAD = 3  # the snapshot is newer than the last event of the stream
    INEXACT = 4  # a number of the snapshot does not fit the exponents
    UNREADABLE = 5
    UNSURE = 6  # it differs, and may lack an event that the book has: one that ends at its id


class Finding(NamedTuple):
    """The result of an audit; `differences` counts levels."""

    agreement: Agreement
    differences: int = 0


_BAD = {
    Verdict.INEXACT: Agreement.INEXACT,
    Verdict.OVERFLOW: Agreement.INEXACT,
    Verdict.MALFORMED: Agreement.UNREADABLE,
}


def compare(
    book: Book,
    since: int,
    diffs: Sequence[Diff],
    snapshot: Snapshot,
    limit: int,
    scale: tuple[int, int],
    inclusive: bool = False,
) -> Finding:
    """Roll `snapshot` forward by `diffs` and compare.

    Args:
        book: the live book. since: its update id when the keeping of `diffs` began.
        limit: levels a side that were requested; a side with as many was cut there.
        scale: price and size exponents.
        inclusive: the snapshot may lack the changes of the event that ends at its id (`BookSync.inclusive`).
            If that event is from before `diffs`, a difference proves nothing.
    """
    if snapshot.last_update_id < since:
        return Finding(Agreement.TOO_OLD)
    if snapshot.last_update_id > book.last_id:
        return Finding(Agreement.AHEAD)
    known = snapshot.last_update_id - inclusive
    newer = [diff for diff in diffs if known < diff.last_id <= book.last_id]
    differences = 0
    for ask, texts in ((False, snapshot.bids), (True, snapshot.asks)):
        levels: dict[int, int] = {}
        for price_text, size_text in texts:
            verdict, price = to_mantissa(price_text, scale[0])
            worse, size = to_mantissa(size_text, scale[1])
            if verdict or worse:
                return Finding(_BAD[max(verdict, worse)])
            levels[price] = size
        bounds = [book.get_horizon(ask), _worst(levels, ask) if len(texts) >= limit > 0 else None]
        for diff in newer:
            levels.update(
                diff.asks if ask else diff.bids
            )  # in the order sent: the last one of a price counts
        differences += _differences(levels, book.window(ask, book.levels(ask)), ask, bounds)
    if differences and inclusive and snapshot.last_update_id == since:
        return Finding(Agreement.UNSURE, differences)
    return Finding(Agreement.DIFFERS if differences else Agreement.AGREES, differences)


def _worst(prices: Iterable[int], ask: bool) -> int:
    return max(prices) if ask else min(prices)


def _differences(
    theirs: dict[int, int], ours: list[tuple[int, int]], ask: bool, bounds: Sequence[int | None]
) -> int:
    """Levels that differ, at prices no worse than every bound."""

    def known(price: int) -> bool:
        return all(bound is None or (price <= bound if ask else price >= bound) for bound in bounds)

    expected = {price: size for price, size in theirs.items() if size and known(price)}
    actual = {price: size for price, size in ours if known(price)}
    return sum(expected.get(price) != actual.get(price) for price in expected.keys() | actual.keys())
