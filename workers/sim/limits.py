"""The REST budget of an IP: weight a minute, 429 above it, a ban (418) for who goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple


class Verdict(NamedTuple):
    """`status` 200, 429 or 418; `used` weight this minute; `retry_after` whole seconds (0 on 200)."""

    status: int
    used: int
    retry_after: int


class Budget:
    """Fixed windows of a minute, as ``X-MBX-USED-WEIGHT-1M`` counts them.

    Args:
        clock: seconds; windows begin at multiples of 60.
        limit: weight a minute.
        patience: requests answered with 429 before the ban.
        ban: seconds of the ban; every further request during it starts it anew.
    """

    def __init__(
        self, clock: Callable[[], float], limit: int = 6000, patience: int = 10, ban: int = 120
    ) -> None:
        self._clock = clock
        self.limit, self.patience, self.ban = limit, patience, ban
        self.used = 0
        self._window = -1
        self._refused = 0
        self._banned_until = 0.0

    def __repr__(self) -> str:
        return f"<Budget {self.used}/{self.limit}>"

    def spend(self, weight: int) -> Verdict:
        """Ask for a request's weight; a refused request costs it too."""
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
        if self._refused > self.patience:
            self._banned_until = now + self.ban
            return Verdict(418, self.used, self.ban)
        return Verdict(429, self.used, max(1, int((window + 1) * 60 - now)))


Window = tuple[str, int, int, str]


class OrderCount:
    """New orders of one account, in fixed windows.

    Args:
        clock: seconds.
        windows: name, seconds, orders, and the venue's words for it.
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
        """Count one order; the limit that it breaks, in the venue's words, or nothing."""
        now, broken = self._clock(), ""
        for name, seconds, limit, words in self._windows:
            window = int(now // seconds)
            before, used = self._used.get(name, (window, 0))
            used = used + 1 if before == window else 1
            self._used[name] = (window, used)
            if used > limit:
                broken = broken or words
        return broken

    def headers(self) -> dict[str, str]:
        """``X-MBX-ORDER-COUNT-…``"""
        return {f"X-MBX-ORDER-COUNT-{name}": str(self._used[name][1]) for name, *_ in self._windows}
