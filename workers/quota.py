"""One window of a venue's limits: what we have booked in it, and what the venue says is used of it.

Pure, the time is an argument. The rules are those of `workers/ratelimit.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from workers.vocabulary import HTTPMethod

Weigh = Callable[[HTTPMethod, str, Mapping[str, Any] | None], int]

SLOTS = 256
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


class _Slot:
    """Bookings close together: they expire together, with the last of them."""

    __slots__ = ("first", "last", "weight")

    def __init__(self, now: float, weight: int) -> None:
        self.first = now
        self.last = now
        self.weight = weight


class Ledger:
    """What was booked within the last `per` seconds, in at most `SLOTS` + 1 slots (rules 1 and 7)."""

    __slots__ = ("_per", "_slots", "_width", "spent")

    def __init__(self, per: float) -> None:
        self.spent = 0
        self._per = per
        self._width = per / SLOTS
        self._slots: deque[_Slot] = deque()

    def book(self, weight: int, now: float) -> None:
        self.spent += weight
        slots = self._slots
        if slots and now - slots[-1].first < self._width:
            slots[-1].last = now
            slots[-1].weight += weight
        else:
            slots.append(_Slot(now, weight))

    def expire(self, now: float) -> None:
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
    """A window, our ledger of it, the venue's count and the venue's word to wait."""

    __slots__ = ("_count", "_sent", "_told", "_trusted_for", "blocked_until", "ledger", "window")

    def __init__(self, window: Window) -> None:
        self.window = window
        self.ledger = Ledger(window.per + window.margin)
        self.blocked_until = _NEVER
        self._trusted_for = window.per if window.trusted_for is None else window.trusted_for
        self._count = 0  # the venue's, and what was booked since
        self._told = _NEVER  # when that count came in
        self._sent = _NEVER  # when the request was sent that it came with

    def wait(self, weight: int, share: float, now: float) -> float:
        """0.0 or less: it fits. Otherwise seconds until it will, if nothing else is booked meanwhile."""
        window, ledger = self.window, self.ledger
        ledger.expire(now)
        room = int(window.whole * share + 1e-9) - weight
        if room < 0:  # rule 6: heavier than its share, so it takes the whole, once nothing else does
            room, share = 0, 1.0
        wait = max(self.blocked_until - now, ledger.wait(room, now))
        if self._count + weight > window.limit * share:
            wait = max(wait, self._told + self._trusted_for - now)
        return wait

    def book(self, weight: int, now: float) -> None:
        self.ledger.book(weight, now)
        self._count += weight

    def resync(self, used: int, sent: float | None, now: float) -> None:
        """Rules 3 and 4: `used` is the venue's count when it had the request that was sent at `sent`."""
        if sent is None:  # not known: it may have been before all that came after the last count
            sent = self._told
        if sent < self._sent and now < self._told + self._trusted_for:
            return
        self.ledger.expire(now)
        self._count = used + self.ledger.since(sent - self.window.margin)
        self._told = now
        self._sent = sent

    def __repr__(self) -> str:
        told = "" if self._told == _NEVER else f", venue {self._count}/{self.window.limit}"
        return f"{self.window.name} {self.ledger.spent}/{self.window.whole}{told}"
