"""Proofs: when the published books and tops were last known to be right, and which streams are silent.

1. A snapshot that agrees with a book proves the book, and the top too where it shows the book's best. A cell
   that was STALE is LIVE again.
2. A sweep that has the book's best prices (`workers/books/freshness.py`) proves it as well, but not its
   deeper levels. `best_only` has the books that only sweeps have proven since their last event or snapshot.
3. After a snapshot that did not agree, a sweep does not prove the book (`doubted`) until a snapshot or an
   event has proven it.
4. A stream that does not deliver although the market moves is reported to `on_silent`; again `stale_after`
   later, then after twice as long each time.
"""

from __future__ import annotations

from collections.abc import Callable

from shm.channels import Channel
from shm.events import Code
from shm.layout import Scope, State
from workers.books.context import BookContext

_MOST_DOUBLINGS = 6  # rule 4


class Credit:
    """A token bucket: tokens are earned with time; at most one and those of a second are kept."""

    __slots__ = ("_at", "_have")

    def __init__(self) -> None:
        self._have = 1.0
        self._at = 0

    def earn(self, now: int, per_second: float) -> None:
        """Add the tokens of the time up to `now` (ns)."""
        have = self._have + (now - self._at) * 1e-9 * per_second
        self._have, self._at = min(have, 1.0 + per_second), now

    @property
    def enough(self) -> bool:
        """Whether a token can be taken."""
        return self._have >= 1.0

    def take(self) -> bool:
        """Take a token; False: there is none."""
        if not self.enough:
            return False
        self._have -= 1.0
        return True


class Proofs:
    """Remembers when each book was last known to be right. Times are CLOCK_MONOTONIC ns.

    Args:
        on_silent: called with (index, scope) when the stream does not deliver what there is for the top or
            the book.

    Attributes:
        budget: of snapshots and new subscriptions that prove books, `proofs_per_second`.
        tried: index -> when a proof of its book was last tried by itself.
        compared: index -> when REST was last compared with its book, and whether it agreed.
        wanted: books whose comparison somebody waits for (`Freshness.still`).
        left: quiet books that the last sweep has not proven.
        best_only: index -> `mark` of a book, and since when sweeps alone have proven it (rule 2).
        doubted: index -> `mark` of a book that a snapshot did not agree with (rule 3).
        stale: (index, scope) of the cells whose STALE was logged.
        reported: (index, scope) -> calls of `on_silent` in a row, when the last one was.
    """

    def __init__(self, context: BookContext, on_silent: Callable[[int, Scope], None]) -> None:
        self._context = context
        self._publisher = context.publisher
        self._on_silent = on_silent
        self.budget = Credit()
        self.tried: dict[int, int] = {}
        self.compared: dict[int, tuple[int, bool]] = {}
        self.wanted: set[int] = set()
        self.left: set[int] = set()
        self.best_only: dict[int, tuple[int, int]] = {}
        self.doubted: dict[int, int] = {}
        self.stale: set[tuple[int, int]] = set()
        self.reported: dict[tuple[int, int], tuple[int, int]] = {}
        context.on_forget.append(self._forget)

    def mark(self, index: int) -> int:
        """A number that is another one after each event of a book."""
        publisher = self._publisher
        has_ids = publisher.has_update_ids(index)
        return publisher.book(index).last_id if has_ids else publisher.received_at(index)[Channel.BOOK]

    def agrees(self, index: int, *, whole: bool = True) -> None:
        """REST agrees with the book: by a snapshot (`whole`), or by the best alone."""
        publisher = self._publisher
        now = self._context.clock()
        self.wanted.discard(index)
        self.left.discard(index)
        if whole:
            self.trust(index)
        stale = publisher.state(index, Scope.BOOK) == State.STALE
        publisher.proven(index, Scope.BOOK, now)
        bid, ask = (publisher.book(index).best(side) or (0, 0) for side in (False, True))
        if publisher.published_top(index) == (*bid, *ask):
            publisher.proven(index, Scope.TOP, now)
        elif publisher.state(index, Scope.TOP) == State.STALE and self._top_overdue(index, now):
            self.silent(index, Scope.TOP)  # the book goes on, the top's stream does not
        if stale:
            self.stale.discard((index, Scope.BOOK))
            self._context.writer.log(Code.FRESH, Scope.BOOK, instrument=index)

    def trust(self, index: int) -> None:
        """A snapshot agrees with the book, or is the book: a sweep may prove it again."""
        self.best_only.pop(index, None)
        self.doubted.pop(index, None)

    def silent(self, index: int, scope: Scope) -> None:
        """The stream does not deliver (rule 4)."""
        now = self._context.clock()
        times, at = self.reported.get((index, scope), (0, 0))
        wait = int(self._context.config.stale_after * 1e9) << min(times, _MOST_DOUBLINGS) >> 1
        if not times or now - at >= wait:
            self.reported[index, scope] = times + 1, now
            self._on_silent(index, scope)

    def _top_overdue(self, index: int, now: int) -> bool:
        """Whether the top has been without proof for `stale_after`, whatever its own threshold."""
        without = now - self._publisher.proof(index, Scope.TOP)
        return without > int(self._context.config.stale_after * 1e9)

    def _forget(self, index: int) -> None:
        self.tried.pop(index, None)
        self.compared.pop(index, None)
        self.trust(index)
        for marks in (self.wanted, self.left):
            marks.discard(index)
        for scope in Scope:
            self.reported.pop((index, scope), None)
