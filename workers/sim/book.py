"""Order books as venues send them: decimal text, best price first. Shared with no worker."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

Level = tuple[str, str]
"""Price and size, as text on the wire."""


class Depth(NamedTuple):
    """A whole book, as it is after update `last_id`; both sides best price first."""

    last_id: int
    bids: list[Level]
    asks: list[Level]

    def cut(self, limit: int) -> Depth:
        """The best `limit` levels a side."""
        return Depth(self.last_id, self.bids[:limit], self.asks[:limit])


class Diff(NamedTuple):
    """A change of a book: absolute sizes (0 removes the level), of the updates `first_id` to `last_id`.

    Where a venue's ids have gaps and a diff names the id that it follows (`pu`, `prevSeqId`), `first_id` is
    that id + 1, and `opens` the first id that the diff itself names (`U`); 0: the same as `first_id`.
    """

    first_id: int
    last_id: int
    bids: list[Level]
    asks: list[Level]
    opens: int = 0


class Fold:
    """A book built from a snapshot and the changes after it; native books are compared with it.

    Slow and simple on purpose: dictionaries by the price's value (its text may vary), sorted on demand.
    """

    def __init__(self, start: Depth) -> None:
        self.last_id = start.last_id
        self._bids: dict[Decimal, Level] = {}
        self._asks: dict[Decimal, Level] = {}
        self._set(self._bids, start.bids)
        self._set(self._asks, start.asks)

    @staticmethod
    def _set(side: dict[Decimal, Level], levels: Iterable[Level]) -> None:
        for price, size in levels:
            if Decimal(size):
                side[Decimal(price)] = (price, size)
            else:
                side.pop(Decimal(price), None)

    def apply(self, diff: Diff) -> bool:
        """Apply a diff; one that the book contains already is ignored.

        Returns:
            False, and the book is unchanged, when updates are missing before the diff.
        """
        if diff.last_id <= self.last_id:
            return True
        if diff.first_id > self.last_id + 1:
            return False
        self._set(self._bids, diff.bids)
        self._set(self._asks, diff.asks)
        self.last_id = diff.last_id
        return True

    def put(self, diff: Diff, cut: int = 0) -> None:
        """Apply a diff without looking at its ids, then keep the best `cut` levels a side (0: all)."""
        self._set(self._bids, diff.bids)
        self._set(self._asks, diff.asks)
        self.last_id = diff.last_id
        if cut:
            for price in sorted(self._bids, reverse=True)[cut:]:
                del self._bids[price]
            for price in sorted(self._asks)[cut:]:
                del self._asks[price]

    def depth(self) -> Depth:
        """The whole book, best first."""
        bids = [self._bids[price] for price in sorted(self._bids, reverse=True)]
        asks = [self._asks[price] for price in sorted(self._asks)]
        return Depth(self.last_id, bids, asks)
