"""The reader's side: attach, read cells, poll the ring. Nothing here can write into a feed."""

from __future__ import annotations

import difflib
import time
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from shm import _cells, _ring, counters, layout
from shm._cells import Top
from shm._cursor import Batch, Record, RingCursor
from shm._ring import Mapping
from shm.channels import CHANNELS, Delivery
from shm.cursor import Cursor
from shm.errors import Closed, Incompatible, NotFound, NotOwner, UnknownSymbol
from shm.events import Event, Severity, describe
from shm.files import trusted
from shm.instruments import Instrument, read_slots
from shm.layout import InstrumentStatus, Reason, Region, Scope, State
from shm.names import Names, default_instance, listed
from shm.segment import Header, heartbeat_age, open_mapping

if TYPE_CHECKING:
    from shm.fold import Fold

__all__ = [
    "Batch",
    "Book",
    "Counters",
    "Cursor",
    "Feed",
    "FeedInfo",
    "Histogram",
    "Record",
    "Top",
    "attach",
    "feeds",
]

# How often a reader of an ended feed looks for its successor, in ns.
_FOLLOW_EVERY = 10_000_000


class Book:
    """The best levels of both sides, as read at once.

    Attributes:
        exact: (bids, asks), int64 arrays of shape (n, 2): price and size mantissas, best first.
        price_exp, size_exp: value = mantissa * 10**-exp.
        update_id: the venue's. ts_event: venue's wall clock, ns. ts_recv: CLOCK_MONOTONIC, ns.
        ring_seq: the last record this cell contains.
        state: as the reader must take it: whether it is delivered. reason: why, as far as the writer stored
            it.
        status: `InstrumentStatus` of the slot at this read: whether it trades. A HALTED one may be LIVE.
        age: seconds from the last change to this read.
    """

    __slots__ = (
        "__dict__",
        "_reason",
        "_state",
        "_status",
        "age",
        "exact",
        "price_exp",
        "ring_seq",
        "size_exp",
        "symbol",
        "ts_event",
        "ts_recv",
        "update_id",
    )

    def __init__(self, symbol: str, cell: tuple[Any, ...]) -> None:
        self._state, self._reason, self.update_id, self.ts_event, self.ts_recv, self.ring_seq, now, *rest = (
            cell
        )
        bids, asks, self.price_exp, self.size_exp, self._status = rest
        self.symbol = symbol
        self.exact: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] = (bids, asks)
        self.age = (now - self.ts_recv) * 1e-9

    @property
    def state(self) -> State:
        return State(self._state)

    @property
    def status(self) -> InstrumentStatus:
        return InstrumentStatus(self._status)

    @property
    def reason(self) -> Reason:
        return Reason(self._reason)

    @cached_property
    def bids(self) -> npt.NDArray[np.float64]:
        """Bids as float64 (price, size), best first, shape (n, 2)."""
        return _cells.floats(self.exact[0], self.price_exp, self.size_exp)

    @cached_property
    def asks(self) -> npt.NDArray[np.float64]:
        """Asks as float64 (price, size), best first, shape (n, 2)."""
        return _cells.floats(self.exact[1], self.price_exp, self.size_exp)

    def decimal(self) -> tuple[list[tuple[Decimal, Decimal]], list[tuple[Decimal, Decimal]]]:
        """(bids, asks) as exact decimals."""
        bids, asks = (
            [
                (Decimal(int(price)).scaleb(-self.price_exp), Decimal(int(size)).scaleb(-self.size_exp))
                for price, size in side
            ]
            for side in self.exact
        )
        return bids, asks

    def __repr__(self) -> str:
        sides = f"{len(self.exact[0])} x {len(self.exact[1])}"
        return f"<Book {self.symbol} {sides} {self.state.name} id {self.update_id}>"


class Counters(msgspec.Struct, frozen=True):
    """The counters of a feed, by label; `instruments` by symbol."""

    feed: dict[str, int]
    instruments: dict[str, dict[str, int]]


class Histogram(msgspec.Struct, frozen=True):
    """A latency histogram in ns; `buckets` are (largest value, count) of those that are not empty."""

    count: int
    sum: int
    max: int
    buckets: list[tuple[int, int]]


class FeedInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One segment as `feeds()` finds it; `problem` says why it cannot be read, else None."""

    instance: str
    name: str
    state: State = State.DOWN
    generation: int = 0
    epoch: int = 0
    pid: int = 0
    heartbeat_age: float = float("inf")
    instruments: int = 0
    messages: int = 0
    restarts: int = 0
    path: str = ""
    problem: str | None = None


class Feed(_cells.Reader):
    """A feed, attached read-only. `attach` makes one; it follows restarts and new generations by itself."""

    name: str
    instance: str

    @classmethod
    def open(cls, names: Names, users: frozenset[int]) -> Feed:
        """Maps the segment and checks it; see `attach`. `users`: whose segment it may be."""
        feed = cls()
        feed._names, feed._users = names, users
        feed.name, feed.instance = names.feed, names.instance
        feed._looked = 0
        feed._use(*open_mapping(names.data, users=users))
        feed._refresh()
        return feed

    _names: Names
    _users: frozenset[int]
    _looked: int
    _closed = False
    _header: Header

    def _use(self, mapping: Mapping, header: Header) -> None:
        self._header = header
        self._bind(mapping, header.geometry)

    def __repr__(self) -> str:
        if self._closed:
            return f"<Feed {self.instance}/{self.name} closed>"
        which = f"generation {self.generation} epoch {self.epoch}"
        return f"<Feed {self.instance}/{self.name} {self.state.name} {which}>"

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Detaches; later reads raise Closed."""
        self._closed = True
        self._close()

    # -- state -----------------------------------------------------------------------------------------
    @property
    def state(self) -> State:
        """The feed's state as it counts now: DOWN when there is no fresh heartbeat."""
        self._fresh_mapping()
        return State(self._feed_state())

    @property
    def reason(self) -> Reason:
        """Why the feed's state is what it is; NO_HEARTBEAT when the writer has stopped beating."""
        self._fresh_mapping()
        return self._feed_reason()

    @property
    def epoch(self) -> int:
        """The writer's incarnation: it grows with every take-over."""
        self._fresh_mapping()
        return self.mapping.load(layout.H_EPOCH)

    @property
    def pid(self) -> int:
        """The writer's process id (in its own pid namespace)."""
        self._fresh_mapping()
        return self.mapping.load(layout.H_WRITER_PID)

    @property
    def heartbeat_age(self) -> float:
        """Seconds since the writer's last heartbeat."""
        self._fresh_mapping()
        return heartbeat_age(self.mapping)

    @property
    def wall_offset(self) -> int:
        """Wall clock - CLOCK_MONOTONIC, ns, at the last heartbeat: ts_recv + wall_offset is a wall time."""
        self._fresh_mapping()
        offset = self.mapping.load(layout.H_WALL_OFFSET)
        return offset - 2**64 if offset >= 2**63 else offset

    # -- following -------------------------------------------------------------------------------------
    def _fresh_mapping(self) -> None:
        if self._closed:
            raise Closed(f"feed {self.name} was closed")
        if self.mapping.load(layout.H_SUPERSEDED):
            self._follow()

    def _follow(self) -> None:
        """Attaches to the next generation once it is there; until then the old one reads DOWN."""
        at = _ring.now()
        if at - self._looked < _FOLLOW_EVERY:
            return
        self._looked = at
        try:
            mapping, header = open_mapping(self._names.data, users=self._users)
        except NotFound:
            return
        if mapping.load(layout.H_SUPERSEDED):
            return
        self._use(mapping, header)
        self._refresh()

    def _refresh(self) -> None:
        """Reads the instruments again; the newest slot that is not superseded carries a symbol.

        Raises:
            Incompatible: what is there is no list of instruments; the text says why.
        """
        version = self.mapping.load(layout.H_INSTRUMENTS_VERSION)
        offset, _, _, room = self._header.regions[Region.INSTRUMENTS]
        count = self.mapping.load(layout.H_INSTRUMENT_COUNT)
        if count > room:
            raise Incompatible(f"{self.mapping.path} is corrupt: {count} instruments in {room} slots")
        try:
            slots = read_slots(self.mapping, offset, count)
        except ValueError as error:
            raise Incompatible(f"{self.mapping.path} is corrupt: {error}") from None
        index: dict[str, int] = {}
        for slot in slots:
            if slot.status is not InstrumentStatus.SUPERSEDED or slot.symbol not in index:
                index[slot.symbol] = slot.index
        self._slots = slots
        self._learn(version, index, [(slot.price_exp, slot.size_exp) for slot in slots])
        self._symbols = index

    _slots: list[Instrument]
    _symbols: dict[str, int]

    def _unlisted(self, symbol: str) -> None:
        """A symbol that no slot carries: while the feed is starting its slots may still come."""
        if self._feed_state() < State.STALE:
            raise self._stale(symbol, self._feed_state(), int(self.reason), 0, 0)
        self._unknown(symbol)

    def _unknown(self, symbol: str) -> None:
        near = difflib.get_close_matches(symbol.upper(), self._symbols, n=3, cutoff=0.4)
        hint = f"; nearest: {', '.join(near)}" if near else ""
        raise UnknownSymbol(f"feed {self.name} has no instrument {symbol!r}{hint}")

    # -- instruments -----------------------------------------------------------------------------------
    def _current(self) -> None:
        self._fresh_mapping()
        if self.mapping.load(layout.H_INSTRUMENTS_VERSION) != self._version_seen:
            self._refresh()

    @property
    def symbols(self) -> list[str]:
        """The canonical symbols of this feed."""
        self._current()
        return list(self._symbols)

    @property
    def instruments(self) -> list[Instrument]:
        """The slot that carries each symbol now."""
        self._current()
        return [self._slots[i] for i in self._symbols.values()]

    @property
    def slots(self) -> list[Instrument]:
        """Every slot, superseded ones included; a record's `instrument` is an index into this."""
        self._current()
        return list(self._slots)

    def instrument(self, symbol: str) -> Instrument:
        """The slot of one symbol. Raises Stale while the feed is starting and has not listed it yet."""
        self._current()
        if symbol not in self._symbols:
            self._unlisted(symbol)
        return self._slots[self._symbols[symbol]]

    def cell_state(self, symbol: str, scope: Scope) -> State:
        """The state of a symbol's top or book as it counts now; a cell left half written is DOWN."""
        cell = self._cell_words(self.instrument(symbol).index, scope == Scope.BOOK)
        return State.DOWN if cell is None else State(cell[0])

    def cell_reason(self, symbol: str, scope: Scope) -> Reason:
        """Why a symbol's top or book is in its state; NONE where the feed has never carried it."""
        cell = self._cell_words(self.instrument(symbol).index, scope == Scope.BOOK)
        return Reason.NONE if cell is None else Reason(cell[2])

    def cell_age(self, symbol: str, scope: Scope) -> float | None:
        """Seconds since the last event of a symbol's top or book; None before the first."""
        cell = self._cell_words(self.instrument(symbol).index, scope == Scope.BOOK)
        return (_ring.now() - cell[3]) * 1e-9 if cell and cell[3] else None

    def delivery(self, symbol: str) -> dict[str, Delivery]:
        """What each subscribed channel of a symbol delivered last and owes: channel -> (age, within), s.

        A channel that is not subscribed, or not acknowledged yet, is absent; so are all of a segment that a
        program of layout 1.0 writes.
        """
        index = self.instrument(symbol).index
        region = self._header.regions.get(Region.DELIVERY)
        found: dict[str, Delivery] = {}
        if region is None:
            return found
        place, now = region[0] + index * layout.DELIVERY, _ring.now()
        for channel in CHANNELS:
            within = self.mapping.load(place + 8)  # first: the writer stores it last
            if at := self.mapping.load(place):
                found[channel] = Delivery.at(at, within, now)
            place += layout.DELIVERY_CHANNEL
        return found

    # -- reading ---------------------------------------------------------------------------------------
    def book(self, symbol: str, depth: int | None = None, allow_stale: bool = False) -> Book:
        """The best `depth` levels a side, read at once.

        Raises:
            Stale: not LIVE, unless `allow_stale`.
            Busy: the writer was writing in each of 64 tries, whatever `allow_stale` says: read again.
            UnknownSymbol: no such instrument.
        """
        if depth is not None and depth < 1:
            raise ValueError(f"depth must be at least 1, not {depth}")
        levels = self.depth if depth is None else min(depth, self.depth)
        return Book(symbol, self._read_book(symbol, levels, allow_stale))

    def cursor(self, from_oldest: bool = False) -> Cursor:
        """A position in the ring: from now on, or from the oldest record that is safe to read."""
        return Cursor.open(self, from_oldest)

    def fold(self) -> Fold:
        """Books folded from the ring, for readers that need every change (`shm.fold`)."""
        from shm.fold import Fold

        return Fold(self)

    def counters(self) -> Counters:
        """Every counter by its label, read from the segment itself."""
        self._current()
        start = self._header.geometry.regions()[Region.COUNTERS][0]
        labels = layout.FEED_COUNTERS + layout.INSTRUMENT_COUNTERS
        values = start + labels * layout.LABEL
        names = [self._label(start + i * layout.LABEL) for i in range(labels)]
        feed = {
            name: self.mapping.load(values + 8 * i)
            for i, name in enumerate(names[: layout.FEED_COUNTERS])
            if name
        }
        values += 8 * layout.FEED_COUNTERS
        instruments = {
            symbol: {
                name: self.mapping.load(values + 8 * (index * layout.INSTRUMENT_COUNTERS + i))
                for i, name in enumerate(names[layout.FEED_COUNTERS :])
                if name
            }
            for symbol, index in self._symbols.items()
        }
        return Counters(feed, instruments)

    def histograms(self) -> dict[str, Histogram]:
        """Every latency histogram by its label."""
        self._fresh_mapping()
        start = self._header.geometry.regions()[Region.HISTOGRAMS][0]
        found = {}
        for i in range(layout.HISTOGRAMS):
            at = start + i * layout.HISTOGRAM
            if label := self._label(at):
                count, total, largest = (self.mapping.load(at + layout.LABEL + 8 * word) for word in range(3))
                first = at + layout.LABEL + 64
                buckets = [
                    (counters.bucket_bounds(bucket)[1], n)
                    for bucket in range(layout.HISTOGRAM_BUCKETS)
                    if (n := self.mapping.load(first + 8 * bucket))
                ]
                found[label] = Histogram(count, total, largest, buckets)
        return found

    def _label(self, offset: int) -> str:
        return self.mapping.read(offset, layout.LABEL).split(b"\0", 1)[0].decode("utf-8", "replace")

    def events(self, last: int = 100) -> list[Event]:
        """The newest entries of the worker's event log, oldest first."""
        self._current()
        ring = RingCursor()
        offset, _, _, count = self._header.geometry.regions()[Region.EVENTS]
        head = min(self.mapping.load(layout.H_EVENTS_HEAD), 2**62)  # beyond there is nothing to be read
        ring._bind(
            self.mapping, None, offset, count, layout.H_EVENTS_HEAD, max(1, head - min(last, count // 2) + 1)
        )
        return [
            Event(
                seq=int(record["seq"]),
                wall_ns=int(record["ts_event"]),
                mono_ns=int(record["ts_recv"]),
                code=_code_name(int(record["aux"])),
                severity=_severity_name(int(record["kind"])),
                symbol=self._symbol_of(int(record["instrument"])),
                text=describe(int(record["aux"]), record["words"].tolist()),
            )
            for record in ring.poll(count)
        ]

    def _symbol_of(self, index: int) -> str | None:
        return self._slots[index].symbol if index < len(self._slots) else None


def _code_name(code: int) -> str:
    from shm.events import Code

    return Code(code).name.lower() if code in Code._value2member_map_ else str(code)


def _severity_name(severity: int) -> str:
    return Severity(severity).name.lower() if severity in Severity._value2member_map_ else str(severity)


def attach(
    feed: str, instance: str | None = None, wait: float = 0.0, *, owner: str | int | None = None
) -> Feed:
    """Attaches to a feed, read-only.

    Args:
        feed: its name (``binance_spot``).
        instance: default ``TICKRING_INSTANCE``, else ``default``.
        wait: seconds to wait for it to be there.
        owner: name or number of the user that the engine runs as, where that is neither this process's own
            nor root; default ``TICKRING_OWNER``. Any other user's segment is refused: its owner could change
            every price while it is read, and end this process by cutting it short.

    Raises:
        NotFound: it is not there (yet). Incompatible: it is, and cannot be read; the text names why.
        NotOwner: it belongs to a user that is not trusted.
    """
    names, users = Names(instance or default_instance(), feed), trusted(owner)
    deadline = time.monotonic() + wait
    while True:
        try:
            return Feed.open(names, users)
        except NotFound:
            if time.monotonic() >= deadline:
                raise
        time.sleep(min(0.01, max(0.0, deadline - time.monotonic())))


def feeds(instance: str | None = None, *, owner: str | int | None = None) -> list[FeedInfo]:
    """What is in /dev/shm: of one instance, or of all. `owner`: as for `attach`; what belongs to others is
    listed with the problem that says so."""
    users = trusted(owner)
    return [_info(names, users) for names in listed(instance)]


def _info(names: Names, users: frozenset[int]) -> FeedInfo:
    try:
        with Feed.open(names, users) as feed:
            totals = feed.counters().feed
            return FeedInfo(
                instance=names.instance,
                name=names.feed,
                state=feed.state,
                generation=feed.generation,
                epoch=feed.epoch,
                pid=feed.pid,
                heartbeat_age=feed.heartbeat_age,
                instruments=len(feed.symbols),
                messages=totals.get("messages", 0),
                restarts=totals.get("restarts", 0),
                path=str(names.data),
            )
    except (NotFound, Incompatible, NotOwner) as error:
        return FeedInfo(instance=names.instance, name=names.feed, path=str(names.data), problem=str(error))
