"""Default rate-limit and retry strategies: pure, the time is an argument and chance is injected."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from workers.errors import Action, BadRequest, RestError
from workers.strategies import HTTPMethod, Priority, RateLimitContext, RateLimitStrategy, RetryStrategy

Weigh = Callable[[HTTPMethod, str, Mapping[str, Any] | None], int]


def header(headers: Mapping[str, str], name: str) -> str | None:
    """A header by name, whatever its case."""
    value = headers.get(name)
    if value is not None:
        return value
    wanted = name.lower()
    return next((value for key, value in headers.items() if key.lower() == wanted), None)


def retry_after(headers: Mapping[str, str]) -> float:
    """`Retry-After` in seconds; 0.0 when it is absent or not a number of seconds."""
    try:
        return max(0.0, float(header(headers, "Retry-After") or 0.0))
    except ValueError:
        return 0.0


class WeightLimiter(RateLimitStrategy):
    """A weight budget per window, kept two ways, and a cooldown.

    1. Our own ledger: what we spent in any window of `per` seconds never exceeds `budget`.
    2. The venue's ledger (its used-weight header, all clients of our address): with it and what we
       spent since, `limit` is not exceeded either; a number it gave counts for `per` seconds.
    3. After 429/418 nothing goes out until `Retry-After` is over (or `cooldown`, `ban` when it is absent).

    Args:
        budget: weight that we may spend.
        limit: the venue's limit for the address.
        per: seconds of the window.
        weigh: (method, endpoint, params) -> weight.
        used_header: name of the venue's used-weight header, or None.
        cooldown, ban: seconds after a 429 and a 418 without `Retry-After`.
    """

    def __init__(
        self,
        budget: int,
        weigh: Weigh,
        *,
        limit: int | None = None,
        per: float = 60.0,
        used_header: str | None = None,
        cooldown: float = 10.0,
        ban: float = 120.0,
    ) -> None:
        self.budget = budget
        self.limit = budget if limit is None else limit
        self.per = per
        self.hits = 0
        self._weigh = weigh
        self._used_header = used_header
        self._cooldown = cooldown
        self._ban = ban
        self._spent: deque[tuple[float, int]] = deque()
        self._sum = 0
        self._blocked_until = 0.0
        self._venue_used = 0
        self._venue_at: float | None = None
        self._since_venue = 0

    def acquire(
        self,
        method: HTTPMethod,
        endpoint: str,
        params: Mapping[str, Any] | None,
        now: float,
        priority: Priority = Priority.QUERY,
    ) -> float:
        weight = self._weigh(method, endpoint, params)
        if weight > min(self.budget, self.limit):
            raise BadRequest(
                f"the request weighs {weight}, more than the whole budget of "
                f"{min(self.budget, self.limit)} in {self.per:g} s; ask for less or raise the budget",
                method=method.value,
                endpoint=endpoint,
            )
        if now < self._blocked_until:
            return self._blocked_until - now
        self._expire(now)
        wait = max(self._own_wait(weight, now), self._venue_wait(weight, now))
        if wait > 0:
            return wait
        self._spent.append((now, weight))
        self._sum += weight
        self._since_venue += weight
        return 0.0

    def release(self, method: HTTPMethod, endpoint: str, now: float) -> None:
        """Weight is spent for good; there is nothing to give back."""

    def observe(self, status: int, headers: Mapping[str, str], now: float) -> None:
        if status in (418, 429):
            self.hits += 1
            wait = retry_after(headers) or (self._ban if status == 418 else self._cooldown)
            self._blocked_until = max(self._blocked_until, now + wait)
        if self._used_header is None:
            return
        used = header(headers, self._used_header)
        if used is not None and used.isdigit():
            self._venue_used = int(used)
            self._venue_at = now
            self._since_venue = 0

    def context(self, endpoint: str) -> RateLimitContext:
        return RateLimitContext(
            requests_per_second=self.budget / self.per,
            burst_capacity=self.budget,
            endpoint_weight=self._weigh(HTTPMethod.GET, endpoint, None),
            cooldown_period=self._cooldown,
        )

    def blocked_for(self, now: float) -> float:
        """Seconds of cooldown left."""
        return max(0.0, self._blocked_until - now)

    def _expire(self, now: float) -> None:
        while self._spent and self._spent[0][0] + self.per <= now:
            self._sum -= self._spent.popleft()[1]

    def _own_wait(self, weight: int, now: float) -> float:
        excess = self._sum + weight - self.budget
        for at, spent in self._spent:
            if excess <= 0:
                break
            excess -= spent
            if excess <= 0:
                return at + self.per - now
        return 0.0

    def _venue_wait(self, weight: int, now: float) -> float:
        if self._venue_at is None or now - self._venue_at >= self.per:
            return 0.0
        if self._venue_used + self._since_venue + weight <= self.limit:
            return 0.0
        return self._venue_at + self.per - now

    def __repr__(self) -> str:
        return f"WeightLimiter(spent={self._sum}/{self.budget}, venue={self._venue_used}/{self.limit})"


class ExponentialRetry(RetryStrategy):
    """Retry what the error's action says can be retried: `base`, times `multiplier`, at most `cap` seconds,
    with `jitter` (a share) either way; never before the venue's `Retry-After`."""

    def __init__(
        self,
        attempts: int = 3,
        *,
        base: float = 1.0,
        multiplier: float = 2.0,
        cap: float = 30.0,
        jitter: float = 0.2,
        chance: Callable[[], float] = random.random,
    ) -> None:
        if attempts < 1 or base < 0 or multiplier < 1 or not 0 <= jitter <= 1:
            raise ValueError("needs attempts >= 1, base >= 0, multiplier >= 1 and 0 <= jitter <= 1")
        self.attempts = attempts
        self._base = base
        self._multiplier = multiplier
        self._cap = cap
        self._jitter = jitter
        self._chance = chance

    def should_retry(self, attempt: int, error: RestError) -> bool:
        return attempt < self.attempts and error.action in (Action.RETRY, Action.BACKOFF)

    def calculate_delay(self, attempt: int, error: RestError) -> float:
        delay = min(self._cap, self._base * self._multiplier ** min(attempt - 1, 64))
        jittered = delay * (1.0 + self._jitter * (2.0 * self._chance() - 1.0))
        return max(jittered, error.retry_after)

    def handle_rate_limit(self, headers: Mapping[str, str]) -> float:
        return retry_after(headers)
