"""The manager's two handlers: cold messages through a bounded queue, connection events in place."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from workers.strategies import (
    DATA_TYPES,
    ConnectionEvent,
    MessageParser,
    MessageType,
    ParsedMessage,
    WebSocketManagerConfig,
)
from workers.tally import Tally

MessageHandler = Callable[[ParsedMessage], Awaitable[None] | None]
ConnectionHandler = Callable[[ConnectionEvent], Awaitable[None] | None]


class Dispatcher:
    """Hands queued messages to `message_handler` in order, one batch a turn of the loop, and events to
    `connection_handler` synchronously. What a handler raises is counted and ends nothing.

    Attributes:
        parser: decodes; may be replaced between connections.
        queue: filled by the listener, bounded there; `pending.set` wakes the processor.
        opened_ns: when the present connection was dialled: older messages prove nothing of it.
    """

    def __init__(
        self,
        config: WebSocketManagerConfig,
        parser: MessageParser,
        message_handler: MessageHandler,
        connection_handler: ConnectionHandler,
        tally: Tally,
    ) -> None:
        self.parser = parser
        self.queue: deque[tuple[bytes, int]] = deque()
        self.pending = asyncio.Event()
        self.opened_ns = 0
        self._batch = config.batch_size if config.batch_processing_enabled else 1
        self._message_handler = message_handler
        self._connection_handler = connection_handler
        self._tally = tally
        self._tasks: set[asyncio.Future[Any]] = set()

    async def run(self) -> None:
        """The processor; lives until cancelled."""
        while True:
            await self.pending.wait()
            self.pending.clear()
            while self.queue:
                for _ in range(min(self._batch, len(self.queue))):
                    await self._handle(*self.queue.popleft())
                await asyncio.sleep(0)

    async def _handle(self, data: bytes, received: int) -> None:
        started = time.perf_counter_ns()
        try:
            message = self.parser.parse(data, received)
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
        if message.message_type in DATA_TYPES and received >= self.opened_ns:
            self._tally.data_of_connection += 1

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
