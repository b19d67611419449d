"""The manager's two handlers: cold messages through one bounded queue, connection events in place."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from workers.strategies import (
    DATA_TYPES,
    ConnectionEvent,
    MessageParser,
    MessageType,
    ParsedMessage,
    WebSocketManagerConfig,
)
from workers.websocket.tally import Tally

MessageHandler = Callable[[ParsedMessage], Awaitable[None] | None]
ConnectionHandler = Callable[[ConnectionEvent], Awaitable[None] | None]


class Source(Protocol):
    """A connection, as far as its messages care."""

    parser: MessageParser
    queued: int  # messages of this connection that wait or are being handled

    def proved(self, message: ParsedMessage) -> None:
        """A data message of this connection has been handled without an error."""

    def remarked(self, data: bytes) -> None:
        """A message of this connection is no data."""


class Dispatcher:
    """Hands queued messages to `message_handler` in order, one batch a turn of the loop, and events to
    `connection_handler` synchronously. What a handler raises is counted and ends nothing.

    Each message remembers its connection, so that what an earlier one left in the queue proves nothing of
    the present one.
    """

    def __init__(
        self,
        config: WebSocketManagerConfig,
        message_handler: MessageHandler,
        connection_handler: ConnectionHandler,
        tally: Tally,
    ) -> None:
        self._queue: deque[tuple[Source, bytes, int]] = deque()
        self._pending = asyncio.Event()
        self._bound = config.max_pending_messages
        self._batch = config.batch_size if config.batch_processing_enabled else 1
        self._message_handler = message_handler
        self._connection_handler = connection_handler
        self._tally = tally
        self._tasks: set[asyncio.Future[Any]] = set()

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, source: Source, data: bytes, received: int, *, held: bool = False) -> bool:
        """Queue one message; False: the queue is full, it is dropped and counted. What was `held` back has
        passed a bound of its own."""
        if len(self._queue) >= self._bound and not held:
            self._tally.dropped += 1
            return False
        source.queued += 1
        self._queue.append((source, data, received))
        self._pending.set()
        return True

    async def run(self) -> None:
        """The processor; lives until cancelled."""
        while True:
            await self._pending.wait()
            self._pending.clear()
            while self._queue:
                for _ in range(min(self._batch, len(self._queue))):
                    source, data, received = self._queue.popleft()
                    await self._handle(source, data, received)
                    source.queued -= 1
                await asyncio.sleep(0)

    async def _handle(self, source: Source, data: bytes, received: int) -> None:
        started = time.perf_counter_ns()
        try:
            message = source.parser.parse(data, received)
            if message.message_type not in DATA_TYPES:
                source.remarked(data)
        except Exception:
            self._tally.parse_errors += 1
            return
        try:
            result = self._message_handler(message)
            if inspect.isawaitable(result):
                await result
        except Exception:
            self._tally.handler_errors += 1
            return
        finally:
            self._tally.handled(time.perf_counter_ns() - started)
        if message.message_type is MessageType.ORDERBOOK:
            self._tally.orderbook_updates += 1
        if message.message_type in DATA_TYPES:
            source.proved(message)

    def report(self, event: ConnectionEvent) -> None:
        """Tell the connection handler, now; a coroutine it returns runs on its own."""
        try:
            result = self._connection_handler(event)
            if inspect.isawaitable(result):
                task = asyncio.ensure_future(result)
                self._tasks.add(task)
                task.add_done_callback(self._done)
        except Exception:
            self._tally.handler_errors += 1

    def _done(self, task: asyncio.Future[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._tally.handler_errors += 1

    async def close(self) -> None:
        """End what connection handlers left running."""
        left = list(self._tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
