"""asyncio for a cursor: one thread sleeps on the futex without the GIL and rings the reader's own eventfd."""

from __future__ import annotations

import asyncio
import os
import threading
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shm.reader import Cursor

_SLICE = 0.25  # seconds; bounds how long a closing doorbell is waited for


class Doorbell:
    """Turns "there is something to poll" into a file descriptor that the running loop watches."""

    _thread: threading.Thread

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._fd = -1
        self._asked = threading.Event()
        self._closing = False
        self._running = True
        self._ended = False  # as the loop has seen it
        self._error: Exception | None = None

    async def __aenter__(self) -> Doorbell:
        self._loop = asyncio.get_running_loop()
        self._rung = asyncio.Event()
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._loop.add_reader(self._fd, self._on_ring)
        self._thread = threading.Thread(target=self._watch, name="tickring-doorbell", daemon=True)
        self._thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._asked.set()
        try:
            while not self._ended:
                self._rung.clear()
                await self._rung.wait()
        finally:
            self._thread.join()  # it has ended; but after a second cancellation this takes up to `_SLICE`
            self._loop.remove_reader(self._fd)
            os.close(self._fd)

    async def rung(self) -> None:
        """Returns once the cursor has something, or now and then without (the caller polls again)."""
        if self._error is not None:
            raise self._error
        self._rung.clear()
        self._asked.set()
        await self._rung.wait()

    def _on_ring(self) -> None:
        os.eventfd_read(self._fd)
        self._ended = not self._running
        self._rung.set()

    def _watch(self) -> None:
        try:
            while True:
                self._asked.wait()
                self._asked.clear()
                if self._closing:
                    return
                # The loop does not touch the cursor while it awaits, so the thread may.
                self._cursor.wait(_SLICE)
                os.eventfd_write(self._fd, 1)
        except Exception as error:  # the loop's side raises it
            self._error = error
        finally:
            self._running = False
            os.eventfd_write(self._fd, 1)
