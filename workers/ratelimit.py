"""Permits: how much may be asked of a venue, and when. Pure: the time is an argument.

`WindowLimiter` is for venues that count what was spent in windows (weight a minute, orders in 10 s and a
day), `BucketLimiter` for those that state a rate and a burst. Rules, each with a test of its number:

1. What we spend never exceeds a window's `budget` in *any* span of its length, by our own ledger.
2. A request is booked in all windows that it weighs in, or in none.
3. The venue's own count (a header; all clients of our address or account) is respected too: with it and what
   we have booked since, `limit` is not exceeded. It counts until a newer one comes or `trusted_for` is over.
4. An answer whose request was sent before newer bookings does not undo them. A count that is smaller than
   the last one is believed only if its request was sent after that one had been learnt.
5. After 429 or 418 nothing goes out until `Retry-After` is over (or `cooldown`, `ban`, when it is absent).
6. The less urgent leaves a reserve to the more urgent: a class may fill its share of each window and no more.
   Whoever is heavier than its share gets through once our own ledger is empty; whoever is heavier than the
   whole is refused at once, as waiting cannot help.
7. Memory is bounded: a ledger holds `SLOTS` entries at most, whatever its length; it may count a booking
   for `per / SLOTS` too long, never too short.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from workers.errors import BadRequest
from workers.strategies import HTTPMethod, Priority, RateLimitContext, RateLimitStrategy

Weigh = Callable[[HTTPMethod, str, Mapping[str, Any] | None], int]

SLOTS = 256
# A wait is never shorter: no timer is finer, and a loop that sleeps what it is told always gets on.
SHORTEST_WAIT = 0.001

# Rule 6: cancelling may use all, and there is always something left for it.
SHARES: Mapping[Priority, float] = {
    Priority.CANCEL: 1.0,
    Priority.NEW: 0.95,
    Priority.QUERY: 0.9,
    Priority.SNAPSHOT: 0.85,
    Priority.BACKGROUND: 0.5,
}


# -- headers --------------------------------------------------------------------------------------------
def header(headers: Mapping[str, str], name: str) -> str | None:
    """A header by name, whatever its case."""
    value = headers.get(name)
    if value is not None:
        return value
    wanted = name.lower()
    return next((value for key, value in headers.items() if key.lower() == wanted), None)


def retry_after(headers: Mapping[str, str], wall: float | None = None) -> float:
    """`Retry-After` in seconds from the answer on; 0.0 when it is absent or makes no sense.

    A date (RFC 9110, 10.2.3) is read against the answer's own `Date`, which needs no clock of ours to be
    right; without one against `wall`, seconds since 1970, if given.
    """
    value = header(headers, "Retry-After")
    if not value:
        return 0.0
    try:
        seconds = float(value)
    except ValueError:
        until, said = _http_date(value), _http_date(header(headers, "Date"))
        since = wall if said is None else said
        seconds = 0.0 if until is None or since is None else until - since
    return seconds if 0.0 < seconds < float("inf") else 0.0


def _http_date(text: str | None) -> float | None:
    """Seconds since 1970."""
    if text is None:
        return None
    from email.utils import parsedate_to_datetime  # loads half of the standard library; rarely needed

    try:
        return parsedate_to_datetime(text).timestamp()
    except ValueError:
        return None


# -- windows --------------------------------------------------------------------------------------------
def one(method: HTTPMethod, endpoint: str, params: Mapping[str, Any] | None) -> int:
    """Weighs every request the same."""
    return 1


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """One of the venue's windows.

    Attributes:
        name: for messages. per: its length in seconds.
        limit: what the venue allows. budget: what we may spend of it; None: all.
        weigh: (method, endpoint, params) -> weight; 0: the window does not concern that request, so a limit
            of one endpoint is a window that weighs all others 0.
        used_header: the venue's header with what is used; empty: it has none.
        margin: seconds for which a booking is kept longer, as requests do not all travel equally fast.
        trusted_for: seconds for which a count of the venue is believed without a newer one; None: `per`. For
            a window of a day that begins at midnight and not with us, less is wiser: the price of a
            belief that is too short is one refusal, of one that is too long a day without orders.
    """

    name: str
    per: float
    limit: int
    budget: int | None = None
    weigh: Weigh = one
    used_header: str = ""
    margin: float = 0.0
    trusted_for: float | None = None

    @property
    def whole(self) -> int:
        """What we may spend at most."""
        return self.limit if self.budget is None else min(self.budget, self.limit)

    def __post_init__(self) -> None:
        if self.per <= 0 or self.whole < 1 or self.margin < 0:
            raise ValueError(
                f"window {self.name!r} needs per > 0, limit and budget >= 1, margin >= 0, not {self.per}, "
                f"{self.limit}, {self.budget} and {self.margin}"
            )


class _Entry:
    """Bookings close together: they expire together, with the last of them."""

    __slots__ = ("first", "last", "weight")

    def __init__(self, now: float, weight: int) -> None:
        self.first = now
        self.last = now
        self.weight = weight


class _Ledger:
    """What was booked within the last `per` seconds, in at most `SLOTS` + 1 entries (rules 1 and 7)."""

    __slots__ = ("_entries", "_per", "_width", "spent")

    def __init__(self, per: float) -> None:
        self.spent = 0
        self._per = per
        self._width = per / SLOTS
        self._entries: deque[_Entry] = deque()

    def book(self, weight: int, now: float) -> None:
        self.spent += weight
        entries = self._entries
        if entries and now - entries[-1].first < self._width:
            entries[-1].last = now
            entries[-1].weight += weight
        else:
            entries.append(_Entry(now, weight))

    def expire(self, now: float) -> None:
        entries = self._entries
        while entries and entries[0].last + self._per <= now:
            self.spent -= entries.popleft().weight

    def wait(self, room: int, now: float) -> float:
        """Seconds until no more than `room` is booked."""
        excess = self.spent - room
        for entry in self._entries:
            if excess <= 0:
                break
            excess -= entry.weight
            if excess <= 0:
                return entry.last + self._per - now
        return 0.0

    def since(self, when: float) -> int:
        """What was booked at `when` or later; rather more than less."""
        total = 0
        for entry in reversed(self._entries):
            if entry.last < when:
                break
            total += entry.weight
        return total

    def __len__(self) -> int:
        return len(self._entries)


class _Account:
    """One window's state: our ledger and the venue's count."""

    __slots__ = ("_count", "_counted_at", "_trusted_for", "ledger", "window")

    def __init__(self, window: Window) -> None:
        self.window = window
        self.ledger = _Ledger(window.per + window.margin)
        self._trusted_for = window.per if window.trusted_for is None else window.trusted_for
        self._count = 0  # the venue's, and what was booked since
        self._counted_at: float | None = None  # when the last count came in

    def wait(self, weight: int, share: float, now: float) -> float:
        """0.0: it fits. Otherwise seconds until it will, if nothing else is booked meanwhile."""
        ledger, window = self.ledger, self.window
        ledger.expire(now)
        allowed = window.whole * share
        if weight > allowed and not ledger.spent:
            share, allowed = 1.0, window.whole  # rule 6: heavier than its share, and nothing in its way
        wait = 0.0
        if ledger.spent + weight > allowed:
            wait = ledger.wait(max(0, int(allowed) - weight), now)
        if self._counted_at is not None:
            left = self._counted_at + self._trusted_for - now
            if left > wait and self._count + weight > window.limit * share:
                wait = left
        return wait

    def book(self, weight: int, now: float) -> None:
        self.ledger.book(weight, now)
        self._count += weight

    def resync(self, used: int, sent: float | None, now: float) -> None:
        """Rules 3 and 4: the venue has counted `used`, when it had the request that was sent at `sent`."""
        last = self._counted_at
        if sent is None:  # not known: what was booked since the last count may be missing in it
            sent = float("-inf") if last is None else last
        self.ledger.expire(now)
        count = used + self.ledger.since(sent)
        stale = last is not None and sent < last and now < last + self._trusted_for
        self._count = max(count, self._count) if stale else count
        self._counted_at = now

    def __repr__(self) -> str:
        told = "" if self._counted_at is None else f", venue {self._count}/{self.window.limit}"
        return f"{self.window.name} {self.ledger.spent}/{self.window.whole}{told}"


class _Cooldown:
    """Rule 5."""

    __slots__ = ("_after_418", "_after_429", "hits", "until")

    def __init__(self, after_429: float, after_418: float) -> None:
        self.hits = 0
        self.until = float("-inf")
        self._after_429 = after_429
        self._after_418 = after_418

    def observe(self, status: int, headers: Mapping[str, str], now: float) -> None:
        if status in (418, 429):
            self.hits += 1
            wait = retry_after(headers) or (self._after_418 if status == 418 else self._after_429)
            self.until = max(self.until, now + wait)

    def left(self, now: float) -> float:
        return max(0.0, self.until - now)


class WindowLimiter(RateLimitStrategy):
    """Several windows at once, the venue's own counts, a cooldown and shares by priority.

    Args:
        windows: at least one; each name once.
        cooldown, ban: seconds after a 429 and a 418 without `Retry-After`.
        shares: priority -> the share of each window that it may fill (rule 6).
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
        self._accounts = [_Account(window) for window in windows]
        self._counted = {
            each.window.used_header.lower(): each for each in self._accounts if each.window.used_header
        }
        self._cooldown = _Cooldown(cooldown, ban)
        self._after_429 = cooldown

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
        booked: list[tuple[_Account, int]] = []
        for account in self._accounts:
            weight = account.window.weigh(method, endpoint, params)
            if not weight:
                continue
            if weight > account.window.whole:
                raise _too_heavy(weight, account.window, method, endpoint)
            wait = max(wait, account.wait(weight, share, now))
            booked.append((account, weight))
        if wait > 0:
            return max(wait, SHORTEST_WAIT)
        for account, weight in booked:  # rule 2
            account.book(weight, now)
        return 0.0

    def release(self, method: HTTPMethod, endpoint: str, now: float) -> None:
        """Weight is spent for good; there is nothing to give back."""

    def observe(self, status: int, headers: Mapping[str, str], now: float, sent: float | None = None) -> None:
        self._cooldown.observe(status, headers, now)
        if not self._counted:
            return
        for name, value in headers.items():
            account = self._counted.get(name.lower())
            if account is not None and value.isdecimal():
                account.resync(int(value), sent, now)

    def context(self, endpoint: str) -> RateLimitContext:
        tightest = min(self.windows, key=lambda window: window.whole / window.per)
        return RateLimitContext(
            requests_per_second=tightest.whole / tightest.per,
            burst_capacity=min(window.whole for window in self.windows),
            endpoint_weight=self.windows[0].weigh(HTTPMethod.GET, endpoint, None),
            cooldown_period=self._after_429,
        )

    def blocked_for(self, now: float) -> float:
        """Seconds of cooldown left."""
        return self._cooldown.left(now)

    def __repr__(self) -> str:
        return f"WindowLimiter({'; '.join(map(repr, self._accounts))}; hits={self.hits})"


def _too_heavy(weight: int, window: Window, method: HTTPMethod, endpoint: str) -> BadRequest:
    return BadRequest(
        f"the request weighs {weight}, more than the whole budget of {window.whole} in {window.per:g} s "
        f"({window.name}); ask for less or raise the budget",
        method=method.value,
        endpoint=endpoint,
    )


def _checked(shares: Mapping[Priority, float]) -> dict[Priority, float]:
    """All priorities, none with more than a more urgent one."""
    table = {priority: shares.get(priority, SHARES[priority]) for priority in Priority}
    ordered = [table[priority] for priority in Priority]
    if not all(0 < share <= 1 for share in ordered) or ordered != sorted(ordered, reverse=True):
        raise ValueError(f"shares are above 0, at most 1, and never more for the less urgent, not {table}")
    return table


# -- buckets --------------------------------------------------------------------------------------------
class _Bucket:
    """`burst` at once, then `rate` a second."""

    __slots__ = ("_at", "burst", "rate", "tokens")

    def __init__(self, context: RateLimitContext) -> None:
        if context.requests_per_second <= 0 or context.burst_capacity < 1:
            raise ValueError(f"{context}: needs requests_per_second > 0 and burst_capacity >= 1")
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
        shares: priority -> the share of each bucket that it may empty (rule 6).
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
                )
            wait = max(wait, bucket.wait(weight, self._shares[priority], now))
        if wait > 0:
            return max(wait, SHORTEST_WAIT)
        for bucket, weight in taken:  # rule 2
            bucket.tokens -= weight
        return 0.0

    def release(self, method: HTTPMethod, endpoint: str, now: float) -> None:
        """What is spent comes back with time alone."""

    def observe(self, status: int, headers: Mapping[str, str], now: float, sent: float | None = None) -> None:
        self._cooldown.observe(status, headers, now)

    def context(self, endpoint: str) -> RateLimitContext:
        key = self._key(endpoint)
        return self._everything if key is None else self._contexts[key]

    def blocked_for(self, now: float) -> float:
        """Seconds of cooldown left."""
        return self._cooldown.left(now)

    def _key(self, endpoint: str) -> str | None:
        if endpoint in self._contexts:
            return endpoint
        return next((key for key in self._longest_first if endpoint.startswith(key.rstrip("/") + "/")), None)

    def __repr__(self) -> str:
        return f"BucketLimiter({self._whole.tokens:.1f}/{self._whole.burst:g}, hits={self.hits})"
