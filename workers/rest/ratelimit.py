"""Permits: how much may be asked of a venue, and when. Pure: the time is an argument.

`WindowLimiter` is for venues that count what was spent in windows (weight a minute, orders in 10 s and a
day), `BucketLimiter` for those that state a rate and a burst. Rules, each with a test of its number:

1. What we spend never exceeds a window's `budget` in *any* span of its length, by our own bookings.
2. A request is booked in all windows that it weighs in, or in none.
3. The venue's own count (a header; all clients of our address or account) is respected too: with it and what
   we have booked since, `limit` is not exceeded. It counts until a newer one comes or `trusted_for` is over.
4. An answer does not undo what was booked after its request was sent (or up to `margin` before: requests may
   overtake one another). A smaller count than the last is believed if its request was sent after that one had
   come in. Once nothing is in flight and all were answered with a count, the count is exact.
5. After 429 or 418 nothing goes out until `Retry-After` is over (or `cooldown`, `ban`, when it is absent).
   A 429 that names the windows that are used up stops only what weighs in those: who has no orders left
   can still cancel.
6. The less urgent leaves a reserve to the more urgent: a class may fill its share of each window and no more.
   Whoever is heavier than its share gets through once our own bookings have expired; whoever is heavier than
   the whole is refused at once, as waiting cannot help.
7. Memory is bounded: a window's bookings take `SLOTS` + 1 entries at most, whatever its length; it may count
   a booking for `per / SLOTS` too long, never too short.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workers.contract.errors import BadRequest
from workers.contract.headers import retry_after
from workers.contract.protocols import RateLimitStrategy
from workers.contract.rest import Priority, RateLimitContext
from workers.contract.types import HTTPMethod
from workers.rest.quota import Quota, Weigh, Window, one

__all__ = ["SHARES", "BucketLimiter", "Weigh", "Window", "WindowLimiter", "one"]

# A wait is never shorter: no timer is finer, and a loop that sleeps as long as it is asked to makes progress.
SHORTEST_WAIT = 0.001
DIGITS = 18  # of a venue's count; what has more is none

# Rule 6: cancelling may use all, and there is always something left for it.
SHARES: Mapping[Priority, float] = {
    Priority.CANCEL: 1.0,
    Priority.NEW: 0.95,
    Priority.QUERY: 0.9,
    Priority.SNAPSHOT: 0.85,
    Priority.BACKGROUND: 0.5,
}


def _checked(shares: Mapping[Priority, float]) -> dict[Priority, float]:
    """All priorities, none with more than a more urgent one."""
    table = {priority: shares.get(priority, SHARES[priority]) for priority in Priority}
    ordered = [table[priority] for priority in Priority]
    if not all(0 < share <= 1 for share in ordered) or ordered != sorted(ordered, reverse=True):
        raise ValueError(f"shares are above 0, at most 1, and never more for the less urgent, not {table}")
    return table


def _permit(wait: float) -> float:
    return 0.0 if wait <= 0.0 else max(wait, SHORTEST_WAIT)


class _Cooldown:
    """Rule 5, for everything."""

    __slots__ = ("_after_418", "_after_429", "hits", "until")

    def __init__(self, after_429: float, after_418: float) -> None:
        self.hits = 0
        self.until = float("-inf")
        self._after_429 = after_429
        self._after_418 = after_418

    def asked(self, status: int, headers: Mapping[str, str]) -> float:
        """Seconds that this answer asks to wait; 0.0 when it is no 429 and no 418."""
        if status not in (418, 429):
            return 0.0
        self.hits += 1
        return retry_after(headers) or (self._after_418 if status == 418 else self._after_429)

    def begin(self, until: float) -> None:
        """Until then; a shorter one does not shorten a longer one."""
        self.until = max(self.until, until)

    def left(self, now: float) -> float:
        return max(0.0, self.until - now)


class WindowLimiter(RateLimitStrategy):
    """Several windows at once, the venue's own counts, a cooldown and shares by priority.

    Args:
        windows: at least one; each name once.
        cooldown, ban: seconds after a 429 and a 418 without `Retry-After`.
        shares: priority -> the share of each window that it may fill (rule 6); those not named: `SHARES`.
    """

    def __init__(
        self,
        windows: Sequence[Window],
        *,
        cooldown: float = 10.0,
        ban: float = 120.0,
        shares: Mapping[Priority, float] = SHARES,
    ) -> None:
        if not windows or len({window.name for window in windows}) != len(windows):
            raise ValueError(f"needs a window or more, each with a name of its own, not {list(windows)}")
        self.windows = tuple(windows)
        self._shares = _checked(shares)
        self._quotas = tuple(Quota(window) for window in windows)
        self._counted = {quota.window.used_header.lower(): quota for quota in self._quotas}
        self._counted.pop("", None)
        self._cooldown = _Cooldown(cooldown, ban)
        self._after_429 = cooldown
        self._in_flight = 0
        self._unanswered = 0  # granted and not observed, since nothing was in flight

    @property
    def hits(self) -> int:
        """Answers with 429 or 418."""
        return self._cooldown.hits

    def acquire(
        self,
        method: HTTPMethod,
        endpoint: str,
        params: Mapping[str, Any] | None,
        now: float,
        priority: Priority = Priority.QUERY,
    ) -> float:
        wait = self._cooldown.left(now)
        share = self._shares[priority]
        weighed: list[tuple[Quota, int]] = []
        for quota in self._quotas:
            weight = quota.window.weigh(method, endpoint, params)
            if not weight:
                continue
            if weight > quota.window.whole:
                raise BadRequest(
                    f"the request weighs {weight}, more than the whole budget of {quota.window.whole} in "
                    f"{quota.window.per:g} s ({quota.window.name}); ask for less or raise the budget",
                    method=method.value,
                    endpoint=endpoint,
                    sent=False,
                )
            wait = max(wait, quota.wait(weight, share, now, self._in_flight))
            weighed.append((quota, weight))
        if wait <= 0.0:
            self._in_flight += 1
            self._unanswered += 1
            for quota, weight in weighed:  # rule 2
                quota.book(weight, now)
        return _permit(wait)

    def release(self, method: HTTPMethod, endpoint: str, now: float) -> None:
        """One request that had a permit is over. Weight is spent for good, there is none to give back."""
        self._in_flight = max(0, self._in_flight - 1)
        if self._in_flight:
            return
        if not self._unanswered:
            for quota in self._quotas:
                quota.settle()
        self._unanswered = 0

    def observe(self, status: int, headers: Mapping[str, str], now: float, sent: float | None = None) -> None:
        self._unanswered -= 1
        used_up = self._resync(headers, now, sent)
        wait = self._cooldown.asked(status, headers)
        if not wait:
            return
        if status == 429 and used_up:
            for quota in used_up:
                quota.blocked_until = max(quota.blocked_until, now + wait)
        else:
            self._cooldown.begin(now + wait)

    def context(self, endpoint: str) -> RateLimitContext:
        tightest = min(self.windows, key=lambda window: window.whole / window.per)
        return RateLimitContext(
            requests_per_second=tightest.whole / tightest.per,
            burst_capacity=min(window.whole for window in self.windows),
            endpoint_weight=self.windows[0].weigh(HTTPMethod.GET, endpoint, None),
            cooldown_period=self._after_429,
        )

    def blocked_for(self, now: float) -> float:
        """Seconds for which nothing at all may be sent."""
        return self._cooldown.left(now)

    def _resync(self, headers: Mapping[str, str], now: float, sent: float | None) -> list[Quota]:
        """Rules 3 and 4; the windows that are used up by the venue's word."""
        used_up = []
        if self._counted:
            for name, value in headers.items():
                quota = self._counted.get(name.lower())
                if quota is not None and value.isdecimal() and len(value) <= DIGITS:
                    used = int(value)
                    quota.resync(used, sent, now)
                    if used >= quota.window.limit:
                        used_up.append(quota)
        return used_up

    def __repr__(self) -> str:
        return f"WindowLimiter({'; '.join(map(repr, self._quotas))}; hits={self.hits})"


class _Bucket:
    """`burst` at once, then `rate` a second."""

    __slots__ = ("_at", "burst", "rate", "tokens")

    def __init__(self, context: RateLimitContext) -> None:
        if context.requests_per_second <= 0 or context.burst_capacity < 1 or context.cooldown_period < 0:
            raise ValueError(
                f"{context}: needs requests_per_second > 0, burst_capacity >= 1 and cooldown_period >= 0"
            )
        self.rate = context.requests_per_second
        self.burst = float(context.burst_capacity)
        self.tokens = self.burst
        self._at: float | None = None

    def wait(self, weight: int, share: float, now: float) -> float:
        if self._at is not None:
            self.tokens = min(self.burst, self.tokens + max(0.0, now - self._at) * self.rate)
        self._at = now
        # Rule 6: the reserve stays, unless one is heavier than its share; then only a full bucket will do.
        needed = min(self.burst, weight + (1.0 - share) * self.burst)
        # Sums of floats fall a hair short; a billionth of a token is nobody's loss.
        return 0.0 if self.tokens >= needed - 1e-9 else (needed - self.tokens) / self.rate


class BucketLimiter(RateLimitStrategy):
    """Token buckets: one for all requests, and one for each endpoint that has a limit of its own.

    Args:
        everything: the bucket for all requests; a request takes `global_weight` of its endpoint's context.
        endpoints: endpoint -> its bucket, of which a request takes `endpoint_weight`. A key also stands
            for what is below it: "/orders" for "/orders/17", unless a longer key fits.
        ban: seconds after a 418 without `Retry-After`; after a 429 it is the longest `cooldown_period`.
        shares: priority -> the share of each bucket that it may empty (rule 6); those not named: `SHARES`.
    """

    def __init__(
        self,
        everything: RateLimitContext,
        endpoints: Mapping[str, RateLimitContext] | None = None,
        *,
        ban: float = 120.0,
        shares: Mapping[Priority, float] = SHARES,
    ) -> None:
        self._everything = everything
        self._contexts = dict(endpoints or {})
        self._shares = _checked(shares)
        self._whole = _Bucket(everything)
        self._buckets = {endpoint: _Bucket(context) for endpoint, context in self._contexts.items()}
        self._longest_first = sorted(self._contexts, key=len, reverse=True)
        self._cooldown = _Cooldown(
            max(each.cooldown_period for each in (everything, *self._contexts.values())), ban
        )

    @property
    def hits(self) -> int:
        """Answers with 429 or 418."""
        return self._cooldown.hits

    def acquire(
        self,
        method: HTTPMethod,
        endpoint: str,
        params: Mapping[str, Any] | None,
        now: float,
        priority: Priority = Priority.QUERY,
    ) -> float:
        key = self._key(endpoint)
        context = self._everything if key is None else self._contexts[key]
        taken = [(self._whole, context.global_weight)]
        if key is not None:
            taken.append((self._buckets[key], context.endpoint_weight))
        wait = self._cooldown.left(now)
        for bucket, weight in taken:
            if weight > bucket.burst:
                raise BadRequest(
                    f"the request weighs {weight}, more than the whole burst of {bucket.burst:g}; raise "
                    "burst_capacity or lower the weight",
                    method=method.value,
                    endpoint=endpoint,
                    sent=False,
                )
            wait = max(wait, bucket.wait(weight, self._shares[priority], now))
        if wait <= 0.0:
            for bucket, weight in taken:  # rule 2
                bucket.tokens -= weight
        return _permit(wait)

    def release(self, method: HTTPMethod, endpoint: str, now: float) -> None:
        """What is spent comes back with time alone."""

    def observe(self, status: int, headers: Mapping[str, str], now: float, sent: float | None = None) -> None:
        if wait := self._cooldown.asked(status, headers):
            self._cooldown.begin(now + wait)

    def context(self, endpoint: str) -> RateLimitContext:
        key = self._key(endpoint)
        return self._everything if key is None else self._contexts[key]

    def blocked_for(self, now: float) -> float:
        """Seconds for which nothing at all may be sent."""
        return self._cooldown.left(now)

    def _key(self, endpoint: str) -> str | None:
        if endpoint in self._contexts:
            return endpoint
        return next((key for key in self._longest_first if endpoint.startswith(key.rstrip("/") + "/")), None)

    def __repr__(self) -> str:
        return f"BucketLimiter({self._whole.tokens:.1f}/{self._whole.burst:g}, hits={self.hits})"
