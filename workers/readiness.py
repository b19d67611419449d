"""What a feed as a whole may claim: its state, from its connections and cells; first events that are due."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shm import _ring, counters
from shm.events import Code
from shm.layout import Reason, Scope, State
from workers.strategies import ConnectionState

if TYPE_CHECKING:
    from shm.writer import Writer
    from workers.books import BookKeeper
    from workers.config import VenueConfig
    from workers.publish import Publisher
    from workers.strategies import PerformanceMetrics
    from workers.websocket import WebSocketManager

_MISSES = counters.FEED.index("first_event_misses")
# Counters that the connections keep and the segment shows: place there -> field of PerformanceMetrics.
_MIRRORED = {
    counters.FEED.index("parse_errors"): ("parse_errors", "handler_errors", "sink_errors"),
    counters.FEED.index("oversized"): ("oversized",),
    counters.FEED.index("cold_dropped"): ("dropped",),
    counters.FEED.index("slow"): ("latency_violations",),
    counters.FEED.index("acks"): ("acks",),
    counters.FEED.index("pings"): ("pings_received",),
    counters.FEED.index("resubscribes"): ("resubscribes",),
}


@dataclass
class Group:
    """One connection and the instruments that it carries.

    Attributes:
        connected_at: ns of CLOCK_MONOTONIC, 0 without a connection.
        renewed: symbol -> how often its subscription was renewed, on this and earlier connections.
        rejected: (symbol, channel) that the venue refused on this connection.
        due: symbol -> when its first event is due, ns.
    """

    symbols: list[str]
    manager: WebSocketManager | None = None
    state: ConnectionState = ConnectionState.DISCONNECTED
    connected_at: int = 0
    renewed: dict[str, int] = field(default_factory=dict)
    rejected: set[tuple[str, str]] = field(default_factory=set)
    due: dict[str, int] = field(default_factory=dict)
    mirrored: dict[int, int] = field(default_factory=dict)


class Readiness:
    """The feed's state, from its connections (`groups`, which may grow) and cells:

    - DOWN: no connection.
    - RESYNC: connected, and a cell still waits for its first data (for at most `first_event_after`).
    - LIVE: all that was asked for has been there since the connection was made, and a cell is LIVE. A later
      gap is that instrument's own affair.
    - STALE: connected, and not one cell is LIVE.
    """

    def __init__(
        self,
        writer: Writer,
        publisher: Publisher,
        keeper: BookKeeper,
        keys: VenueConfig,
        groups: Sequence[Group],
    ) -> None:
        self._writer = writer
        self._publisher = publisher
        self._keeper = keeper
        self._groups = groups
        self._scopes = [
            scope for scope, channel in ((Scope.TOP, "top"), (Scope.BOOK, "book")) if channel in keys.channels
        ]
        self._patience = int(keys.first_event_after * 1e9)
        self._settled = False

    def connection(self, group: Group, state: ConnectionState) -> None:
        """A connection's state has changed: its instruments follow at once."""
        group.state = state
        indexes = self._indexes(group.symbols)
        if state is ConnectionState.CONNECTED:
            group.connected_at = _ring.now()
            group.due = {
                symbol: group.connected_at + self._patience
                for symbol in group.symbols
                if (symbol, "top") not in group.rejected
            }
            self._keeper.subscribed(
                self._indexes(symbol for symbol in group.symbols if (symbol, "book") not in group.rejected)
            )
        elif state not in (ConnectionState.CONNECTING, ConnectionState.CLOSING):
            group.connected_at = 0
            group.rejected.clear()
            self._settled = False
            self._keeper.lost(indexes)
            if self._writer.state is not State.DOWN and not any(each.connected_at for each in self._groups):
                self._writer.set_state(State.DOWN, Reason.DISCONNECTED)

    def rejected(self, group: Group, symbol: str, channel: str) -> None:
        """The venue refused a subscription: what REST says of it is no book that is kept up to date."""
        group.rejected.add((symbol, channel))
        if channel not in ("top", "book"):
            return  # counted and said; no cell depends on it
        if channel == "top":
            group.due.pop(symbol, None)
        self._keeper.lost(self._indexes([symbol]), State.DOWN, Reason.UNSUBSCRIBED)

    def _indexes(self, symbols: Iterable[str]) -> list[int]:
        return [index for symbol in symbols if (index := self._keeper.index_of(symbol)) is not None]

    def review(self) -> None:
        """Stores the feed's state when it has changed, and copies the connections' counters."""
        for group in self._groups:
            if group.manager is not None:
                self._mirror(group, group.manager.get_performance_metrics())
        state, reason = self._judge(self._groups)
        if state is not self._writer.state:
            self._writer.set_state(state, reason)

    def _judge(self, groups: Sequence[Group]) -> tuple[State, Reason]:
        if not any(group.connected_at for group in groups):
            waiting = all(group.state is ConnectionState.CONNECTING for group in groups)
            return (State.RESYNC, Reason.CONNECTING) if waiting else (State.DOWN, Reason.DISCONNECTED)
        states = [self._publisher.state(i, scope) for i in self._publisher.indexes for scope in self._scopes]
        if not self._settled:
            latest = max(group.connected_at for group in groups)
            whole = all(group.connected_at for group in groups) and State.RESYNC not in states
            self._settled = whole or _ring.now() - latest > self._patience
        if not self._settled:
            return State.RESYNC, Reason.SNAPSHOT
        if State.LIVE in states or not states:
            return State.LIVE, Reason.SYNCED
        return State.STALE, Reason.SILENT

    def overdue_first_events(self) -> Iterator[tuple[str, Group]]:
        """Symbols whose top has never come on this connection; each is told again after twice the time."""
        if Scope.TOP not in self._scopes:
            return
        now = _ring.now()
        for group in self._groups:
            if not group.connected_at:
                continue
            for symbol, due in list(group.due.items()):
                index = self._keeper.index_of(symbol)
                if index is None or self._publisher.proof(index, Scope.TOP) > group.connected_at:
                    del group.due[symbol]
                elif now > due:
                    group.due[symbol] = now + 2 * (due - group.connected_at)
                    self._writer.count_up(_MISSES)
                    self._writer.log(
                        Code.FIRST_EVENT_MISSED, (now - group.connected_at) // 1_000_000, instrument=index
                    )
                    yield symbol, group

    def renewals(self, symbol: str, group: Group) -> int:
        """How often the symbol's subscription was renewed, this time included."""
        group.renewed[symbol] = group.renewed.get(symbol, 0) + 1
        return group.renewed[symbol]

    def _mirror(self, group: Group, metrics: PerformanceMetrics) -> None:
        for counter, fields in _MIRRORED.items():
            value = sum(int(getattr(metrics, name)) for name in fields)
            grown = value - group.mirrored.get(counter, 0)
            if grown > 0:
                self._writer.count_up(counter, grown)
                group.mirrored[counter] = value
