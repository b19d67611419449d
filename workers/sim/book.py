"""A book as a venue shows it: decimal text, best first. The simulator's own, shared with no worker."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

Level = tuple[str, str]
"""Price and size, wire text."""


class Depth(NamedTuple):
    """A book's state after update `last_id`; both sides best first."""

    last_id: int
    bids: list[Level]
    asks: list[Level]

    def cut(self, limit: int) -> Depth:
        """The best `limit` levels a side."""
        return Depth(self.last_id, self.bids[:limit], self.asks[:limit])


class Diff(NamedTuple):
    """One depth update: absolute sizes, zero removes, ids `first_id`..`last_id` inclusive.

    Where a venue's ids have holes and a diff names the id that it follows, `first_id` is that id + 1, and
    `opens` the first id that the diff itself names; 0: the same as `first_id`.
    """

    first_id: int
    last_id: int
    bids: list[Level]
    asks: list[Level]
    opens: int = 0


class Fold:
    """A snapshot and the updates that follow it.

    A dictionary keyed by the price's value (spelling may vary) and a sort on demand: slow and plain, so
    that it can be believed when a native book disagrees.
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
        """Apply a diff; False (and no change) when ids are missing between the book and the diff.

        A diff that the book already contains is ignored.
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
        """Apply a diff whatever its ids; `cut` keeps the best so many levels a side (0: all)."""
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
