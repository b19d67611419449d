"""How deep the snapshots of each book are, and when a deeper one is due. Pure.

A snapshot that was cut at its limit ends at its worst price, the horizon: the levels beyond are unknown,
since the stream sends only changes. As the market moves, fewer known levels are left. Rules:

1. A first snapshot is of the cheapest tier (`workers.books.tiers`). The tier of one that replaces another is
   chosen by rule 4, unless others wait for theirs.
2. A deeper one is due, while the book is LIVE, when fewer levels are known beyond the window than half a
   window, or than go within `LEAD` at the fastest rate seen. At the deepest tier it is due when half of what
   was known beyond the window has gone.
3. The fastest rate is the greatest loss within a second, halved every `HALF_LIFE`. A book that ran into its
   horizon all the same was faster than that.
4. The tier is the cheapest that has what rule 2 asks for, for twice as long, and more than is still known.
5. A book is deepened at once when it has begun, then every `PAUSE` at most, unless what is left would not
   last as long; after a failure every `RETRY`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from workers.books.tiers import with_reserve

LEAD = 10.0  # seconds
HALF_LIFE = 300.0
PAUSE = 2.0
RETRY = 5.0
SECOND = 1.0


class _Book:
    """One book. Levels a side; times in seconds.

    Attributes:
        levels: of its last snapshot. full: known since then at most; 0: not looked at yet.
        known, at: at the last look that was a second after the one before.
        rate: the fastest, levels a second, as of `rated`.
        due, rests: when it may be deepened again after a failure, after a success.
    """

    __slots__ = ("at", "due", "full", "known", "levels", "rate", "rated", "rests")

    def __init__(self) -> None:
        self.levels = 0
        self.full = 0
        self.known = 0
        self.at = 0.0
        self.rate = 0.0
        self.rated = 0.0
        self.due = 0.0
        self.rests = 0.0

    def rate_at(self, now: float) -> float:
        return self.rate * math.exp2((self.rated - now) / HALF_LIFE)

    def saw(self, rate: float, now: float) -> None:
        if rate > self.rate_at(now):
            self.rate, self.rated = rate, now


class Horizons:
    """Knows how deep each book is known, and when and how deep the next snapshot must be.

    Args:
        depth: levels a side that are published.
        tiers: levels a side that a snapshot may be requested with, ascending.
    """

    def __init__(self, depth: int, tiers: Sequence[int]) -> None:
        if not tiers or list(tiers) != sorted(set(tiers)):
            raise ValueError(f"tiers ascend, not {tiers!r}")
        self.depth = depth
        self.tiers = tuple(tiers)
        self._books: dict[int, _Book] = {}

    def first(self, index: int, now: float, others_wait: bool) -> int:
        """Levels to request when the book has none (rule 1)."""
        book = self._books.get(index)
        if book is None or others_wait:
            return self.tiers[0]
        return self._tier(self._wanted(book, now))

    def audited(self, index: int) -> int:
        """Levels to request so that all known levels of the book can be compared."""
        book = self._books.get(index)
        return self.tiers[-1] if book is None or not book.levels else self._tier(book.levels)

    def begun(self, index: int, levels: int, now: float) -> None:
        """The book has begun with a snapshot of so many levels."""
        book = self._books.setdefault(index, _Book())
        book.levels, book.full, book.due, book.rests = levels, 0, now, now

    def deepened(self, index: int, levels: int, now: float) -> None:
        """A snapshot of so many levels was merged into the book."""
        self.begun(index, levels, now)
        self._books[index].rests += PAUSE

    def outran(self, index: int, now: float) -> None:
        """The window has reached beyond the horizon, or a first snapshot did not reach as far (rule 3)."""
        book = self._books.setdefault(index, _Book())
        spare = max(book.full, book.levels, self.tiers[0]) - self.depth
        book.saw(spare / LEAD, now)

    def failed(self, index: int, now: float, after: float = RETRY) -> None:
        """A deeper snapshot failed, or could not be used."""
        if (book := self._books.get(index)) is not None:
            book.due = now + after

    def look(self, index: int, known: int, now: float) -> int:
        """Levels to request now, or 0. `known`: levels within the horizon, on the side that has fewer."""
        book = self._books.setdefault(index, _Book())
        if not book.full:
            book.known, book.at = known, now
        book.full = max(book.full, known)
        if book.known > known:
            book.saw((book.known - known) / max(now - book.at, SECOND), now)
        if now - book.at >= SECOND or known > book.known:
            book.known, book.at = known, now
        low = self._low(book, now)
        if book.levels >= self.tiers[-1]:
            low = min(low, self.depth + (book.full - self.depth) // 2)
        lasts = known - self.depth >= PAUSE * book.rate_at(now)
        if known >= low or now < book.due or (now < book.rests and lasts):
            return 0
        levels = self._tier(max(self._wanted(book, now), known + 1))
        return levels if levels > known else 0

    def urgent(self, known: int) -> bool:
        """Whether fewer levels are known than a window needs with its reserve."""
        return known < with_reserve(self.depth)

    def forget(self, index: int) -> None:
        """The slot is used no more."""
        self._books.pop(index, None)

    def _low(self, book: _Book, now: float) -> int:
        """Rule 2."""
        return self.depth + max(-(-self.depth // 2), int(LEAD * book.rate_at(now)))

    def _wanted(self, book: _Book, now: float) -> int:
        """Rule 4."""
        return self.depth + max(-(-self.depth // 2), int(2 * LEAD * book.rate_at(now)))

    def _tier(self, levels: int) -> int:
        return next((tier for tier in self.tiers if tier >= levels), self.tiers[-1])
