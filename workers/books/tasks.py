"""Running coroutines by key, at most one a key."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any


class Tasks:
    """The tasks of one part of the book manager, by slot index, or `NO_INSTRUMENT` for one that works for
    all instruments. A task that has ended is forgotten.

    Args:
        on_end: called with each task that has ended, or was cancelled, and its key.
    """

    def __init__(self, on_end: Callable[[asyncio.Task[None], int], None]) -> None:
        self._on_end = on_end
        self._running: dict[int, asyncio.Task[None]] = {}

    def start(self, key: int, work: Coroutine[Any, Any, None], *, replace: bool = False) -> None:
        """Run `work`, unless a task of that key is running; with `replace` that one is cancelled instead."""
        if key in self._running:
            if not replace:
                work.close()
                return
            self.cancel(key)
        task = asyncio.get_running_loop().create_task(work)
        self._running[key] = task
        task.add_done_callback(lambda done: self._done(key, done))

    def cancel(self, key: int) -> None:
        """Cancel the task of that key, if there is one; a task does not cancel itself."""
        task = self._running.pop(key, None)
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    def __contains__(self, key: int) -> bool:
        return key in self._running

    def __len__(self) -> int:
        return len(self._running)

    def _done(self, key: int, task: asyncio.Task[None]) -> None:
        if self._running.get(key) is task:
            del self._running[key]
        self._on_end(task, key)

    @staticmethod
    async def close(those: Iterable[Tasks]) -> None:
        """Cancel everything that is running, and wait for its end."""
        running = [task for tasks in those for task in tasks._running.values()]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
