"""The replay source: a capture's frames to whoever subscribed, and depth snapshots from which a client
always reaches the capture's last book.

**The clock.** One timeline for all clients, as a venue has. It starts `settle` seconds after the newest
subscription once the first has come (at most `5 · settle` after the first), so that a client that
subscribes in several messages misses nothing even at ``speed=max``. It runs live, N times faster, or as
fast as the sockets take it; at its end connections stay open.

**Which snapshot?** The documented rule: buffer diffs; a snapshot L is too old when L + 1 < U of the first
buffered diff; drop u <= L; the first diff kept must bracket (U <= L + 1 <= u); then ids chain. So a snapshot
serves a subscriber whose first diff is number f exactly when L >= U[f] - 1, and it lets *every* kind of
client start (also one that is LIVE only after it has applied a diff) when at least one diff with
u > L has been, or will be, sent to it. A client may ask before its first diff, or, at full speed, when
all diffs are already in its buffer. Therefore each subscription to a symbol's diffs is remembered with
its f until a depth request has been answered for it ("owed"), and the request is answered with

1. the oldest recorded snapshot that brackets at f with a diff still to follow, word for word: a client
   that was there from the start folds the whole capture, whenever it asks and at any speed;
2. else (it came later) the book folded up to the timeline's position, or, when the symbol's diffs are
   over, up to the last diff but one. Every diff after that state has been or will be sent to it.

A request that nothing is owed for (an audit, a second look) gets the book at the timeline's position:
at the end that is the final book with the final id. A fault that alters a symbol's diffs makes a snapshot
owed to its subscribers again, with f = the next diff.

**Latecomers.** A stream that has no frame left gives a new subscriber its last frame again (states only:
no trade is told twice). For diffs that is f = the last one, which rule 2 brackets. So a worker that was
killed and comes back after the end is LIVE again with the same tops and the same books.

A capture made over several connections may have holes; folding then starts from the newest recorded
snapshot that leads to the wanted position without one, else the next younger snapshot is given (diffs
that it contains are dropped by the rule).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol
from urllib.parse import parse_qs, urlsplit

import msgspec

from workers.sim.book import Depth, Diff, Fold, Level
from workers.sim.capture import CaptureError, Row
from workers.sim.hub import Hub
from workers.sim.transport import Peer

BATCH = 256
"""Frames between two writes at full speed."""


class ReplayWords(Protocol):
    """What the replay must know of a venue's frames."""

    def unwrap(self, payload: bytes, known: frozenset[str]) -> tuple[str, bytes] | None:
        """A recorded frame's stream and bare payload; None for what is no stream's."""

    def diff(self, payload: bytes) -> Diff:
        """A depth payload's content."""

    def keeps_state(self, stream: str) -> bool:
        """Whether the stream's last frame may be sent again to a latecomer."""


class Frame(NamedTuple):
    """One recorded frame."""

    ts: int
    stream: str
    payload: bytes


class Snapshot(NamedTuple):
    """One depth answer: the book, and the wire text if it was recorded."""

    depth: Depth
    text: bytes


class _RawDepth(msgspec.Struct):
    lastUpdateId: int
    bids: list[Level]
    asks: list[Level]


class Tape:
    """One symbol: its recorded snapshots and diffs, and how far the timeline has come.

    `owed` holds, for each subscription that no snapshot was given to yet, the peer and f (module's essay).
    """

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self.snapshots: list[Snapshot] = []
        self.diffs: list[Diff] = []
        self.sent = 0
        self.owed: list[tuple[Peer, int]] = []
        self._cache: tuple[int, int, Fold] | None = None

    def __repr__(self) -> str:
        return f"<Tape {self.stream} {self.sent}/{len(self.diffs)} snapshots={len(self.snapshots)}>"

    @property
    def ended(self) -> bool:
        """No diff is left."""
        return self.sent == len(self.diffs)

    def now(self) -> Depth:
        """The book at the timeline's position."""
        return self.state(self.sent)

    def give(self) -> Snapshot:
        """The answer to a depth request (module's essay, "Which snapshot?")."""
        self.owed = [(peer, f) for peer, f in self.owed if not peer.closing and self.stream in peer.streams]
        if not self.owed or not self.diffs:
            return Snapshot(self.now(), b"")
        _, first = self.owed.pop(0)
        if first >= len(self.diffs):  # the very last diff was lost to a fault: none will follow
            return Snapshot(self.now(), b"")
        least, last = self.diffs[first].first_id - 1, self.diffs[-1].last_id
        for snapshot in self.snapshots:
            if least <= snapshot.depth.last_id < last and self._leads(snapshot.depth.last_id, first):
                return snapshot
        return Snapshot(self.state(min(self.sent, len(self.diffs) - 1)), b"")

    def _leads(self, last_id: int, first: int) -> bool:
        """Whether the next diff after a snapshot brackets it (a hole may lie there)."""
        for diff in self.diffs[first:]:
            if diff.last_id > last_id:
                return diff.first_id <= last_id + 1
        return False

    def state(self, count: int) -> Depth:
        """The book after the first `count` diffs.

        Raises:
            LookupError: the capture has no snapshot of this symbol.
        """
        target = self.diffs[count - 1].last_id if count else 0
        for index in reversed(range(len(self.snapshots))):
            if self.snapshots[index].depth.last_id <= target:
                fold = self._fold(index, count)
                if fold is not None:
                    return fold.depth()
        for snapshot in self.snapshots:
            if snapshot.depth.last_id >= target:
                return snapshot.depth
        raise LookupError(self.stream)

    def _fold(self, index: int, count: int) -> Fold | None:
        """Snapshot `index` and the diffs up to `count`; None when ids are missing on the way."""
        start, fold = 0, Fold(self.snapshots[index].depth)
        if self._cache is not None and self._cache[0] == index and self._cache[1] <= count:
            _, start, fold = self._cache
        self._cache = None
        for diff in self.diffs[start:count]:
            if not fold.apply(diff):
                return None
        self._cache = (index, count, fold)
        return fold


class Replay:
    """See the module's essay.

    Args:
        rows: the capture.
        words: the venue's frames.
        hub: where the streams go.
        speed: times faster than recorded; None is as fast as possible.
        settle: seconds to wait for further subscriptions before the timeline starts.
    """

    def __init__(
        self,
        rows: Iterable[Row],
        words: ReplayWords,
        hub: Hub,
        speed: float | None = 1.0,
        settle: float = 0.3,
    ) -> None:
        self._words = words
        self._hub = hub
        self.speed = speed
        self._settle = settle
        self._started = asyncio.Event()
        self._first_at = self._newest_at = 0.0
        self.ended = asyncio.Event()
        self.position = 0
        self.frames: list[Frame] = []
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.tapes: dict[str, Tape] = {}
        self._left: dict[str, int] = {}
        self._last: dict[str, bytes] = {}
        self._load(rows)

    def __repr__(self) -> str:
        return f"<Replay {self.position}/{len(self.frames)} speed={self.speed or 'max'}>"

    # -- loading --------------------------------------------------------------------------------------

    def _load(self, rows: Iterable[Row]) -> None:
        known: dict[int, frozenset[str]] = {}
        snapshots: dict[str, list[Snapshot]] = {}
        for row in rows:
            if row.kind == "http":
                self._load_answer(row, snapshots)
            elif row.dir == "open":
                known[row.conn] = frozenset(_url_streams(row.url))
            elif row.dir == "out":
                known[row.conn] = known.get(row.conn, frozenset()) | _asked(row.payload())
            elif row.dir == "in":
                self._load_frame(row, known.get(row.conn, frozenset()))
        if not self.frames and not snapshots:
            raise CaptureError("the capture has no market data frame and no depth snapshot")
        for frame in self.frames:
            self._left[frame.stream] = self._left.get(frame.stream, 0) + 1
        for symbol in snapshots.keys() | {f.stream.split("@")[0].upper() for f in self.frames}:
            fine, coarse = f"{symbol.lower()}@depth@100ms", f"{symbol.lower()}@depth"
            tape = Tape(coarse if coarse in self._left and fine not in self._left else fine)
            tape.snapshots = snapshots.get(symbol, [])
            tape.diffs = [self._words.diff(f.payload) for f in self.frames if f.stream == tape.stream]
            self.tapes[symbol] = tape

    def _load_frame(self, row: Row, known: frozenset[str]) -> None:
        """Keep a frame of a stream; what the recorder saw of damaged frames is not told again."""
        try:
            placed = self._words.unwrap(row.payload(), known)
            if placed is not None and "@depth" in placed[0] and b'"U"' in placed[1]:
                self._words.diff(placed[1])
        except msgspec.MsgspecError:
            return
        if placed is not None:
            self.frames.append(Frame(row.ts, *placed))

    def _load_answer(self, row: Row, snapshots: dict[str, list[Snapshot]]) -> None:
        url = urlsplit(row.url)
        if row.status != 200:
            return
        symbol = parse_qs(url.query).get("symbol", [""])[0]
        if url.path.endswith("/depth") and symbol:
            raw = msgspec.json.decode(row.payload(), type=_RawDepth)
            one = Snapshot(Depth(raw.lastUpdateId, raw.bids, raw.asks), row.payload())
            snapshots.setdefault(symbol, []).append(one)
        else:
            name = url.path.rsplit("/", 1)[-1]
            self.answers.setdefault(f"{name} {symbol}".strip(), (row.status, row.payload()))

    # -- the source -----------------------------------------------------------------------------------

    def subscribed(self, peer: Peer, stream: str) -> None:
        """See `hub.Source`: start the clock, remember what is owed, serve a latecomer."""
        now = asyncio.get_running_loop().time()
        if stream in self._left:
            self._newest_at = now
            if not self._started.is_set():
                self._first_at = now
                self._started.set()
        late = self._left.get(stream) == 0 and self._words.keeps_state(stream)
        tape = self.tapes.get(stream.split("@")[0].upper())
        if tape is not None and tape.stream == stream:
            others = [one for one in tape.owed if one[0] is not peer]  # it may have unsubscribed before
            tape.owed = [*others, (peer, tape.sent - 1 if late else tape.sent)]
        if late:
            self._hub.send(peer, stream, self._last[stream])

    def disturbed(self, stream: str) -> None:
        """See `hub.Source`: the subscribers of altered diffs will ask again."""
        tape = self.tapes.get(stream.split("@")[0].upper())
        if tape is not None and tape.stream == stream:
            listeners = self._hub.listeners(stream)
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
        depth, text = self.tapes[symbol].give()
        if text and max(len(depth.bids), len(depth.asks)) <= limit:
            return text
        return depth.cut(limit)

    def stale(self, symbol: str) -> Depth:
        """A book with an id before anything that streams."""
        tape = self.tapes[symbol]
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
        tape = self.tapes[stream.split("@")[0].upper()]
        if tape.stream == stream:
            tape.sent += 1  # before publishing: a fault there makes the *next* diff the first
        self._hub.publish(stream, frame.payload)


def _url_streams(url: str) -> list[str]:
    parts = urlsplit(url)
    names = parse_qs(parts.query).get("streams", [""])[0] or parts.path.partition("/ws/")[2]
    return [name for name in names.split("/") if name]


def _asked(payload: bytes) -> frozenset[str]:
    try:
        message = msgspec.json.decode(payload)
    except msgspec.DecodeError:
        return frozenset()
    if isinstance(message, dict) and message.get("method") == "SUBSCRIBE":
        return frozenset(name for name in message.get("params", ()) if isinstance(name, str))
    return frozenset()
