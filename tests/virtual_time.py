"""An event loop whose clock jumps to the next timer instead of waiting, so that hours take seconds and every
time is exact."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any


class _Selector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if self.loop.grace:
            ready = super().select(self.loop.grace if timeout is None else min(timeout, self.loop.grace))
        if not ready:
            if timeout is None:
                raise RuntimeError("nothing will ever happen again: the program hangs")
            self.loop.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """When nothing is ready, the clock jumps to the next timer. When there is no timer either, the program
    hangs, and that is a RuntimeError.

    Args:
        grace: seconds of real time that sockets are waited for before the clock jumps; 0: there are none.
    """

    def __init__(self, grace: float = 0.0) -> None:
        selector = _Selector()
        selector.loop = self
        self.now = 1000.0
        self.grace = grace
        super().__init__(selector)

    def time(self) -> float:
        return self.now
