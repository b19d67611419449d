"""A folding book reader: keeps whole books by applying LEVEL records to a cell, exactly (I11).

Rules, numbered as in `shm/README.md`, "Folding":

1. Start: head first, then the cells, then records behind that head (`Cursor.resync`).
2. A book's records up to its cell's `ring_seq` are in the cell already: drop them.
3. LEVEL sets a price's size on its side; size 0 takes the price out of the window.
4. An update is applied as a whole, when its LAST record is there; CLEAR empties the window first.
5. CLEAR, STATUS, loss and a new epoch drop an update that is still open.
6. Loss means start again (rule 1).
7. After a new epoch, and where the cell could not be read, a window is unknown: CLEAR begins it anew, or its
   cell does. (A writer that died between its records and its cell leaves the two apart.)
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np

from shm.errors import Busy, Stale
from shm.layout import Flag, Kind, Scope, State

if TYPE_CHECKING:
    import numpy.typing as npt

    from shm.reader import Book, Cursor, Feed


class _Window:
    """One instrument's window: price -> size a side, and the update that is still open."""

    __slots__ = ("asks", "bids", "known", "opened", "ring_seq", "state", "update_id")

    def __init__(self) -> None:
        self.known = False
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        self.state = State.DOWN
        self.update_id = 0
        self.ring_seq = 0
        self.opened: list[tuple[int, int, int, int]] | None = None


class Fold:
    """The books of a feed, folded from its ring.

    `poll()` takes what is new; `book(symbol)` gives the window as int64 mantissas, best first. It never shows
    half an update. After a loss it starts again from the cells by itself; `resyncs` counts that.
    """

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.cursor: Cursor = feed.cursor()
        self.resyncs = 0
        self._windows: dict[int, _Window] = {}
        self._start()

    def __repr__(self) -> str:
        return f"<Fold {self.feed.name} {len(self._windows)} books, {self.resyncs} resyncs>"

    def _start(self) -> None:
        # Rule 1.
        self._windows.clear()
        self._down = self.feed.state is State.DOWN
        self._epoch = self.feed.epoch
        cells = self.cursor.resync()
        self._generation = self.cursor.generation
        for symbol, (_, book) in cells.items():
            self._take(self._windows.setdefault(self.feed.instrument(symbol).index, _Window()), book)

    @staticmethod
    def _take(window: _Window, book: Book | None) -> None:
        if book is None:
            return
        window.bids = dict(book.exact[0].tolist())
        window.asks = dict(book.exact[1].tolist())
        window.state, window.update_id, window.ring_seq = book.state, book.update_id, book.ring_seq
        window.known = True

    def _learn(self, instrument: int, window: _Window) -> None:
        # Rule 7: the cell, if it can be read; a later record is another chance.
        slots = self.feed.slots
        if instrument < len(slots) and self.feed.instrument(slots[instrument].symbol).index == instrument:
            with contextlib.suppress(Busy, Stale):
                self._take(window, self.feed.book(slots[instrument].symbol, allow_stale=True))

    def poll(self, limit: int = 4096) -> set[str]:
        """Applies up to `limit` new records; returns the symbols whose window or state changed."""
        batch = self.cursor.poll(limit)
        changed: set[int] = set()
        if batch.lost or self.cursor.generation != self._generation:
            # Rule 6; in a new generation the slots are others too. The batch is still applied: it may reach
            # beyond the head that we start from (records are readable before their head is), and rule 2
            # drops what the cells have.
            self.resyncs += 1
            self._start()
            changed.update(self._windows)
        columns = (batch[name].tolist() for name in ("seq", "instrument", "kind", "flags", "aux", "words"))
        for seq, instrument, kind, flags, aux, words in zip(*columns, strict=True):
            if kind == Kind.STATUS:
                self._status(instrument, aux, seq, words, changed)
            elif kind == Kind.LEVEL or kind == Kind.CLEAR:
                window = self._windows.setdefault(instrument, _Window())
                if not window.known and flags & Flag.FIRST and kind == Kind.LEVEL:
                    self._learn(instrument, window)
                if seq > window.ring_seq and self._level(window, seq, kind, flags, words):  # rule 2
                    changed.add(instrument)
        slots = self.feed.slots
        return {slots[index].symbol for index in changed if index < len(slots)}

    def _level(self, window: _Window, seq: int, kind: int, flags: int, words: list[int]) -> bool:
        """Takes one record of an update; True when that completed it."""
        if flags & Flag.FIRST:
            window.opened = [] if window.known or kind == Kind.CLEAR else None
        elif kind == Kind.CLEAR:
            window.opened = None  # rule 5
        if window.opened is None:
            return False  # the middle of an update whose start was dropped (rules 5 and 7)
        window.opened.append((kind, flags, words[0], words[1]))
        if not flags & Flag.LAST:
            return False
        # Rule 4.
        for each, its_flags, price, size in window.opened:
            side = window.asks if its_flags & Flag.ASK else window.bids
            if each == Kind.CLEAR:
                window.bids.clear()
                window.asks.clear()
            elif size:
                side[price] = size
            else:
                side.pop(price, None)  # rule 3
        window.opened = None
        window.known = True
        window.ring_seq = seq
        window.update_id = words[2]
        return True

    def _status(self, instrument: int, scope: int, seq: int, words: list[int], changed: set[int]) -> None:
        # Rule 5; a STATUS of the feed speaks of all of its books; only its DOWN outranks them.
        if scope == Scope.FEED:
            self._down = words[0] == State.DOWN
            reborn, self._epoch = words[2] != self._epoch, words[2]
            for index, window in self._windows.items():
                if seq > window.ring_seq:
                    window.opened = None
                    if reborn:
                        window.known = False  # rule 7
                        window.state = min(window.state, State.RESYNC)
                changed.add(index)
        elif scope == Scope.BOOK:
            window = self._windows.setdefault(instrument, _Window())
            if seq > window.ring_seq:
                window.opened = None
                window.state = State(words[0])
                window.ring_seq = seq
                changed.add(instrument)

    def state(self, symbol: str) -> State:
        """The folded state of a book; no substitute for the heartbeat (`feed.state`)."""
        return State.DOWN if self._down else self._window(symbol).state

    def _window(self, symbol: str) -> _Window:
        return self._windows.setdefault(self.feed.instrument(symbol).index, _Window())

    def update_id(self, symbol: str) -> int:
        """The venue's id of the last update applied."""
        return self._window(symbol).update_id

    def book(self, symbol: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(bids, asks) as int64 arrays of shape (n, 2): price and size mantissas, best first."""
        window = self._window(symbol)
        bids = sorted(window.bids.items(), reverse=True)
        asks = sorted(window.asks.items())
        return np.array(bids, np.int64).reshape(-1, 2), np.array(asks, np.int64).reshape(-1, 2)
