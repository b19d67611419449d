"""The replay source: publishes a capture's frames to the subscribers of their streams, and answers depth
requests so that every client ends up with the capture's final book.

**The clock.** There is one timeline for all clients, as at a venue. It starts `settle` seconds after the
latest subscription (but at most `5 · settle` after the first), so that a client that subscribes with several
messages misses nothing even at ``speed=max``. It runs at the recorded speed, N times faster, or as fast as
the sockets take it. At its end the connections stay open.

**Late subscribers.** When all frames of a stream have been published, a new subscriber gets the last one
again; only of streams that carry a state, so that no trade is sent twice. `recorded_book` says which book it
is given. So a worker that is restarted after the end is LIVE again with the same tops and books.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

import msgspec

from workers.capture.reader import CaptureError, Row
from workers.sim.book import Depth, Diff
from workers.sim.hub import Hub
from workers.sim.market import Listing
from workers.sim.recorded_book import RecordedBook, RecordedStreamBook, Snapshot
from workers.sim.transport import Peer

BATCH = 256
"""Frames between two writes at full speed."""


class CaptureDecoder(Protocol):
    """Reads one venue's recorded frames for a replay; built anew for each capture.

    A frame for which a method raises `ValueError` or a msgspec error counts as damaged and is not replayed.
    Subclasses inherit the defaults below.
    """

    snapshot_in_stream: bool = False
    """Whether the venue sends a book's snapshot in its stream (True) or by REST (False)."""

    def frames(self, row: Row) -> Iterable[tuple[str, bytes]]:
        """The streams that one row of a WebSocket connection belongs to, each with its payload.

        All rows of the connections come here in order (``open``, ``in``, ``out``, ``close``), so that the
        recorded subscriptions can be remembered where a frame does not name its stream. The payload of a
        BINARY frame is a `transport.Binary`.

        Returns:
            Nothing for answers, and for frames whose stream is not known.
        """

    def book_event(self, stream: str, payload: bytes) -> Depth | Diff | None:
        """A payload as a whole book (`Depth`) or a change of one (`Diff`); None for any other payload."""

    def max_levels(self, stream: str) -> int:
        """Levels a side to which the stream's book is cut after each change; 0: no limit."""
        return 0

    def resends_last(self, stream: str) -> bool:
        """Whether a late subscriber may get the stream's last frame again (tops, tickers; not trades)."""
        return False

    def snapshot_frame(self, stream: str, depth: Depth, ts_ns: int) -> bytes:
        """A snapshot payload of a book, for late subscribers; called only where `snapshot_in_stream`."""
        raise TypeError(f"{stream}: this venue has no snapshots in its streams")

    def rest_snapshot(self, row: Row) -> tuple[str, Depth] | None:
        """A recorded REST depth answer as venue symbol and book; None when the row is another answer."""
        return None

    def answer_key(self, row: Row) -> str:
        """The key under which `Replay.recorded` finds this REST answer again; empty: it is not needed."""
        return ""

    def listing(self, venue_symbol: str, price_decimals: int, size_decimals: int) -> Listing:
        """A symbol's listing, for a capture that does not contain the venue's."""
        raise NotImplementedError


class Frame(NamedTuple):
    """One recorded frame."""

    ts: int
    stream: str
    payload: bytes
    book: Depth | Diff | None = None


class Replay:
    """Replays one capture; how, the module's documentation says.

    Args:
        rows: the capture.
        decoder: reads the venue's frames.
        hub: where frames are published; it knows the symbol of each stream.
        speed: factor to the recorded speed; None is as fast as possible.
        settle: seconds to wait for further subscriptions before the timeline starts.

    Raises:
        CaptureError: the capture contains no market data.
    """

    def __init__(
        self,
        rows: Iterable[Row],
        decoder: CaptureDecoder,
        hub: Hub,
        speed: float | None = 1.0,
        settle: float = 0.3,
    ) -> None:
        self._decoder = decoder
        self._hub = hub
        self.speed = speed
        self._settle = settle
        self._started = asyncio.Event()
        self._first_at = self._newest_at = 0.0
        self.ended = asyncio.Event()
        self.position = 0
        self.frames: list[Frame] = []
        self.books: dict[str, RecordedBook | RecordedStreamBook] = {}
        self._by_stream: dict[str, RecordedBook | RecordedStreamBook] = {}
        self._answers: dict[str, bytes] = {}
        self._left: Counter[str] = Counter()
        self._last: dict[str, bytes] = {}
        self._load(rows)

    def __repr__(self) -> str:
        return f"<Replay {self.position}/{len(self.frames)} speed={self.speed or 'max'}>"

    # -- loading --------------------------------------------------------------------------------------

    def _load(self, rows: Iterable[Row]) -> None:
        snapshots: dict[str, list[Snapshot]] = {}
        for row in rows:
            if row.kind == "http":
                self._load_answer(row, snapshots)
                continue
            try:
                for stream, payload in self._decoder.frames(row):
                    book = self._decoder.book_event(stream, payload)
                    self.frames.append(Frame(row.ts, stream, payload, book))
            except (ValueError, msgspec.MsgspecError):
                continue  # frames that were damaged when recorded are not replayed
        if not self.frames and not snapshots:
            raise CaptureError("the capture has no market data frame and no depth snapshot")
        self._left.update(frame.stream for frame in self.frames)
        self._make_books(snapshots)

    def _load_answer(self, row: Row, snapshots: dict[str, list[Snapshot]]) -> None:
        if row.status != 200:
            return
        found = self._decoder.rest_snapshot(row)
        if found is not None:
            snapshots.setdefault(found[0], []).append(Snapshot(found[1], row.payload()))
        elif name := self._decoder.answer_key(row):
            self._answers.setdefault(name, row.payload())

    def _make_books(self, snapshots: dict[str, list[Snapshot]]) -> None:
        """A book for each symbol, from the one of its book streams with the most events."""
        events: dict[str, list[Depth | Diff]] = {}
        for frame in self.frames:
            if frame.book is not None:
                events.setdefault(frame.stream, []).append(frame.book)
        best: dict[str, str] = {self._symbol(frame.stream): "" for frame in self.frames}
        best |= dict.fromkeys(snapshots, "")
        best.pop("", None)
        for stream in sorted(events, key=lambda name: len(events[name])):
            best[self._symbol(stream)] = stream
            if self._decoder.snapshot_in_stream:
                self._by_stream[stream] = RecordedStreamBook(
                    stream, events[stream], self._decoder.max_levels(stream)
                )
        for symbol, stream in best.items():
            if self._decoder.snapshot_in_stream:
                self.books[symbol] = self._by_stream.get(stream) or RecordedStreamBook(stream, [])
                continue
            recorded = self.books[symbol] = RecordedBook(stream)
            recorded.snapshots = snapshots.get(symbol, [])
            recorded.diffs = [event for event in events.get(stream, []) if isinstance(event, Diff)]
            if stream:
                self._by_stream[stream] = recorded

    def _symbol(self, stream: str) -> str:
        return self._hub.stream_info(stream).venue_symbol

    # -- the source -----------------------------------------------------------------------------------

    def symbols(self) -> list[str]:
        """All venue symbols that have a frame or a snapshot."""
        return sorted(self.books)

    def listings(self) -> list[Listing]:
        """Listings of these symbols, with as many decimals as their books use."""
        return [self._decoder.listing(symbol, *self._decimals(symbol)) for symbol in self.symbols()]

    def _decimals(self, symbol: str) -> tuple[int, int]:
        recorded = self.books[symbol]
        books: list[Depth | Diff] = list(
            recorded.events if isinstance(recorded, RecordedStreamBook) else recorded.diffs
        )
        if isinstance(recorded, RecordedBook):
            books += [snapshot.depth for snapshot in recorded.snapshots]
        levels = [level for book in books for side in (book.bids, book.asks) for level in side]
        prices = max((_decimals(price) for price, _ in levels), default=8)
        return prices, max((_decimals(size) for _, size in levels), default=8)

    def recorded(self, name: str) -> bytes | None:
        """A recorded REST answer, by `CaptureDecoder.answer_key`."""
        return self._answers.get(name)

    def on_subscribed(self, peer: Peer, stream: str) -> None:
        """See `hub.Source`: start the timeline, note the pending snapshot, serve a late subscriber."""
        now = asyncio.get_running_loop().time()
        if stream in self._left:
            self._newest_at = now
            if not self._started.is_set():
                self._first_at = now
                self._started.set()
        recorded = self._by_stream.get(stream)
        if isinstance(recorded, RecordedStreamBook):
            if recorded.sent:
                ts = self.frames[self.position - 1].ts
                self._hub.send(peer, stream, self._decoder.snapshot_frame(stream, recorded.current(), ts))
            return
        late = self._left.get(stream) == 0 and (recorded is not None or self._decoder.resends_last(stream))
        if recorded is not None:
            others = [
                one for one in recorded.awaiting_snapshot if one[0] is not peer
            ]  # it may have unsubscribed before
            recorded.awaiting_snapshot = [*others, (peer, recorded.sent - 1 if late else recorded.sent)]
        if late:
            self._hub.send(peer, stream, self._last[stream])

    def on_fault(self, stream: str) -> None:
        """See `hub.Source`: the subscribers of altered diffs will request a snapshot again."""
        recorded = self._by_stream.get(stream)
        if isinstance(recorded, RecordedBook):
            listeners = self._hub.subscribers(stream)
            others = [one for one in recorded.awaiting_snapshot if one[0] not in listeners]
            recorded.awaiting_snapshot = others + [(peer, recorded.sent) for peer in listeners]

    def depth(self, symbol: str, limit: int | None = None) -> Depth:
        """The reference book for comparisons: the one at the replay's position.

        Raises:
            KeyError: the symbol is not in the capture.
            LookupError: the capture has no snapshot of it.
        """
        depth = self.books[symbol].current()
        return depth if limit is None else depth.cut(limit)

    def snapshot(self, symbol: str, limit: int) -> Depth | bytes:
        """The answer to a REST depth request: the recorded body if it fits the limit, else a book."""
        recorded = self.books[symbol]
        if isinstance(recorded, RecordedStreamBook):
            return recorded.current().cut(limit)
        depth, text = recorded.next_snapshot()
        if text and max(len(depth.bids), len(depth.asks)) <= limit:
            return text
        return depth.cut(limit)

    def stale(self, symbol: str) -> Depth:
        """A book older than all diffs, for the fault ``stale_snapshot``."""
        recorded = self.books[symbol]
        if isinstance(recorded, RecordedStreamBook):
            return recorded.first_snapshot()
        depth = recorded.snapshots[0].depth if recorded.snapshots else Depth(1, [], [])
        first = recorded.diffs[0].first_id if recorded.diffs else depth.last_id
        return depth._replace(last_id=min(depth.last_id, first) - 10)

    # -- the clock --------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Wait for the first subscriber and play the capture once; runs until cancelled."""
        await self._started.wait()
        clock = asyncio.get_running_loop().time
        while (wait := self._settles_at() - clock()) > 0:  # noqa: ASYNC110 (each subscription moves the start)
            await asyncio.sleep(wait)
        if self.speed is None:
            await self._all_at_once()
        else:
            await self._timed(clock, self.speed)
        self.ended.set()
        await asyncio.Event().wait()

    def _settles_at(self) -> float:
        return min(self._newest_at + self._settle, self._first_at + 5 * self._settle)

    async def _all_at_once(self) -> None:
        while self.position < len(self.frames):
            for _ in range(min(BATCH, len(self.frames) - self.position)):
                self._play()
            self._hub.flush()
            await self._hub.drained()
            await asyncio.sleep(0)

    async def _timed(self, clock: Callable[[], float], speed: float) -> None:
        began = clock()
        for index, frame in enumerate(self.frames):
            due = began + (frame.ts - self.frames[0].ts) / 1e9 / speed
            if due > clock():
                self._hub.flush()
                await asyncio.sleep(due - clock())
            elif index % BATCH == 0:
                self._hub.flush()
                await self._hub.drained()
            self._play()
        self._hub.flush()

    def _play(self) -> None:
        frame = self.frames[self.position]
        self.position += 1
        stream = frame.stream
        self._left[stream] -= 1
        self._last[stream] = frame.payload
        recorded = self._by_stream.get(stream)
        if recorded is not None and frame.book is not None:
            recorded.sent += 1  # before publishing: after a fault there, clients start with the next diff
        self._hub.publish(stream, frame.payload)


def _decimals(text: str) -> int:
    return len(text.partition(".")[2].rstrip("0"))
