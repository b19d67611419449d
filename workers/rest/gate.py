"""Who may send next: one queue for everything that a request can wait for.

A request passes the gate once for each attempt, and needs two things for it: one of the `slots` (attempts in
flight) and a permit of the rate limiter. Those who cannot have both at once wait here, those who back off
before a retry too, so that nobody occupies a slot without using it:

1. The more urgent comes first (`Priority`), then who arrived first; a retry keeps its place.
2. Who waits for a permit holds back the later ones of the same priority, but less urgent ones may pass: they
   are limited otherwise, or the limiter keeps a reserve. `PASSED` times at most; then they wait as well.
3. A request that cannot have a permit in time is refused at once, not when its time is over.

Nothing here runs while nobody waits; while somebody does there is one timer, for whatever is due next.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from workers.contract.rest import Priority

PASSED = 32  # less urgent ones that may pass one who waits for a permit
MIN_WAIT = 0.001  # seconds; a limiter whose wait is a rounding error above 0 must not make the loop spin


class Entrant(Protocol):
    """A request as the gate sees it. `order` counts up with each request: its place in the queue."""

    priority: Priority
    order: int

    def ask(self, now: float) -> float:
        """Ask for a permit: 0.0: granted and booked, else seconds after which to ask again."""
        ...

    def give_back(self, now: float) -> None:
        """The permit is not needed any more."""
        ...


class Denied(Exception):
    """Not within the time given. `wait`: seconds until a permit could be had; 0.0: no slot was free."""

    def __init__(self, wait: float) -> None:
        super().__init__(wait)
        self.wait = wait


class Shut(Exception):
    """The gate was shut while the request waited, or before it came."""


class _Waiter:
    __slots__ = ("entrant", "future", "passed", "until", "wait")

    def __init__(self, entrant: Entrant, until: float, future: asyncio.Future[None]) -> None:
        self.entrant = entrant
        self.until = until
        self.future = future
        self.passed = 0  # by less urgent ones
        self.wait = 0.0  # the limiter's last answer

    def __lt__(self, other: _Waiter) -> bool:
        return self.entrant.order < other.entrant.order


class Gate:
    """Lets attempts out: the most urgent first, each with a slot and a permit.

    Args:
        slots: attempts in flight.
        clock: monotonic seconds; sleep: on the same time.
    """

    def __init__(
        self, slots: int, clock: Callable[[], float], sleep: Callable[[float], Awaitable[Any]]
    ) -> None:
        self.slots = slots
        self.taken = 0
        self.waiting = 0
        self._clock = clock
        self._sleep = sleep
        self._shut = False
        self._lanes: tuple[list[_Waiter], ...] = tuple([] for _ in Priority)
        self._later: list[tuple[float, _Waiter]] = []  # (from when on, who): backing off
        self._untils: list[tuple[float, _Waiter]] = []
        self._alarm: asyncio.Future[None] | None = None
        self._alarm_at = math.inf

    def enter_now(self, entrant: Entrant) -> bool:
        """Slot and permit without waiting, when nobody waits; else False and nothing is booked."""
        if self.waiting or self.taken >= self.slots or self._shut or entrant.ask(self._clock()) > 0.0:
            return False
        self.taken += 1
        return True

    async def enter(self, entrant: Entrant, until: float, delay: float = 0.0) -> None:
        """Slot and permit, after `delay` seconds at the earliest.

        Raises:
            Denied: not before `until`. Shut: never again. And what `entrant.ask` raises.
        """
        if self._shut:
            raise Shut
        waiter = _Waiter(entrant, until, asyncio.get_running_loop().create_future())
        if delay > 0.0:
            heapq.heappush(self._later, (self._clock() + delay, waiter))
        else:
            heapq.heappush(self._lanes[entrant.priority], waiter)
        heapq.heappush(self._untils, (until, waiter))
        self.waiting += 1
        try:
            self._admit()
            await waiter.future
        except asyncio.CancelledError:
            if waiter.future.done() and not waiter.future.cancelled() and not waiter.future.exception():
                entrant.give_back(self._clock())  # cancelled in the turn between the grant and the start
                self._leave()
            else:
                self._admit()  # those behind it need not wait for what it waited for
            raise
        finally:
            self.waiting -= 1
            waiter.future.cancel()
            if not self.waiting:
                self._clear()

    def leave(self) -> None:
        """The attempt is over; its slot is free."""
        self._leave()

    def resize(self, slots: int) -> None:
        """So many attempts in flight from now on; those that are stay."""
        self.slots = slots
        self._admit()

    def shut(self) -> None:
        """Everybody who waits is sent away, and so is everybody who comes. Idempotent."""
        self._shut = True
        for _, waiter in self._untils:
            if not waiter.future.done():
                waiter.future.set_exception(Shut())
        self._clear()

    def __repr__(self) -> str:
        return (
            f"Gate({self.taken}/{self.slots} slots, waiting={self.waiting}{', shut' if self._shut else ''})"
        )

    # -- the queue ----------------------------------------------------------------------------------------
    def _leave(self) -> None:
        self.taken -= 1
        if self.waiting:
            self._admit()

    def _admit(self) -> None:
        """Let in who can be let in, send away whose time is over, set the alarm for what is due next."""
        now = self._clock()
        while self._later and self._later[0][0] <= now:
            waiter = heapq.heappop(self._later)[1]
            heapq.heappush(self._lanes[waiter.entrant.priority], waiter)
        due = self._later[0][0] if self._later else math.inf
        held: list[_Waiter] = []
        for lane in self._lanes:
            if all(waiter.passed < PASSED for waiter in held):  # rule 2
                due = min(due, self._admit_from(lane, held, now))
        while self._untils and (self._untils[0][0] <= now or self._untils[0][1].future.done()):
            waiter = heapq.heappop(self._untils)[1]
            if not waiter.future.done():
                waiter.future.set_exception(Denied(waiter.wait))
        self._set_alarm(min(due, self._untils[0][0]) if self._untils else due, now)

    def _admit_from(self, lane: list[_Waiter], held: list[_Waiter], now: float) -> float:
        """One priority's waiters, in order; answers when its first has to be asked about again."""
        while lane and self.taken < self.slots:
            waiter = lane[0]
            if not waiter.future.done():
                try:
                    waiter.wait = waiter.entrant.ask(now)
                except Exception as error:  # the limiter will never let this one pass
                    waiter.future.set_exception(error)
                    heapq.heappop(lane)
                    continue
                if waiter.wait <= 0.0:
                    self.taken += 1
                    waiter.future.set_result(None)
                    for each in held:
                        each.passed += 1
                    if any(each.passed >= PASSED for each in held):
                        heapq.heappop(lane)
                        return math.inf
                elif now + waiter.wait >= waiter.until:  # rule 3
                    waiter.future.set_exception(Denied(waiter.wait))
                else:
                    held.append(waiter)
                    return now + waiter.wait
            heapq.heappop(lane)
        return math.inf

    # -- the timer ----------------------------------------------------------------------------------------
    def _set_alarm(self, due: float, now: float) -> None:
        if due >= self._alarm_at:
            return  # it looks around earlier than it has to, and sets itself again
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = due
        self._alarm = asyncio.ensure_future(self._ring(max(due - now, MIN_WAIT)))

    async def _ring(self, seconds: float) -> None:
        await self._sleep(seconds)
        self._alarm, self._alarm_at = None, math.inf
        self._admit()

    def _clear(self) -> None:
        """Nobody waits: forget those who did."""
        for queue in (*self._lanes, self._later, self._untils):
            queue.clear()  # type: ignore[attr-defined]
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm, self._alarm_at = None, math.inf
