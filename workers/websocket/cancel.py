"""Whose CancelledError it is."""

from __future__ import annotations

import asyncio


def meant_for_us(error: BaseException) -> bool:
    """Whether `error` is the order to end this task.

    A handler or strategy that awaits a task of its own which was cancelled raises CancelledError too: that is
    an error of its own, and must not end the loop that called it.
    """
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
