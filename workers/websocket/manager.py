"""WebSocketManager: all connections to one endpoint of a venue, and what is subscribed on them.

The desired topics are spread over shards, by the venue's limit of streams a connection and by its addresses
(`placement`). Each shard is a reconnect loop of its own (`shard`), so that one lost connection does not
affect the others. They share the venue's limit of connection attempts and the bounded queue of messages for
`message_handler`. Market data goes from the socket callback straight into the sink, past that queue.

Only managers have tasks, sockets and clocks; how a venue is talked to is decided by its strategies.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any

import msgspec

from workers.contract.errors import NotConnected, Silent, SubscriptionRejected
from workers.contract.protocols import (
    ConnectionState,
    PerformanceMetrics,
    SubscriptionAction,
    WebSocketManagerConfig,
    WebSocketStrategySet,
)
from workers.decode.sink import FrameSink
from workers.websocket.backoff import Backoff, TokenBucket
from workers.websocket.buffered_handover import Handover
from workers.websocket.connection import SharedContext
from workers.websocket.dispatch import (
    ConnectionHandler,
    Dispatcher,
    FaultHandler,
    MessageHandler,
    MissedHandler,
)
from workers.websocket.placement import Placement
from workers.websocket.shard import Shard
from workers.websocket.stats import ConnectionStats
from workers.websocket.subscriptions import Topic

# The state of a manager is that of its worst shard, in this order.
WORST_FIRST = (
    ConnectionState.ERROR,
    ConnectionState.RECONNECTING,
    ConnectionState.CONNECTING,
    ConnectionState.DISCONNECTED,
    ConnectionState.CONNECTED,
)


class WebSocketManager:
    """Keeps topics of one venue subscribed. Handlers may be plain functions, called in place, or coroutine
    functions.

    Args:
        config: bounds and timeouts.
        strategies: how to talk to the venue.
        message_handler: called with every message that neither the sink nor the manager itself takes.
        connection_handler: called with every `ConnectionEvent`, synchronously and in order.
        sink: takes market data in the socket callback; None: all messages go to `message_handler`. Its
            `book_updates`, if it has such a count, goes into the metrics.
        handover: topics -> what lets a connection replace another without a gap in what the sink publishes.
            None: with a sink, a planned replacement is a plain reconnect.
        delivered: (symbol, channel) -> ns of `clock` of the topic's last event; 0: none yet; or
            `NOT_EXPECTED` or `UNDECIDED` of `workers.websocket.first_events`. None: without a sink, the
            manager's own record of what was handled; with a sink, first events are not watched.
        proven: as `delivered`, called when a whole connection has brought nothing. Here it counts too when
            the topic was found to be up to date in another way (a REST snapshot equals the book), and
            `ALWAYS_EXPECTED` is a possible answer. None: `delivered`.
        has: (symbol, channel) -> whether the symbol has that channel; where not, it is not subscribed.
        on_missed: called with the topics of which market data may be missing from here on: a message was
            dropped or could not be parsed, its handler raised, or the topic is being subscribed again. See
            `Dispatcher`.
        on_fault: called with what a message's parser or handler raised, and the message.
        on_rtt: called with the round trip of each of our pings, in ns.
        clock, sleep, chance: monotonic seconds, its sleep, and a random number in [0, 1).
    """

    def __init__(
        self,
        config: WebSocketManagerConfig,
        strategies: WebSocketStrategySet,
        message_handler: MessageHandler,
        connection_handler: ConnectionHandler,
        *,
        sink: FrameSink | None = None,
        handover: Callable[[Sequence[Topic]], Handover] | None = None,
        delivered: Callable[[str, str], int] | None = None,
        proven: Callable[[str, str], int] | None = None,
        has: Callable[[str, str], bool] = lambda symbol, channel: True,
        on_missed: MissedHandler | None = None,
        on_fault: FaultHandler | None = None,
        on_rtt: Callable[[int], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._strategies = strategies
        self._sink = sink
        self._handover = handover
        self._delivered = delivered
        self._proven = proven
        self._stats = ConnectionStats(clock)
        self._dispatcher = Dispatcher(
            config, message_handler, connection_handler, self._stats, on_missed, on_fault
        )
        budget = strategies.connection_strategy.budget
        self._shared = SharedContext(
            config=config,
            dispatcher=self._dispatcher,
            stats=self._stats,
            connects=TokenBucket.within(budget.connects, budget.connects_per, budget.connect_burst),
            clock=clock,
            sleep=sleep,
            chance=chance,
            on_rtt=on_rtt,
        )
        self._placement = Placement(
            lambda route: self._at(route).connection_strategy.budget.max_streams, has, self._route
        )
        self._shards: dict[int, Shard] = {}
        self._channels: tuple[str, ...] = ()
        self._processor: asyncio.Task[None] | None = None
        self._closing: asyncio.Future[None] | None = None
        self._check(strategies)

    # -- public -----------------------------------------------------------------------------------------
    async def initialize(self, symbols: Iterable[object], default_channels: Sequence[str]) -> None:
        """Connect and subscribe to every symbol x channel; returns when all is acknowledged on all shards.

        Raises the last `WebSocketError` once a shard has given up its normal pace of attempts (state ERROR),
        and `SubscriptionRejected` when the venue refused every subscription; in both cases it keeps trying
        until `close`. Single refusals are reported to the connection handler and are in `rejected`. Raises
        KeyError for a symbol or channel that the venue does not know, before anything is started.
        """
        if self._processor is not None or self._closing is not None:
            raise RuntimeError("this manager is initialised already; subscribe() adds symbols")
        names = _names(symbols)
        self._known(names, default_channels)
        self._channels = tuple(default_channels)
        self._processor = asyncio.create_task(self._dispatcher.run())
        self._placement.add(names, self._channels)
        if not self._placement.shards:
            # Nothing to subscribe to yet: connect all the same.
            self._placement.open(self._route(self._channels[0]) if self._channels else "")
        await asyncio.gather(*(asyncio.shield(shard.connected) for shard in self._start_shards()))
        refused = self._refused()
        if refused and not self.active:
            raise SubscriptionRejected("the venue refused every subscription", tuple(refused))

    async def subscribe(self, symbols: Iterable[object], channels: Sequence[str] | None = None) -> None:
        """Add symbols (None: with the default channels), on connections with room, else on a new one, whose
        first attempt is waited for. What is not connected now is subscribed with the next connection. Raises
        `SubscriptionRejected` naming what the venue refused, and KeyError for a symbol or channel that it
        does not know."""
        names, wanted = _names(symbols), channels or self._channels
        self._known(names, wanted)
        placed = self._placement.add(names, wanted)
        started = self._start_shards()
        for number, topic in placed:
            connection = self._shards[number].connection
            if connection is not None and topic in connection.topics.rejected:
                connection.topics.request_again([topic])  # asked for once more
        await asyncio.gather(
            *(shard.tried for shard in started),
            *(self._shards[number].reconcile() for number in dict.fromkeys(n for n, _ in placed)),
        )
        known = self._refused()
        if refused := tuple(topic for _, topic in placed if topic in known):
            described = ", ".join(f"{symbol} {channel}" for symbol, channel in refused)
            raise SubscriptionRejected(f"the venue refused {described}", refused)

    async def unsubscribe(self, symbols: Iterable[object], channels: Sequence[str] | None = None) -> None:
        """Remove symbols (None: all their channels). A shard left empty is closed, except the last one."""
        touched = self._placement.remove(_names(symbols), channels)
        empty = [number for number in touched if not self._placement.shards[number]]
        if len(empty) == len(self._shards):
            empty = empty[1:]
        going = [self._shards.pop(number) for number in empty]
        for number in empty:
            self._placement.close(number)
        await asyncio.gather(
            *(shard.close() for shard in going),
            *(self._shards[number].reconcile() for number in touched - set(empty)),
        )

    async def resubscribe(
        self, symbols: Iterable[object], channels: Sequence[str] | None = None, *, planned: bool = False
    ) -> None:
        """Unsubscribe and subscribe again. `planned`: nothing is wrong with them, and the caller handles what
        is missed in between: it is neither reported to `on_missed` nor counted."""
        await asyncio.gather(
            *(
                shard.resubscribe(topics, planned=planned)
                for shard, topics in self._carriers(symbols, channels)
            )
        )

    def refresh(self, symbols: Iterable[object], channels: Sequence[str] | None = None) -> None:
        """The caller has found that these do not deliver: subscribe again; the 2nd, 4th, 8th... time replace
        the connection instead, without a gap for the others. From the third time on calls within a pause,
        twice as long each time, have no effect; nor have calls for what is not connected."""
        for shard, topics in self._carriers(symbols, channels):
            if shard.is_connected():
                shard.refresh(topics)

    def renew(self, reason: str) -> None:
        """Replace every connection by a new one without a gap."""
        for shard in self._shards.values():
            shard.renew(reason)

    def reconnect(self, reason: str) -> None:
        """Give up every connection and make new ones, with the usual backoff."""
        for shard in self._shards.values():
            shard.reconnect(Silent(reason))

    def replace_strategy(self, strategies: WebSocketStrategySet) -> None:
        """Use other strategies from the next connection on; call `renew` to replace the present ones now.

        The limit of connection attempts stays as it is: the venue counts them by our address.
        """
        self._check(strategies)
        self._strategies = strategies

    async def send_message(self, message: object) -> None:
        """Send bytes or text as they are, anything else as JSON, on the first shard that is connected; waits
        until the venue's message limit allows it. Raises `NotConnected`.
        """
        if isinstance(message, str):
            message = message.encode()
        data = message if isinstance(message, bytes) else msgspec.json.encode(message)
        for shard in self._shards.values():
            if shard.is_connected() and shard.connection is not None:
                await shard.connection.send(data)
                return
        raise NotConnected("not connected: nothing was sent")

    def is_connected(self) -> bool:
        """All shards are connected and subscribed, and their sockets are there."""
        return bool(self._shards) and all(shard.is_connected() for shard in self._shards.values())

    @property
    def state(self) -> ConnectionState:
        """CLOSING and CLOSED are the manager's own; else that of its worst shard: ERROR, RECONNECTING,
        CONNECTING, then CONNECTED."""
        if self._closing is not None:
            return ConnectionState.CLOSED if self._closing.done() else ConnectionState.CLOSING
        states = {shard.state for shard in self._shards.values()}
        return next((state for state in WORST_FIRST if state in states), ConnectionState.DISCONNECTED)

    @property
    def active(self) -> frozenset[Topic]:
        """Acknowledged (symbol, channel) of the present connections."""
        connections = [shard.connection for shard in self._shards.values() if shard.connection is not None]
        return frozenset().union(*(connection.topics.active for connection in connections))

    @property
    def rejected(self) -> dict[Topic, str]:
        """(symbol, channel) -> the venue's code and message, for what it refused on the present
        connections."""
        return self._refused()

    def get_performance_metrics(self) -> PerformanceMetrics:
        live = [
            connection.listener
            for shard in self._shards.values()
            for connection in shard.connections
            if not connection.detached
        ]
        books = getattr(self._sink, "book_updates", 0)
        return self._stats.metrics(live, len(self._dispatcher), len(self._shards), books)

    @property
    def unread(self) -> int:
        """Bytes in the sockets' receive buffers; 0 without a connection."""
        return sum(connection.unread for shard in self._shards.values() for connection in shard.connections)

    async def answered(self, on_answer: Callable[[Sequence[Topic]], None]) -> None:
        """Ping every connection. `on_answer` is called for each with its subscribed topics, when the answer
        is here and all messages before it are handled (`Shard.answered`); not for one that is lost."""

        async def ask(shard: Shard) -> None:
            if topics := await shard.answered():
                on_answer(topics)

        await asyncio.gather(*(ask(shard) for shard in list(self._shards.values())))

    async def close(self) -> None:
        """Close all connections and end all tasks. May be called again: then it waits for the same end."""
        if self._closing is not None:
            await asyncio.shield(self._closing)
            return
        self._closing = asyncio.get_running_loop().create_future()
        try:
            await asyncio.gather(*(shard.close() for shard in self._shards.values()))
            if self._processor is not None:
                self._processor.cancel()
                await asyncio.gather(self._processor, return_exceptions=True)
            await self._dispatcher.close()
        finally:
            self._closing.set_result(None)

    # -- helpers ----------------------------------------------------------------------------------------
    def _route(self, channel: str) -> str:
        return self._strategies.connection_strategy.route(channel)

    def _at(self, route: str) -> WebSocketStrategySet:
        return self._strategies.at(route)

    def _start_shards(self) -> list[Shard]:
        """Start the shards that the placement has opened."""
        started = []
        for number, desired in self._placement.shards.items():
            if number not in self._shards:
                self._shards[number] = shard = Shard(
                    number,
                    self._shared,
                    partial(self._at, self._placement.routes[number]),
                    desired,
                    sink=self._sink,
                    handover=self._handover,
                    delivered=self._delivered,
                    proven=self._proven,
                )
                shard.start()
                started.append(shard)
        return started

    def _carriers(
        self, symbols: Iterable[object], channels: Sequence[str] | None
    ) -> list[tuple[Shard, list[Topic]]]:
        """The shards that have some of these topics, each with those that it has."""
        names = set(_names(symbols))
        carriers = []
        for shard in self._shards.values():
            topics = [t for t in shard.desired if t[0] in names and (not channels or t[1] in channels)]
            if topics:
                carriers.append((shard, topics))
        return carriers

    def _refused(self) -> dict[Topic, str]:
        return {
            topic: f"{ack.code}: {ack.message}"
            for shard in self._shards.values()
            if shard.connection is not None
            for topic, ack in shard.connection.topics.rejected.items()
        }

    def _known(self, symbols: Sequence[str], channels: Sequence[str]) -> None:
        """Raise KeyError for a symbol or channel that the venue does not know: as a desired topic it would
        fail every connection of its shard."""
        if self._closing is not None:
            raise NotConnected("this manager is closed")
        if symbols and channels:
            self._strategies.subscription_strategy.create_subscription_messages(
                SubscriptionAction.SUBSCRIBE, symbols, tuple(channels)
            )

    @staticmethod
    def _check(strategies: WebSocketStrategySet) -> None:
        """Raise ValueError for a reconnection policy that cannot be used: now, not at the first loss."""
        if (policy := strategies.connection_strategy.get_reconnection_policy()) is not None:
            Backoff(policy)

    def __repr__(self) -> str:
        return f"WebSocketManager(state={self.state.value}, shards={list(self._shards.values())})"


def _names(symbols: Iterable[object]) -> list[str]:
    return list(dict.fromkeys(map(str, symbols)))
