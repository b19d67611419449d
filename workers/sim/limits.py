"""Binance's REST limits: request weight per minute and IP (429, then a ban with 418), and new orders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple


class Verdict(NamedTuple):
    """HTTP `status` (200, 429, 418), `used` weight in this minute, `retry_after` in seconds (0 with 200)."""

    status: int
    used: int
    retry_after: int


class Budget:
    """The weight limit of one IP, in fixed windows of a minute (``X-MBX-USED-WEIGHT-1M``).

    Args:
        clock: seconds; windows begin at multiples of 60.
        limit: weight per minute.
        refusals_before_ban: requests answered with 429 before the IP is banned.
        ban: seconds of the ban; every request during it starts it again.
    """

    def __init__(
        self, clock: Callable[[], float], limit: int = 6000, refusals_before_ban: int = 10, ban: int = 120
    ) -> None:
        self._clock = clock
        self.limit, self.refusals_before_ban, self.ban = limit, refusals_before_ban, ban
        self.used = 0
        self._window = -1
        self._refused = 0
        self._banned_until = 0.0

    def __repr__(self) -> str:
        return f"<Budget {self.used}/{self.limit}>"

    def spend(self, weight: int) -> Verdict:
        """Count a request's weight, also if it is refused, and decide about it."""
        now = self._clock()
        window = int(now // 60)
        if window != self._window:
            self._window, self.used, self._refused = window, 0, 0
        self.used += weight
        if now < self._banned_until:
            self._banned_until = now + self.ban
            return Verdict(418, self.used, self.ban)
        if self.used <= self.limit:
            return Verdict(200, self.used, 0)
        self._refused += 1
        if self._refused > self.refusals_before_ban:
            self._banned_until = now + self.ban
            return Verdict(418, self.used, self.ban)
        return Verdict(429, self.used, max(1, int((window + 1) * 60 - now)))


Window = tuple[str, int, int, str]


class OrderCount:
    """The limits of new orders of one account, in fixed windows.

    Args:
        clock: seconds.
        windows: of each limit: name, seconds, orders, and its text in the venue's error message.
    """

    SPOT: tuple[Window, ...] = (
        ("10S", 10, 100, "100 orders per 10 SECOND"),
        ("1D", 86_400, 200_000, "200000 orders per 1 DAY"),
    )

    def __init__(self, clock: Callable[[], float], windows: Sequence[Window] = SPOT) -> None:
        self._clock = clock
        self._windows = windows
        self._used: dict[str, tuple[int, int]] = {}

    def take(self) -> str:
        """Count one order; the text of the limit that it exceeds, or empty."""
        now, broken = self._clock(), ""
        for name, seconds, limit, text in self._windows:
            window = int(now // seconds)
            before, used = self._used.get(name, (window, 0))
            used = used + 1 if before == window else 1
            self._used[name] = (window, used)
            if used > limit:
                broken = broken or text
        return broken

    def headers(self) -> dict[str, str]:
        """The headers ``X-MBX-ORDER-COUNT-…`` with the orders counted so far."""
        return {f"X-MBX-ORDER-COUNT-{name}": str(self._used[name][1]) for name, *_ in self._windows}
