"""The replay source: a capture's frames to whoever subscribed, and depth snapshots from which a client
always reaches the capture's last book.

**The clock.** One timeline for all clients, as a venue has. It starts `settle` seconds after the newest
subscription once the first has come (at most `5 · settle` after the first), so that a client that
subscribes in several messages misses nothing even at ``speed=max``. It runs live, N times faster, or as
fast as the sockets take it; at its end connections stay open.

**Latecomers.** A stream that has no frame left gives a new subscriber its last frame again (states only:
no trade is told twice). Which book goes with it is told in `tape`. So a worker that was killed and comes back
after the end is LIVE again with the same tops and the same books.
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
from workers.sim.tape import Snapshot, StreamTape, Tape
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
    """See the module's essay.

    Args:
        rows: the capture.
        decoder: reads the venue's frames.
        hub: where frames are published; it knows the symbol of each stream.
        speed: times faster than recorded; None is as fast as possible.
        settle: seconds to wait for further subscriptions before the timeline starts.
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
        self.tapes: dict[str, Tape | StreamTape] = {}
        self._by_stream: dict[str, Tape | StreamTape] = {}
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
        self._make_tapes(snapshots)

    def _load_answer(self, row: Row, snapshots: dict[str, list[Snapshot]]) -> None:
        if row.status != 200:
            return
        found = self._decoder.rest_snapshot(row)
        if found is not None:
            snapshots.setdefault(found[0], []).append(Snapshot(found[1], row.payload()))
        elif name := self._decoder.answer_key(row):
            self._answers.setdefault(name, row.payload())

    def _make_tapes(self, snapshots: dict[str, list[Snapshot]]) -> None:
        """A tape for each symbol: of the stream of its book that was told most often."""
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
                self._by_stream[stream] = StreamTape(stream, events[stream], self._decoder.max_levels(stream))
        for symbol, stream in best.items():
            if self._decoder.snapshot_in_stream:
                self.tapes[symbol] = self._by_stream.get(stream) or StreamTape(stream, [])
                continue
            tape = self.tapes[symbol] = Tape(stream)
            tape.snapshots = snapshots.get(symbol, [])
            tape.diffs = [event for event in events.get(stream, []) if isinstance(event, Diff)]
            if stream:
                self._by_stream[stream] = tape

    def _symbol(self, stream: str) -> str:
        return self._hub.stream_info(stream).venue_symbol

    # -- the source -----------------------------------------------------------------------------------

    def symbols(self) -> list[str]:
        """All that have a frame or a snapshot."""
        return sorted(self.tapes)

    def listings(self) -> list[Listing]:
        """The symbols seen, with the decimals that their books use."""
        return [self._decoder.listing(symbol, *self._decimals(symbol)) for symbol in self.symbols()]

    def _decimals(self, symbol: str) -> tuple[int, int]:
        tape = self.tapes[symbol]
        books: list[Depth | Diff] = list(tape.events if isinstance(tape, StreamTape) else tape.diffs)
        if isinstance(tape, Tape):
            books += [snapshot.depth for snapshot in tape.snapshots]
        levels = [level for book in books for side in (book.bids, book.asks) for level in side]
        prices = max((_decimals(price) for price, _ in levels), default=8)
        return prices, max((_decimals(size) for _, size in levels), default=8)

    def recorded(self, name: str) -> bytes | None:
        """A recorded REST answer, by `CaptureDecoder.answer_key`."""
        return self._answers.get(name)

    def on_subscribed(self, peer: Peer, stream: str) -> None:
        """See `hub.Source`: start the clock, remember what is owed, serve a latecomer."""
        now = asyncio.get_running_loop().time()
        if stream in self._left:
            self._newest_at = now
            if not self._started.is_set():
                self._first_at = now
                self._started.set()
        tape = self._by_stream.get(stream)
        if isinstance(tape, StreamTape):
            if tape.sent:
                ts = self.frames[self.position - 1].ts
                self._hub.send(peer, stream, self._decoder.snapshot_frame(stream, tape.now(), ts))
            return
        late = self._left.get(stream) == 0 and (tape is not None or self._decoder.resends_last(stream))
        if tape is not None:
            others = [one for one in tape.owed if one[0] is not peer]  # it may have unsubscribed before
            tape.owed = [*others, (peer, tape.sent - 1 if late else tape.sent)]
        if late:
            self._hub.send(peer, stream, self._last[stream])

    def on_fault(self, stream: str) -> None:
        """See `hub.Source`: the subscribers of altered diffs will request a snapshot again."""
        tape = self._by_stream.get(stream)
        if isinstance(tape, Tape):
            listeners = self._hub.subscribers(stream)
            others = [one for one in tape.owed if one[0] not in listeners]
            tape.owed = others + [(peer, tape.sent) for peer in listeners]

    def depth(self, symbol: str, limit: int | None = None) -> Depth:
        """The oracle: the book at the timeline's position.

        Raises:
            KeyError: not in the capture.
            LookupError: no snapshot of it in the capture.
        """
        depth = self.tapes[symbol].now()
        return depth if limit is None else depth.cut(limit)

    def snapshot(self, symbol: str, limit: int) -> Depth | bytes:
        """The answer to a REST depth request: the recorded bytes when they fit the limit, else a book."""
        tape = self.tapes[symbol]
        if isinstance(tape, StreamTape):
            return tape.now().cut(limit)
        depth, text = tape.give()
        if text and max(len(depth.bids), len(depth.asks)) <= limit:
            return text
        return depth.cut(limit)

    def stale(self, symbol: str) -> Depth:
        """A book with an id before anything that streams."""
        tape = self.tapes[symbol]
        if isinstance(tape, StreamTape):
            return tape.first()
        depth = tape.snapshots[0].depth if tape.snapshots else Depth(1, [], [])
        first = tape.diffs[0].first_id if tape.diffs else depth.last_id
        return depth._replace(last_id=min(depth.last_id, first) - 10)

    # -- the clock --------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Wait for the first subscriber, play the capture once, then stay."""
        await self._started.wait()
        clock = asyncio.get_running_loop().time
        while (wait := self._settles_at() - clock()) > 0:  # noqa: ASYNC110 (the end moves as they come)
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
        tape = self._by_stream.get(stream)
        if tape is not None and frame.book is not None:
            tape.sent += 1  # before publishing: a fault there makes the *next* diff the first
        self._hub.publish(stream, frame.payload)


def _decimals(text: str) -> int:
    return len(text.partition(".")[2].rstrip("0"))
