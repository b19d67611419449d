"""When to reconnect, and how fast to send: no I/O, the time is an argument and chance is injected.

Rules of reconnecting, each with a test of its number:

1. Delays grow by `backoff_factor` from `initial_delay` and never pass `max_delay`.
2. Jitter takes away up to half of a delay, never adds: many workers of one host do not come back at once.
3. Only valid data resets (`on_data`): neither a handshake nor a subscription does.
4. 1005/1006: the first reconnect after valid data is immediate, every further one backs off.
5. A timeout backs off moderately: its factor is the root of the policy's.
6. Authentication gets few attempts: `AUTHENTICATION_ATTEMPTS`, then the manager has given up.
7. 429/418 waits what the server says, at least `max_delay`.
8. After `max_attempts` consecutive failures (`exhausted`): one attempt every `max_delay`, for ever.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable

from workers.contract.errors import ErrorClass
from workers.contract.protocols import ReconnectionPolicy

AUTHENTICATION_ATTEMPTS = 3
HELD_SLACK = 0.01  # seconds that a timer may fire early


class Backoff:
    """The delays of one reconnect loop."""

    def __init__(self, policy: ReconnectionPolicy, chance: Callable[[], float] = random.random) -> None:
        if policy.initial_delay <= 0 or policy.max_delay < policy.initial_delay or policy.backoff_factor < 1:
            raise ValueError(
                f"{policy}: needs 0 < initial_delay <= max_delay and backoff_factor >= 1, else it is a storm"
            )
        self.policy = policy
        self.failures = 0
        self.gave_up = False
        self._chance = chance
        self._data_since_failure = False
        self._authentication = 0

    def on_data(self) -> None:
        """Valid market data has arrived: failures are counted from zero again (rule 3)."""
        self.failures = 0
        self.gave_up = False
        self._authentication = 0
        self._data_since_failure = True

    @property
    def exhausted(self) -> bool:
        """Rules 6 and 8: no more than one attempt every `max_delay` from here on."""
        return self.gave_up

    def failed(self, kind: ErrorClass, *, retry_after: float = 0.0, hopeless: bool = False) -> float:
        """Count a failure; returns the seconds to wait before the next attempt. `hopeless`: it cannot heal by
        itself (`ConnectionStrategy.should_reconnect`)."""
        policy = self.policy
        immediate = self._data_since_failure and kind is ErrorClass.ABNORMAL and policy.reset_on_1005
        self._data_since_failure = False
        self.failures += 1
        if kind is ErrorClass.AUTHENTICATION:
            self._authentication += 1
        if (
            hopeless
            or self.failures >= policy.max_attempts
            or self._authentication >= AUTHENTICATION_ATTEMPTS
        ):
            self.gave_up = True
        if kind is ErrorClass.RATE_LIMITED:
            return max(retry_after, policy.max_delay)  # rule 7; not jittered below what was asked
        if self.gave_up:
            return max(retry_after, policy.max_delay)
        if immediate:
            return 0.0
        return max(retry_after, self._jittered(kind))

    def _jittered(self, kind: ErrorClass) -> float:
        policy = self.policy
        factor = policy.backoff_factor**0.5 if kind is ErrorClass.TIMEOUT else policy.backoff_factor
        # The exponent is bounded so that a week of failures does not overflow a float.
        delay = min(policy.max_delay, policy.initial_delay * factor ** min(self.failures - 1, 64))
        return delay * (1.0 - 0.5 * self._chance())

    def __repr__(self) -> str:
        return f"Backoff(failures={self.failures}, gave_up={self.gave_up})"


class SlidingWindow:
    """At most `limit` events in *any* window of `per` seconds (a token bucket lets twice that through)."""

    def __init__(self, limit: int, per: float) -> None:
        if limit < 1 or per <= 0:
            raise ValueError(f"a window needs limit >= 1 and per > 0, not {limit} per {per} s")
        self.limit = limit
        self.per = per
        self._times: deque[float] = deque(maxlen=limit)

    def delay(self, now: float) -> float:
        """Seconds until one more fits; 0.0 = now."""
        if len(self._times) < self.limit:
            return 0.0
        return max(0.0, self.per - (now - self._times[0]))  # in this order never more than `per`

    def left(self, now: float) -> int:
        """How many more fit now."""
        return self.limit - sum(now - time < self.per for time in self._times)

    def take(self, now: float) -> None:
        """Book one event, whether or not it fitted (a pong cannot wait)."""
        self._times.append(now)


class TokenBucket:
    """`burst` at once, then `rate` a second: spreads attempts evenly over a long window."""

    def __init__(self, rate: float, burst: int) -> None:
        if rate <= 0 or burst < 1:
            raise ValueError(f"a bucket needs rate > 0 and burst >= 1, not {rate} and {burst}")
        self.rate = rate
        self.burst = burst
        self._tokens = float(burst)
        self._at: float | None = None
        self._held_until = float("-inf")

    @classmethod
    def within(cls, limit: int, per: float, burst: int) -> TokenBucket:
        """One that lets at most `limit` through in *any* window of `per` seconds, `burst` included."""
        burst = max(1, min(burst, limit // 2))
        return cls(max(1, limit - burst) / per, burst)

    def delay(self, now: float) -> float:
        """Seconds until there is a token; 0.0 = now."""
        self._refill(now)
        wait = (1.0 - self._tokens) / self.rate
        return wait if wait > 1e-6 else 0.0  # what the sums of floats leave is no time to wait for

    def take(self, now: float) -> None:
        self._refill(now)
        self._tokens -= 1.0

    def reserve(self, now: float) -> float:
        """Take the next token and answer the seconds until it is there: those that wait go one by one."""
        wait = self.delay(now)
        self.take(now)
        return wait

    def hold(self, now: float, seconds: float) -> None:
        """No token for so many seconds, then one by one; those reserved before are void (see `held`)."""
        self._refill(now)
        self._tokens = min(self._tokens, 1.0 - seconds * self.rate)
        self._held_until = max(self._held_until, now + seconds)

    def held(self, now: float) -> bool:
        """Whether a token that was reserved before a `hold` must not be used yet: reserve another."""
        return now < self._held_until - HELD_SLACK

    def _refill(self, now: float) -> None:
        if self._at is not None:
            self._tokens = min(float(self.burst), self._tokens + max(0.0, now - self._at) * self.rate)
        self._at = now
