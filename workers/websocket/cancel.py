"""Distinguishing the cancellation of the present task from a CancelledError raised by what it called."""

from __future__ import annotations

import asyncio


def meant_for_us(error: BaseException) -> bool:
    """Whether `error` is the CancelledError with which the present task is being cancelled.

    A handler or strategy that awaits a cancelled task of its own raises CancelledError too: that is an error
    of its own, and must not end the loop that called it.
    """
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
