"""The reader that is attached all the time: whatever it is given as LIVE must be right.

1. A LIVE top or book is never crossed, a book's sides are in order.
2. A cell's update id never goes back while the venue lives.
3. A trade's id rises: none twice, none late. One that is a hash (HASHED_ID) has no order: none twice.
4. What the cursor got and what it says it lost is all that was published.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

import shm

STATES = (shm.Scope.TOP, shm.Scope.BOOK)
HASHES = 65_536  # of an instrument that are remembered


class Watcher:
    """Call `look` often; `broken` is what was wrong, in words, each kind of it at most a few times."""

    def __init__(self, feed: shm.Feed, symbols: Sequence[str]) -> None:
        self.feed = feed
        self.symbols = list(symbols)
        self.cursor = feed.cursor()
        self._first = self.cursor.position
        self.broken: list[str] = []
        self.during = ""  # which fault it is, for the words
        self.looks = self.live = self.trades = 0
        self.got = self.lost = 0
        self._ids: dict[tuple[str, str], int] = {}
        self._trade_ids: dict[int, int] = {}
        self._hashes: dict[int, dict[int, None]] = {}

    def __repr__(self) -> str:
        return f"<Watcher looks={self.looks} live={self.live} trades={self.trades} broken={len(self.broken)}>"

    def new_venue(self) -> None:
        """The venue starts anew, and so do its ids."""
        self._ids.clear()
        self._trade_ids.clear()
        self._hashes.clear()

    def look(self) -> None:
        """All records since the last look, then every cell."""
        self.looks += 1
        batch = self.cursor.poll(1 << 20)
        self.got += len(batch)
        self.lost += int(batch.lost)
        self._records(batch)
        for symbol in self.symbols:
            self._top(symbol)
            self._book(symbol)

    def all_live(self, since: float) -> bool:
        """Whether every cell is LIVE with data received after `since` (monotonic seconds)."""
        after = int(since * 1e9)
        try:
            return self.feed.state is shm.State.LIVE and all(
                self.feed.top(symbol).ts_recv > after and self.feed.book(symbol, 1).ts_recv > after
                for symbol in self.symbols
            )
        except (shm.Stale, shm.Busy):
            return False

    def states(self) -> str:
        """The cells that are not LIVE, for a message."""
        found = [f"feed {self.feed.state.name}"]
        for symbol in self.symbols:
            for scope in STATES:
                state = self.feed.cell_state(symbol, scope)
                age = self.feed.cell_age(symbol, scope)
                found.append(f"{symbol} {scope.name} {state.name} {-1 if age is None else age:.1f}s")
        return ", ".join(found)

    def finish(self) -> None:
        """Rule 4, at the end."""
        self.look()
        published = self.cursor.position - self._first
        if self.got + self.lost != published:
            self._say(f"got {self.got} + lost {self.lost} is not the {published} published")

    def _say(self, words: str) -> None:
        if len(self.broken) < 20:
            self.broken.append(f"{time.strftime('%H:%M:%S')} during {self.during}: {words}")

    def _records(self, batch: shm.Batch) -> None:
        records = np.asarray(batch)
        trades = records[records["kind"] == shm.Kind.TRADE]
        self.trades += len(trades)
        for record in trades:
            index, trade = int(record["instrument"]), int(record["words"][2])
            if record["flags"] & shm.Flag.HASHED_ID:
                self._hash(index, trade)
                continue
            if trade <= self._trade_ids.get(index, -1):
                self._say(f"trade {trade} of instrument {index} after {self._trade_ids[index]}")
            self._trade_ids[index] = trade

    def _hash(self, index: int, trade: int) -> None:
        """Rule 3, of an id without order."""
        known = self._hashes.setdefault(index, {})
        if trade in known:
            self._say(f"trade {trade:#x} of instrument {index} twice")
        known[trade] = None
        if len(known) > HASHES:
            del known[next(iter(known))]

    def _top(self, symbol: str) -> None:
        try:
            top = self.feed.top(symbol)
        except (shm.Stale, shm.Busy):
            return
        self.live += 1
        if top.bid and top.ask and top.bid >= top.ask:
            self._say(f"{symbol} crossed top {top.bid} >= {top.ask}")
        self._rises(symbol, "top", top.update_id)

    def _book(self, symbol: str) -> None:
        try:
            book = self.feed.book(symbol)
        except (shm.Stale, shm.Busy):
            return
        self.live += 1
        bids, asks = (side[:, 0] for side in book.exact)
        if len(bids) and len(asks) and bids[0] >= asks[0]:
            self._say(f"{symbol} crossed book {bids[0]} >= {asks[0]}")
        if (np.diff(bids) >= 0).any() or (np.diff(asks) <= 0).any():
            self._say(f"{symbol} book out of order")
        self._rises(symbol, "book", book.update_id)

    def _rises(self, symbol: str, what: str, update_id: int) -> None:
        key = (symbol, what)
        if update_id < self._ids.get(key, 0):
            self._say(f"{symbol} {what} id {update_id} after {self._ids[key]}")
        self._ids[key] = update_id
