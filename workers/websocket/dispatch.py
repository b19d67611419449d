"""The manager's two handlers: cold messages through one bounded queue, connection events in place."""

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

_MAYBE_DATA = DATA_TYPES | {MessageType.ERROR}  # what cannot be read may have been anything


class Source(Protocol):
    """A connection, as far as its messages care."""

    parser: MessageParser
    queued: int  # messages of this connection that wait or are being handled
    missed: bool  # something of it was dropped since its last message was queued

    def proved(self, message: ParsedMessage) -> None:
        """A data message of this connection has been handled without an error."""

    def remarked(self, data: bytes) -> None:
        """A message of this connection is no data."""

    def carries(self, symbol: str | None = None, kind: MessageType | None = None) -> tuple[Topic, ...]:
        """The topics that a message of this symbol and kind (None: any) may have been about."""
        ...


class Dispatcher:
    """Hands queued messages to `message_handler` in order, one batch a turn of the loop, and events to
    `connection_handler` synchronously. What a handler raises is counted and ends nothing.

    Each message remembers its connection, so that what an earlier one left in the queue proves nothing of
    the present one.

    Market data that got lost on its way (the queue is full, it cannot be read, its handler raised) is told to
    `on_missed` with the topics that it may have been about: a book whose updates have no ids cannot notice.
    What is dropped in a row is told once at once, and once more when all that was queued before it has been
    handled: a snapshot among that is older than the loss.

    What the parser or the handler of a message raises is told to `on_fault`, with the message.
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

    def put(self, source: Source, data: bytes, received: int, *, held: bool = False) -> bool:
        """Queue one message; False: the queue is full, it is dropped and counted. What was `held` back has
        passed a bound of its own."""
        if len(self._queue) >= self._bound and not held:
            self._stats.dropped += 1
            if self._on_missed is not None and not source.missed and maybe_data(source.parser, data):
                source.missed = True
                self._append(source, None, received)
                self.missed(source.carries())
            return False
        source.missed = False
        self._append(source, data, received)
        return True

    def _append(self, source: Source, data: bytes | None, received: int) -> None:
        source.queued += 1
        self._queue.append((source, data, received))
        self._pending.set()

    def missed(self, topics: Sequence[Topic]) -> None:
        """Data of these topics may be missing from here on."""
        if self._on_missed is None or not topics:
            return
        try:
            self._on_missed(topics)
        except (Exception, asyncio.CancelledError):
            self._stats.handler_errors += 1

    async def run(self) -> None:
        """The processor; lives until cancelled."""
        while True:
            await self._pending.wait()
            self._pending.clear()
            while self._queue:
                for _ in range(min(self._batch, len(self._queue))):
                    source, data, received = self._queue.popleft()
                    if data is None:
                        self.missed(source.carries())
                    else:
                        await self._handle(source, data, received)
                    source.queued -= 1
                await asyncio.sleep(0)

    async def _handle(self, source: Source, data: bytes, received: int) -> None:
        started = time.perf_counter_ns()
        try:
            message = source.parser.parse(data, received)
            if message.message_type not in DATA_TYPES:
                source.remarked(data)
        except (Exception, asyncio.CancelledError) as error:
            self._stats.parse_errors += 1
            self._fault(error, data)
            if maybe_data(source.parser, data):
                self.missed(source.carries())
            return
        if message.message_type is MessageType.ERROR:
            self.missed(source.carries(message.symbol))
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
                self.missed(source.carries(message.symbol, message.message_type))
            return
        finally:
            self._stats.message_handled(time.perf_counter_ns() - started)
        if message.message_type is MessageType.ORDERBOOK:
            self._stats.orderbook_updates += 1
        if message.message_type in DATA_TYPES:
            source.proved(message)

    def _fault(self, error: BaseException, data: bytes) -> None:
        if self._on_fault is None:
            return
        try:
            self._on_fault(error, data)
        except (Exception, asyncio.CancelledError):
            self._stats.handler_errors += 1

    def report(self, event: ConnectionEvent) -> None:
        """Tell the connection handler, now; a coroutine it returns runs on its own."""
        try:
            result = self._connection_handler(event)
            if inspect.isawaitable(result):
                task = asyncio.ensure_future(result)
                self._tasks.add(task)
                task.add_done_callback(self._done)
        except (Exception, asyncio.CancelledError):  # its own: nobody has waited here
            self._stats.handler_errors += 1

    def _done(self, task: asyncio.Future[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._stats.handler_errors += 1

    async def close(self) -> None:
        """End what connection handlers left running."""
        left = list(self._tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


def maybe_data(parser: MessageParser, data: bytes) -> bool:
    """Whether a message that is lost may have been market data."""
    try:
        return parser.classify(data) in _MAYBE_DATA
    except (Exception, asyncio.CancelledError):
        return True
