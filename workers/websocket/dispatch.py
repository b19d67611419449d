"""Calls the manager's two handlers: messages through one bounded queue, connection events at once."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from workers.contract.protocols import (
    DATA_TYPES,
    ConnectionEvent,
    MessageParser,
    MessageType,
    ParsedMessage,
    WebSocketManagerConfig,
)
from workers.websocket.cancel import meant_for_us
from workers.websocket.stats import ConnectionStats
from workers.websocket.subscriptions import Topic

MessageHandler = Callable[[ParsedMessage], Awaitable[None] | None]
ConnectionHandler = Callable[[ConnectionEvent], Awaitable[None] | None]
MissedHandler = Callable[[Sequence[Topic]], object]
FaultHandler = Callable[[BaseException, bytes], object]

_MAYBE_DATA = DATA_TYPES | {
    MessageType.ERROR
}  # a message that cannot be classified may have been market data


class Source(Protocol):
    """What the dispatcher needs of the connection that a message came from."""

    parser: MessageParser
    queued: int  # its messages that wait for the handler or are in it
    missed: bool  # a message of it was dropped since the last one was queued

    def on_data(self, message: ParsedMessage) -> None:
        """A market-data message of it was handled without an error."""

    def on_control(self, data: bytes) -> None:
        """A message of it is no market data: an announcement, say."""

    def affected_topics(
        self, symbol: str | None = None, kind: MessageType | None = None
    ) -> tuple[Topic, ...]:
        """Its topics that a lost message of this symbol and kind (None: unknown) may have been about."""
        ...


class Dispatcher:
    """Hands queued messages to `message_handler` in order, one batch a turn of the event loop, and events to
    `connection_handler` synchronously. Exceptions of handlers are counted, and stop nothing.

    Each queued message keeps the connection that it came from: one that was replaced meanwhile must not count
    as data of its successor.

    Args:
        config: bound of the queue, size of a batch.
        message_handler, connection_handler: as of `WebSocketManager`.
        stats: counters to increment.
        on_missed: called with the topics of which market data may be lost, because the queue was full, the
            message could not be parsed or its handler raised: a book whose updates have no ids cannot find
            that out itself. For messages dropped in a row it is called at the first, and again when all that
            was queued before it has been handled, because a snapshot among that is older than the loss.
        on_fault: called with what a parser or message handler raised, and the message.
    """

    def __init__(
        self,
        config: WebSocketManagerConfig,
        message_handler: MessageHandler,
        connection_handler: ConnectionHandler,
        stats: ConnectionStats,
        on_missed: MissedHandler | None = None,
        on_fault: FaultHandler | None = None,
    ) -> None:
        self._queue: deque[tuple[Source, bytes | None, int]] = deque()  # None: the place of a loss
        self._pending = asyncio.Event()
        self._bound = config.max_pending_messages
        self._batch = config.batch_size if config.batch_processing_enabled else 1
        self._message_handler = message_handler
        self._connection_handler = connection_handler
        self._stats = stats
        self._on_missed = on_missed
        self._on_fault = on_fault
        self._tasks: set[asyncio.Future[Any]] = set()

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, source: Source, data: bytes, received: int, *, buffered: bool = False) -> bool:
        """Queue one message; returns False when the queue is full, so that it was dropped and counted.
        `buffered`: it comes from the buffer of a handover, which has its own bound; it is never dropped."""
        if len(self._queue) >= self._bound and not buffered:
            self._stats.dropped += 1
            if self._on_missed is not None and not source.missed and maybe_data(source.parser, data):
                source.missed = True
                self._append(source, None, received)
                self.missed(source.affected_topics())
            return False
        source.missed = False
        self._append(source, data, received)
        return True

    def _append(self, source: Source, data: bytes | None, received: int) -> None:
        source.queued += 1
        self._queue.append((source, data, received))
        self._pending.set()

    def missed(self, topics: Sequence[Topic]) -> None:
        """Report that market data of these topics may be missing from here on."""
        if self._on_missed is None or not topics:
            return
        try:
            self._on_missed(topics)
        except (Exception, asyncio.CancelledError):
            self._stats.handler_errors += 1

    async def run(self) -> None:
        """Handle queued messages until cancelled."""
        while True:
            await self._pending.wait()
            self._pending.clear()
            while self._queue:
                for _ in range(min(self._batch, len(self._queue))):
                    source, data, received = self._queue.popleft()
                    if data is None:
                        self.missed(source.affected_topics())
                    else:
                        await self._handle(source, data, received)
                    source.queued -= 1
                await asyncio.sleep(0)

    async def _handle(self, source: Source, data: bytes, received: int) -> None:
        started = time.perf_counter_ns()
        try:
            message = source.parser.parse(data, received)
            if message.message_type not in DATA_TYPES:
                source.on_control(data)
        except (Exception, asyncio.CancelledError) as error:
            self._stats.parse_errors += 1
            self._fault(error, data)
            if maybe_data(source.parser, data):
                self.missed(source.affected_topics())
            return
        if message.message_type is MessageType.ERROR:
            self.missed(source.affected_topics(message.symbol))
        try:
            result = self._message_handler(message)
            if inspect.isawaitable(result):
                await result
        except (Exception, asyncio.CancelledError) as error:
            if meant_for_us(error):
                raise
            self._stats.handler_errors += 1
            self._fault(error, data)
            if message.message_type in DATA_TYPES:
                self.missed(source.affected_topics(message.symbol, message.message_type))
            return
        finally:
            self._stats.message_handled(time.perf_counter_ns() - started)
        if message.message_type is MessageType.ORDERBOOK:
            self._stats.orderbook_updates += 1
        if message.message_type in DATA_TYPES:
            source.on_data(message)

    def _fault(self, error: BaseException, data: bytes) -> None:
        if self._on_fault is None:
            return
        try:
            self._on_fault(error, data)
        except (Exception, asyncio.CancelledError):
            self._stats.handler_errors += 1

    def report(self, event: ConnectionEvent) -> None:
        """Call the connection handler at once; a coroutine that it returns runs as a task."""
        try:
            result = self._connection_handler(event)
            if inspect.isawaitable(result):
                task = asyncio.ensure_future(result)
                self._tasks.add(task)
                task.add_done_callback(self._done)
        except (Exception, asyncio.CancelledError):  # no await here: it is the handler's own
            self._stats.handler_errors += 1

    def _done(self, task: asyncio.Future[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._stats.handler_errors += 1

    async def close(self) -> None:
        """Cancel tasks of connection handlers that are still running."""
        left = list(self._tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


def maybe_data(parser: MessageParser, data: bytes) -> bool:
    """Whether a lost message may have been market data."""
    try:
        return parser.classify(data) in _MAYBE_DATA
    except (Exception, asyncio.CancelledError):
        return True
