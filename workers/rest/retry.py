"""Whether and when to send a request again: pure, the time is no matter here and chance is injected.

Rules, each with a test of its number:

1. Retry errors whose `action` is RETRY or BACKOFF, at most `attempts` attempts in all.
2. The delays are `base`, times `multiplier` each time, at most `cap`; the first attempt has none.
3. Jitter moves a delay by up to a share of itself, either way; full jitter takes any part of it.
4. Never before the server's `Retry-After`, in seconds or as a date.
5. While an upstream fails totally, retries are bounded: once the last `after` requests have all failed, at
   most `share` retries for each request that ends, and `parallel` at a time. One success lifts that.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from shm.errors import Action
from workers.contract.errors import RestError
from workers.contract.headers import retry_after
from workers.contract.protocols import RetryStrategy


class ExponentialRetry(RetryStrategy):
    """Rules 1 to 4.

    Args:
        attempts: in all, the first one included.
        base, multiplier, cap: seconds, factor, seconds (before jitter).
        jitter: share of a delay by which it varies, either way.
        full_jitter: any delay from 0 up to the whole one, instead: spreads many clients best.
    """

    def __init__(
        self,
        attempts: int = 3,
        *,
        base: float = 1.0,
        multiplier: float = 2.0,
        cap: float = 30.0,
        jitter: float = 0.2,
        full_jitter: bool = False,
        chance: Callable[[], float] = random.random,
    ) -> None:
        if attempts < 1 or base < 0 or multiplier < 1 or cap < 0 or not 0 <= jitter <= 1:
            raise ValueError(
                "a retry needs attempts >= 1, base >= 0, multiplier >= 1, cap >= 0 and 0 <= jitter <= 1, "
                f"not {attempts}, {base}, {multiplier}, {cap} and {jitter}"
            )
        self.attempts = attempts
        self._base = base
        self._multiplier = multiplier
        self._cap = cap
        self._jitter = jitter
        self._full_jitter = full_jitter
        self._chance = chance

    def should_retry(self, attempt: int, error: RestError) -> bool:
        return attempt < self.attempts and error.action in (Action.RETRY, Action.BACKOFF)

    def calculate_delay(self, attempt: int, error: RestError) -> float:
        # The exponent is bounded so that no number of attempts overflows a float.
        delay = min(self._cap, self._base * self._multiplier ** min(attempt - 1, 64))
        if self._full_jitter:
            delay *= self._chance()
        else:
            delay *= 1.0 + self._jitter * (2.0 * self._chance() - 1.0)
        return max(delay, error.retry_after)

    def handle_rate_limit(self, headers: Mapping[str, str]) -> float:
        return retry_after(headers)

    def __repr__(self) -> str:
        kind = "full jitter" if self._full_jitter else f"jitter={self._jitter:g}"
        return (
            f"ExponentialRetry({self.attempts} attempts, {self._base:g} s x {self._multiplier:g} "
            f"<= {self._cap:g} s, {kind})"
        )


class RetryBudget:
    """Rule 5, shared by all requests of a manager.

    `may_retry` and `began_retry` belong into one turn of the event loop, before the wait and not after it:
    what waits for its retry counts as one of the `parallel`.

    Args:
        after: requests in a row that must have failed until the budget binds.
        share: retries for each request that ends while it binds; the load is at most 1 + `share` times.
        parallel: retries at a time while it binds.
    """

    def __init__(self, *, after: int = 20, share: float = 0.2, parallel: int = 3) -> None:
        if after < 1 or not 0 <= share <= 1 or parallel < 1:
            raise ValueError(
                f"a retry budget needs after >= 1, 0 <= share <= 1 and parallel >= 1, not {after}, {share} "
                f"and {parallel}"
            )
        self._after = after
        self._share = share
        self._parallel = parallel
        self._failed = 0  # requests in a row
        self._credit = 0.0  # retries that may be begun while it binds
        self._running = 0

    @property
    def binds(self) -> bool:
        return self._failed >= self._after

    def finished(self, ok: bool) -> None:
        """One whole request is over. `ok`: the upstream answered like one that works (a refusal of a wrong
        request is such an answer). Do not report what was never sent."""
        if ok:
            self._failed = 0
            self._credit = 0.0
            return
        if self.binds:
            # Not more than can run at a time: a long outage must not save up a burst of retries.
            self._credit = min(float(self._parallel), self._credit + self._share)
        else:
            self._failed += 1

    def may_retry(self) -> bool:
        """Whether one more retry may begin now."""
        if not self.binds:
            return True
        # Sums of a share like 0.2 fall a hair short of 1.
        return self._running < self._parallel and self._credit >= 1.0 - 1e-9

    def began_retry(self) -> None:
        self._running += 1
        if self.binds:
            self._credit -= 1.0

    def ended_retry(self) -> None:
        self._running = max(0, self._running - 1)

    def __repr__(self) -> str:
        return (
            f"RetryBudget({'binds' if self.binds else 'free'}, failed={self._failed}/{self._after}, "
            f"credit={self._credit:.1f}, running={self._running})"
        )
