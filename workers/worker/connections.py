"""The connections of a feed: its one WebSocket manager while there is something to serve."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from workers.contract.errors import WebSocketError
from workers.worker.feed_state import book_channels

if TYPE_CHECKING:
    from shm.instruments import Instrument
    from workers.books.publish import Publisher
    from workers.config.venue import VenueConfig
    from workers.contract.protocols import PerformanceMetrics, WebSocketStrategySet
    from workers.venues.venue import Venue
    from workers.websocket import WebSocketManager
    from workers.worker.events import FeedEvents
    from workers.worker.symbols import Symbols


class Connections:
    """`open` connects; the manager spreads the symbols over as many connections as the venue wants. What is
    asked while there is none does nothing: there is nothing to be subscribed again, read or answered.

    Args:
        make: the manager for these strategies, wired to its handlers.
        events: gets lines for the operator.

    Attributes:
        manager: None while there is nothing to serve.
    """

    def __init__(
        self,
        venue: Venue,
        config: VenueConfig,
        publisher: Publisher,
        symbols: Symbols,
        events: FeedEvents,
        make: Callable[[WebSocketStrategySet], WebSocketManager],
    ) -> None:
        self._venue = venue
        self._config = config
        self._publisher = publisher
        self._symbols = symbols
        self._events = events
        self._make = make
        self.manager: WebSocketManager | None = None

    def __repr__(self) -> str:
        return f"<Connections {self.manager!r}>"

    # -- their life ------------------------------------------------------------------------------------------
    async def open(self, symbols: Sequence[str]) -> None:
        """Connects and subscribes these; returns when that has succeeded or the manager has given up its
        normal pace of attempts, which is reported: it goes on trying, and the feed is DOWN."""
        config = self._config
        strategies = self._strategies()
        if (room := strategies.connection_strategy.budget.max_streams) < len(config.channels):
            self._events.report(
                f"a connection carries {room} streams, a symbol has {len(config.channels)} channels: "
                "each symbol is cut over several connections, and loses all its cells with any of them"
            )
        self.manager = self._make(strategies)
        try:
            await self.manager.initialize(symbols, config.channels)
        except WebSocketError as error:
            self._events.report(f"not connected yet: {error}")

    async def follow(self, added: Sequence[str], removed: Sequence[str], renamed: bool) -> None:
        """Subscribes and unsubscribes; `renamed`: the venue calls some that go on otherwise now."""
        if (manager := self.manager) is None:
            return
        if removed:
            await manager.unsubscribe(removed)
        if renamed:
            # The strategies remember how each symbol is called. Rare: all are connected anew.
            manager.replace_strategy(self._strategies())
            manager.reconnect("a symbol is called otherwise by the venue now")
        if added:
            try:
                await manager.subscribe(added)
            except WebSocketError as error:  # which of them, the cold path knows
                self._events.report(f"not subscribed: {error}")

    async def close(self) -> None:
        """Idempotent; `open` may follow."""
        manager, self.manager = self.manager, None
        if manager is not None:
            await manager.close()

    def _strategies(self) -> WebSocketStrategySet:
        return self._venue.data.websocket(self._config, self._symbols.venue_symbols)

    # -- what they are asked ---------------------------------------------------------------------------------
    @property
    def active(self) -> frozenset[tuple[str, str]]:
        """(symbol, channel) that the venue has acknowledged."""
        return frozenset() if self.manager is None else self.manager.active

    @property
    def unread(self) -> int:
        """Bytes in the sockets' receive buffers."""
        return 0 if self.manager is None else self.manager.unread

    def metrics(self) -> PerformanceMetrics | None:
        """The manager's counters; None: there is none."""
        return None if self.manager is None else self.manager.get_performance_metrics()

    async def answered(self, on_answer: Callable[[Sequence[tuple[str, str]]], None]) -> None:
        """See `WebSocketManager.answered`."""
        if self.manager is not None:
            await self.manager.answered(on_answer)

    # -- subscribing again -----------------------------------------------------------------------------------
    def refresh(self, symbol: str, channels: Collection[str]) -> None:
        """These do not deliver: a new subscription, and should that not help, a fresh connection."""
        if self.manager is not None:
            self.manager.refresh([symbol], list(channels))

    async def resubscribe(self, instrument: Instrument) -> None:
        """A new subscription of an instrument's book, which needs the snapshot that comes with it."""
        await self._resubscribe(instrument, planned=False)

    async def renew(self, instrument: Instrument) -> None:
        """The same for a book that is LIVE, to be compared with the snapshot."""
        await self._resubscribe(instrument, planned=True)

    async def _resubscribe(self, instrument: Instrument, *, planned: bool) -> None:
        if self.manager is not None:
            channels = book_channels(self._publisher, instrument.index)
            await self.manager.resubscribe([instrument.symbol], channels, planned=planned)
