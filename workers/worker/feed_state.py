"""What a feed as a whole may claim: its state, from its connections and cells."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shm import _ring
from shm.channels import CELLS, Channel, Delivery
from shm.counters import FeedCounter
from shm.events import Code
from shm.layout import InstrumentStatus, Reason, Scope, State
from shm.readiness import Cell, Subject, Verdict, judge
from workers.contract.protocols import ConnectionState
from workers.websocket.first_events import ALWAYS_EXPECTED, UNDECIDED
from workers.worker.events import FeedEvents

if TYPE_CHECKING:
    from shm.writer import Writer
    from workers.books.manager import BookManager
    from workers.books.publish import Publisher
    from workers.config.venue import VenueConfig
    from workers.contract.protocols import ConnectionEvent, PerformanceMetrics

# Counters that the connections keep and the segment shows: place there -> field of PerformanceMetrics.
_MIRRORED = {
    FeedCounter.PARSE_ERRORS: ("parse_errors", "handler_errors", "sink_errors", "callback_errors"),
    FeedCounter.OVERSIZED: ("oversized",),
    FeedCounter.COLD_DROPPED: ("dropped",),
    FeedCounter.SLOW: ("latency_violations",),
    FeedCounter.ACKS: ("acks",),
    FeedCounter.PINGS: ("pings_received",),
    FeedCounter.RESUBSCRIBES: ("resubscribes",),
    FeedCounter.FIRST_EVENT_MISSES: ("first_event_misses",),
    FeedCounter.RENEWALS: ("renewals",),
    FeedCounter.RENEWALS_FAILED: ("renewals_failed",),
}


VERDICT_LASTS = 1_000_000_000  # ns


def book_channels(publisher: Publisher, index: int) -> tuple[str, ...]:
    """Channels that an instrument's book is delivered for: its own, and the top's where that is its best. One
    stream of the venue serves both, so whoever makes a subscription of it anew names both."""
    return tuple(CELLS) if publisher.top_from_book(index) else ("book",)


@dataclass
class Group:
    """One connection and the instruments that it carries.

    Attributes:
        connected_at: ns of CLOCK_MONOTONIC, 0 without a connection.
        rejected: (symbol, channel) that the venue refused on this connection.
    """

    symbols: tuple[str, ...]
    state: ConnectionState = ConnectionState.DISCONNECTED
    connected_at: int = 0
    rejected: set[tuple[str, str]] = field(default_factory=set)


class Readiness(FeedEvents):
    """The feed's state, from its connections (one `Group` a shard) and cells:

    - DOWN: no connection.
    - RESYNC: one of several connections is missing, or a cell is not delivered. The other cells are as LIVE
      as they say: only DOWN ends them all.
    - LIVE: connected, and ready as `shm.readiness` has it: each cell of each listed instrument that trades is
      LIVE or owes nothing yet, and no channel is late.
    - STALE: connected, not ready, and no cell is LIVE although `first_event_after` has passed; or nothing is
      missing but what is STALE, and what is late.

    `delivery`: (index) -> channel -> what it delivered last and owes. `statuses`: index -> the instrument's
    status; one that is absent is ACTIVE. `late`: empty while no channel without a cell is late; it changes.
    """

    def __init__(
        self,
        writer: Writer,
        publisher: Publisher,
        manager: BookManager,
        config: VenueConfig,
        *,
        delivery: Callable[[int], Mapping[str, Delivery]] = lambda index: {},
        statuses: Callable[[], Mapping[int, InstrumentStatus]] = dict,
        late: Collection[object] = (),
    ) -> None:
        self._writer = writer
        self._publisher = publisher
        self._manager = manager
        self._groups: dict[int, Group] = {}  # by shard
        self._apart: set[str] = set()  # channels of connections that carry no cell's
        self._late = late
        self._judged: tuple[object, int, Verdict] | None = None  # by what, when, the verdict
        self._delivery = delivery
        self._statuses = statuses
        self._scopes = {channel: scope for channel, scope in CELLS.items() if channel in config.channels}
        self._first_event_after = int(config.first_event_after * 1e9)
        self._settled = False
        self._mirrored: dict[int, int] = {}

    def connection(self, event: ConnectionEvent) -> None:
        """A connection's state has changed: its instruments follow at once."""
        group = self._groups.setdefault(event.shard, Group(event.symbols))
        # A connection without the channel of a cell is no evidence about the cells of its symbols.
        group.symbols = event.symbols if event.carries(*CELLS) else ()
        if not event.carries(*CELLS):
            self._apart.update(event.channels)
        group.state = event.state
        if event.state is ConnectionState.CONNECTED:
            group.connected_at = _ring.now()
            self._manager.subscribed(self._books(group, group.symbols, event.carries))
            self.review()  # now: while the feed is DOWN, none of the cells that come back is readable
        elif event.state not in (ConnectionState.CONNECTING, ConnectionState.CLOSING):
            group.connected_at = 0
            group.rejected.clear()
            self._settled = False
            self._manager.lost(self._indexes(group.symbols))
            if event.carries("mark"):
                for index in self._indexes(event.symbols):
                    self._publisher.forget_marks(index)
            if event.state is ConnectionState.CLOSED:
                del self._groups[event.shard]
            connected = any(each.connected_at for each in self._groups.values())
            if self._writer.state is not State.DOWN and not connected:
                self._writer.set_state(State.DOWN, Reason.DISCONNECTED)

    def rejected(self, event: ConnectionEvent) -> None:
        """The venue refused subscriptions: a book from REST alone is not kept up to date."""
        group = self._groups.setdefault(event.shard, Group(event.symbols))
        group.rejected.update(event.rejected)
        for symbol, channel in event.rejected:
            if channel in CELLS:  # no cell depends on the others; they are counted and reported
                self._manager.lost(self._indexes([symbol]), State.DOWN, Reason.UNSUBSCRIBED)

    def accepted(self, event: ConnectionEvent) -> None:
        """The venue has taken after all what it had refused: its books may have their snapshots now."""
        group = self._groups.setdefault(event.shard, Group(event.symbols))
        group.rejected.difference_update(event.accepted)
        symbols = dict.fromkeys(symbol for symbol, channel in event.accepted if channel in CELLS)
        self._manager.subscribed(self._books(group, symbols))

    def subscribed(self, symbols: Iterable[str], active: Collection[tuple[str, str]]) -> None:
        """Symbols that were added to connections that there are: those of them that are delivered."""
        for symbol in symbols:
            for index in self._indexes([symbol]):
                if any((symbol, channel) in active for channel in book_channels(self._publisher, index)):
                    self._manager.subscribed([index])

    def overdue(self, event: ConnectionEvent) -> None:
        """Subscriptions have not delivered in time; the manager sees to it."""
        group = self._groups.get(event.shard)
        waited = (_ring.now() - group.connected_at) // 1_000_000 if group and group.connected_at else 0
        for symbol, _ in event.overdue:
            for index in self._indexes([symbol]):
                self._writer.log(Code.FIRST_EVENT_MISSED, waited, instrument=index)

    def delivered(self, symbol: str, channel: str) -> int:
        """ns of CLOCK_MONOTONIC of the last proof of delivery, 0: none yet, -1: it owes no first event, -2:
        that is being found out.

        Books whose snapshot is in the stream come soon whatever happens. A top owes nothing while its market
        stands still: where a book in step can be compared with REST, that is asked once, before anybody
        complains. One that no book gives owes nothing where the venue sends changes alone. Other books of
        quiet symbols are proved by the book manager; what has no cell is judged by
        `workers.worker.expectations`.
        """
        index = self._manager.index_of(symbol)
        if index is not None and channel == "top":
            return self._top_delivered(index)
        if index is not None and channel == "book" and self._publisher.snapshot_in_stream(index):
            return self._publisher.proof(index, Scope.BOOK)
        return -1

    def _top_delivered(self, index: int) -> int:
        publisher, manager = self._publisher, self._manager
        if publisher.top_from_book(index):
            return publisher.proof(index, Scope.TOP)
        since = _ring.now() - self._first_event_after
        heard = publisher.received_at(index)[Channel.TOP]
        if manager.tops.without_book(index):
            alive = manager.tops.alive(index)
            return -1 if alive is None else heard or alive
        if heard > since or not publisher.fills_top(index) or not manager.provable(index):
            return heard
        still = manager.still(index, since)
        return UNDECIDED if still is None else still or heard

    def proven(self, symbol: str, channel: str) -> int:
        """As `delivered`, when a whole connection has brought nothing: a book that is in step and that REST
        has just agreed with has shown that the market stands still, so that its top owes nothing either. -3:
        a mark price comes whether the market moves or not, a connection that should bring it owes it. So does
        one of tickers alone, beside which no top and no book would show it, while others bring theirs."""
        if channel == "mark":
            return ALWAYS_EXPECTED
        if channel == "ticker" and channel in self._apart:
            return self._moved(symbol)
        index = self._manager.index_of(symbol)
        if channel == "top" and index is not None:
            tops = self._manager.tops
            alive = tops.alive(index) if tops.without_book(index) else self._publisher.proof(index, Scope.TOP)
            proof = -1 if alive is None else alive
        else:
            proof = self.delivered(symbol, channel)
        if proof == -1 or index is None or not self._publisher.synced(index):
            return proof
        return max(proof, self._publisher.proof(index, Scope.BOOK))

    def _moved(self, symbol: str) -> int:
        """What a channel owes where nothing else on its connection is evidence: while the market moves as
        other connections show, data; while it stands still as they prove, no more than they."""
        index = self._manager.index_of(symbol)
        if index is None or not self._publisher.synced(index):
            return ALWAYS_EXPECTED
        heard = self._publisher.received_at(index)
        if max(heard[Channel.TOP], heard[Channel.BOOK]) > _ring.now() - self._first_event_after:
            return ALWAYS_EXPECTED
        return self._publisher.proof(index, Scope.BOOK)

    def _books(
        self, group: Group, symbols: Iterable[str], carried: Callable[..., bool] = lambda channel: True
    ) -> list[int]:
        """The slots of these symbols whose book is delivered: on a channel carried and not refused."""
        return [
            index
            for symbol in symbols
            for index in self._indexes([symbol])
            if any(
                carried(channel) and (symbol, channel) not in group.rejected
                for channel in book_channels(self._publisher, index)
            )
        ]

    def _indexes(self, symbols: Iterable[str]) -> list[int]:
        return [index for symbol in symbols if (index := self._manager.index_of(symbol)) is not None]

    def review(self) -> None:
        """Stores the feed's state when it has changed."""
        state, reason = self._judge(list(self._groups.values()))
        if state is not self._writer.state:
            self._writer.set_state(state, reason)

    def _judge(self, groups: Sequence[Group]) -> tuple[State, Reason]:
        if not groups and not self._publisher.indexes:
            return State.DOWN, Reason.NOT_LISTED
        missing = [group for group in groups if not group.connected_at]
        if missing or not groups:
            waiting = all(group.state is ConnectionState.CONNECTING for group in missing)
            if len(missing) < len(groups):
                return State.RESYNC, Reason.CONNECTING if waiting else Reason.DISCONNECTED
            return (State.RESYNC, Reason.CONNECTING) if waiting else (State.DOWN, Reason.DISCONNECTED)
        verdict = self._verdict()
        if verdict is None or verdict.ready():
            self._settled = True
            return State.LIVE, Reason.SYNCED
        latest = max(group.connected_at for group in groups)
        self._settled = self._settled or _ring.now() - latest > self._first_event_after
        silent = all(cell.state is State.STALE for cell in verdict.missing.values())
        if silent or (self._settled and not verdict.live):
            return State.STALE, Reason.SILENT
        return State.RESYNC, Reason.SNAPSHOT

    def _verdict(self) -> Verdict | None:
        """None: every cell is LIVE and nothing is late, which is ready. Of many instruments a verdict takes
        milliseconds: another one only after a change, or a second."""
        publisher = self._publisher
        states = [publisher.state(i, scope) for i in publisher.indexes for scope in self._scopes.values()]
        if not self._late and all(state == State.LIVE for state in states):
            return None
        now = _ring.now()
        facts = (states, len(self._late), dict(self._statuses()), [g.symbols for g in self._groups.values()])
        if self._judged is None or self._judged[0] != facts or now - self._judged[1] > VERDICT_LASTS:
            self._judged = facts, now, judge(self._subjects())
        return self._judged[2]

    def _subjects(self) -> Iterator[Subject]:
        publisher, statuses = self._publisher, self._statuses()
        carried = {symbol for group in self._groups.values() for symbol in group.symbols}
        for index in publisher.indexes:
            symbol = self._manager.symbol_of(index) or ""
            if carried and symbol not in carried:
                continue  # it is not desired any more
            cells = {
                channel: Cell(State(publisher.state(index, scope)), Reason(publisher.reason(index, scope)))
                for channel, scope in self._scopes.items()
            }
            status = statuses.get(index, InstrumentStatus.ACTIVE)
            yield Subject(symbol, status, cells, self._delivery(index))

    def mirror(self, metrics: PerformanceMetrics) -> None:
        """Copies the connections' counters into the segment."""
        for counter, fields in _MIRRORED.items():
            value = sum(int(getattr(metrics, name)) for name in fields)
            grown = value - self._mirrored.get(counter, 0)
            if grown > 0:
                self._writer.count_up(counter, grown)
                self._mirrored[counter] = value
