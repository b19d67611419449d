"""One window of a venue's rate limits: what we have booked in it, and what the venue reports as used.

Pure, the time is an argument. The rules are those of `workers/rest/ratelimit.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from workers.contract.types import HTTPMethod

Weigh = Callable[[HTTPMethod, str, Mapping[str, Any] | None], int]

SLOTS = 256
ANSWER_SOON = 0.05  # seconds to wait where answers on their way will report what is used
_NEVER = float("-inf")


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
        margin: seconds by which requests may overtake one another on their way. A booking is kept that much
            longer, and an answer is taken to know that much less.
        trusted_for: seconds for which the venue's count is used without a newer one; None: `per`. A window of
            a day that begins at midnight wants less: too short costs one refusal, too long a day without
            orders.
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


class _Slot:
    """Bookings close in time, which expire together with the last of them."""

    __slots__ = ("first", "last", "weight")

    def __init__(self, now: float, weight: int) -> None:
        self.first = now
        self.last = now
        self.weight = weight


class BookingWindow:
    """A sliding window: what was booked within the last `per` seconds, in at most `SLOTS` + 1 slots (rules 1
    and 7)."""

    __slots__ = ("_per", "_slots", "_width", "spent")

    def __init__(self, per: float) -> None:
        self.spent = 0
        self._per = per
        self._width = per / SLOTS
        self._slots: deque[_Slot] = deque()

    def book(self, weight: int, now: float) -> None:
        """Add a booking."""
        self.spent += weight
        slots = self._slots
        if slots and now - slots[-1].first < self._width:
            slots[-1].last = now
            slots[-1].weight += weight
        else:
            slots.append(_Slot(now, weight))

    def expire(self, now: float) -> None:
        """Forget what was booked `per` seconds ago or earlier."""
        slots = self._slots
        while slots and slots[0].last + self._per <= now:
            self.spent -= slots.popleft().weight

    def wait(self, room: int, now: float) -> float:
        """Seconds until no more than `room` is booked."""
        excess = self.spent - room
        for slot in self._slots:
            if excess <= 0:
                break
            excess -= slot.weight
            if excess <= 0:
                return slot.last + self._per - now
        return 0.0

    def since(self, when: float) -> int:
        """What was booked at `when` or later; rather more than less."""
        total = 0
        for slot in reversed(self._slots):
            if slot.last < when:
                break
            total += slot.weight
        return total

    def __len__(self) -> int:
        return len(self._slots)


class Quota:
    """One window: our bookings in it, the venue's count, and how long the venue has asked us to wait.

    The venue's count at the time of an answer is known, `_base`. Which of our requests it includes is not:
    those booked after that answer's request was sent, or shortly before, are added (`_unconfirmed`) until a
    later answer includes them, or no answer is on its way any more.
    """

    __slots__ = (
        "_base",
        "_base_at",
        "_booked",
        "_other",
        "_reported_at",
        "_reports",
        "_sent",
        "_trusted_for",
        "_unconfirmed",
        "blocked_until",
        "bookings",
        "window",
    )

    def __init__(self, window: Window) -> None:
        self.window = window
        self.bookings = BookingWindow(window.per + window.margin)
        self.blocked_until = _NEVER
        self._trusted_for = window.per if window.trusted_for is None else window.trusted_for
        self._base = 0  # the venue's count...
        self._base_at = _NEVER  # ...and when it was reported
        self._other = 0  # the highest count since, from answers to requests that were sent before
        self._unconfirmed = 0
        self._sent = _NEVER  # the latest sending of a request that was answered with a count
        self._reported_at = _NEVER  # when the last count came in
        self._booked = 0  # bookings and counts since nothing was in flight
        self._reports = 0

    def wait(self, weight: int, share: float, now: float, in_flight: int) -> float:
        """0.0 or less: it fits. Otherwise seconds until it will, if nothing else is booked meanwhile."""
        window, bookings = self.window, self.bookings
        bookings.expire(now)
        room = int(window.whole * share + 1e-9) - weight
        if room < 0:  # rule 6: heavier than its share, so it takes the whole, once nothing else does
            room, share = 0, 1.0
        wait = max(self.blocked_until - now, bookings.wait(room, now))
        trusted = self._reported_at + self._trusted_for - now
        over = self._base + weight - window.limit * share
        if trusted > 0.0 and over + self._unconfirmed > 0:
            if over <= 0 and in_flight:
                trusted = min(trusted, ANSWER_SOON)  # only what is in doubt is in the way
            wait = max(wait, trusted)
        return wait

    def book(self, weight: int, now: float) -> None:
        self.bookings.book(weight, now)
        self._unconfirmed += weight
        self._booked += 1

    def resync(self, used: int, sent: float | None, now: float) -> None:
        """Rules 3 and 4: `used` is the venue's count when it had the request that was sent at `sent`."""
        current = now < self._reported_at + self._trusted_for
        if sent is None:  # not known: it may have been before all that came after the last count
            sent = self._reported_at
        if not current:
            self._base, self._base_at, self._other, self._sent = used, now, 0, sent
        elif sent >= self._base_at:  # counted after the last one for certain; less is the next window
            self._base, self._base_at, self._other = max(used, self._other), now, 0
        elif used >= self._base:
            self._base, self._base_at = used, now
        else:
            self._other = max(self._other, used)
        self._sent = max(self._sent, sent)
        self._reported_at = now
        self._reports += 1
        self.bookings.expire(now)
        self._unconfirmed = self.bookings.since(self._sent - self.window.margin)

    def settle(self) -> None:
        """Nothing is in flight. When every booking was answered with a count, nothing is in doubt."""
        if self._reports >= self._booked:
            self._unconfirmed = 0
        self._booked = self._reports = 0

    def __repr__(self) -> str:
        reported = (
            ""
            if self._reported_at == _NEVER
            else f", venue {self._base}+{self._unconfirmed}/{self.window.limit}"
        )
        return f"{self.window.name} {self.bookings.spent}/{self.window.whole}{reported}"
