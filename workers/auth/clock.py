"""The time that is signed: the venue's, as well as it can be known from here.

A venue refuses a timestamp that is too old or too far in the future by *its* clock. So the time that is
signed is our monotonic clock plus an offset. At first the offset is the wall clock's, read once at the
start; from the first answer on it is learnt from the venue. The wall clock is never read again: a step of
it (NTP, a leap second, an administrator) changes nothing that is signed.

What one answer proves (Cristian 1989): the venue read its clock after we sent and before we received, so

    server_ms - t_received  <=  offset  <  server_ms + 1 - t_sent

and the middle is wrong by half the round trip at most, however the two ways share it. The answer with the
smallest round trip among the latest ones proves most, and is the one believed.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple


class Bounds(NamedTuple):
    """What one answer proves: `low` <= offset < `high`, ms; `at`: monotonic ms of its arrival."""

    low: float
    high: float
    at: float

    @property
    def middle(self) -> float:
        return (self.low + self.high) / 2

    @property
    def width(self) -> float:
        return self.high - self.low


class VenueClock:
    """`now_ms()` is the venue's time; `learn()` from its answers, `distrust()` after it refused ours.

    Corrections up to `step_above` are slewed, so that what is signed does not run backwards because of
    jitter; larger ones are real and made at once. A timestamp is never further in the venue's future than
    `tolerance_ms`, by what the believed answer proves.

    Args:
        clock: monotonic seconds. wall: seconds since 1970, read once, here.
        tolerance_ms: how far in the future the venue accepts a timestamp (`ServerTime.tolerance_ms`).
        window: how many answers are compared; max_age: seconds after which one proves nothing any more,
            because the two clocks drift (50 ppm are 30 ms in 10 minutes).
        step_above: ms. slew: how much of the time that passes may be corrected, 0.05 are 50 ms a second.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        *,
        tolerance_ms: float = 1000.0,
        window: int = 8,
        max_age: float = 600.0,
        step_above: float = 50.0,
        slew: float = 0.05,
    ) -> None:
        if not 0.0 < slew < 1.0:
            raise ValueError(f"slew must lie between 0 and 1, not {slew}: time must not stand still")
        self._clock = clock
        self._tolerance = tolerance_ms
        self._max_age = max_age * 1000.0
        self._step_above = step_above
        self._slew = slew
        self._samples: deque[Bounds] = deque(maxlen=window)
        self._best: Bounds | None = None
        now = clock() * 1000.0
        self._target = self._offset = wall() * 1000.0 - now
        self._slewed_at = now

    def now_ms(self) -> int:
        """The venue's time, ms since 1970."""
        now = self._clock() * 1000.0
        if self._offset != self._target:
            self._approach(now)
        return int(now + self._offset)

    def learn(self, sent: float, server_ms: int, received: float) -> None:
        """One answer: monotonic seconds before sending and after receiving, the venue's time in between.

        Raises ValueError when it was received before it was sent.
        """
        if received < sent:
            raise ValueError(f"an answer received at {received} cannot be to a question sent at {sent}")
        now = received * 1000.0
        self._approach(now)
        self._samples.append(Bounds(server_ms - now, server_ms + 1 - sent * 1000.0, now))
        while now - self._samples[0].at > self._max_age:
            self._samples.popleft()
        first = self._best is None
        best = self._best = min(reversed(self._samples), key=lambda sample: sample.width)
        # The offset is `low` at least; what is signed is `tolerance` above it at most.
        highest = best.low + self._tolerance
        self._target = min(best.middle, highest)
        if first or abs(self._target - self._offset) > self._step_above:
            self._offset = self._target
        self._offset = min(self._offset, highest)

    def distrust(self) -> None:
        """The venue refused our time: what was learnt is wrong (it stepped, or this machine slept), and the
        next answer alone is believed."""
        self._samples.clear()
        self._best = None

    @property
    def offset_ms(self) -> float:
        """The venue's time minus our monotonic clock, as believed; what is signed may still approach it."""
        return self._target

    @property
    def uncertainty_ms(self) -> float | None:
        """How wrong `offset_ms` can be; None: nothing was learnt."""
        if self._best is None:
            return None
        return max(self._best.high - self._target, self._target - self._best.low)

    def _approach(self, now: float) -> None:
        most = self._slew * max(0.0, now - self._slewed_at)
        self._slewed_at = max(self._slewed_at, now)
        self._offset += max(-most, min(most, self._target - self._offset))

    def __repr__(self) -> str:
        known = "not learnt" if self._best is None else f"+-{self.uncertainty_ms:.1f} ms"
        return f"VenueClock(offset={self._target:.1f} ms, {known}, {len(self._samples)} samples)"
