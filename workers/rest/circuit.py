"""Circuit breaker: a service that keeps failing is left alone for a while. Pure: the time is an argument.

State     what happens                                       next state
CLOSED    a request fails: count it; one succeeds: count 0   OPEN at the `failures`-th failure in a row
OPEN      every request is refused                           HALF_OPEN once its open time is over
HALF_OPEN one request at a time goes out, as a probe         CLOSED after `successes` probes in a row;
                                                             OPEN, for longer, when one fails

Rules, each with a test of its number:

1. The circuit opens on exactly the `failures`-th failure in a row. A failure is a whole request, with all
   its attempts; any success in between starts the count anew.
2. While it is open nothing goes out, and the refusal carries the seconds until the next try.
3. In HALF_OPEN there is never more than one probe, however many callers there are.
4. `successes` probes in a row close it; the next opening lasts `open_for` again.
5. A probe that fails re-opens it for `growth` times as long as before, at most `max_open`.
6. Only what began in the present state counts: a request that began before the circuit opened is no probe,
   whatever becomes of it and whenever. The ticket keeps them apart.
7. Cancelled is neither success nor failure; a probe that is cancelled gives its place back.
8. A probe that never reports holds its place for `lease` seconds and no longer. Make `lease` longer than the
   deadline of a request; only a caller that has lost its ticket is then replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from workers.contract.errors import CircuitOpen

PROBE_PATIENCE = 1.0  # seconds; what a refusal advises while the one probe is out
_CLOSED, _OPEN, _HALF_OPEN = range(3)


class CircuitState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half open"


class CircuitBreaker:
    """One circuit. Every ticket of `enter` is reported once: `succeeded`, `failed` or `cancelled`.

    Args:
        failures: in a row, of whole requests, that open it.
        open_for: seconds of the first opening. growth, max_open: of the further ones (rule 5).
        successes: probes in a row that close it.
        lease: seconds after which a probe that has not reported is given up (rule 8).
        name: for messages.
    """

    __slots__ = (
        "_closed_after",
        "_failed",
        "_failures",
        "_generation",
        "_growth",
        "_lease",
        "_max_open",
        "_open_for",
        "_opening",
        "_passed",
        "_probe_until",
        "_probing",
        "_state",
        "_until",
        "name",
        "opens",
    )

    def __init__(
        self,
        failures: int = 5,
        open_for: float = 30.0,
        successes: int = 3,
        *,
        growth: float = 2.0,
        max_open: float = 300.0,
        lease: float = 120.0,
        name: str = "",
    ) -> None:
        if failures < 1 or successes < 1 or open_for <= 0 or growth < 1 or max_open < open_for or lease <= 0:
            raise ValueError(
                "a circuit needs failures >= 1, successes >= 1, 0 < open_for <= max_open, growth >= 1 and "
                f"lease > 0, not {failures}, {successes}, {open_for}, {max_open}, {growth} and {lease}"
            )
        self.name = name
        self.opens = 0
        self._failures = failures
        self._open_for = open_for
        self._closed_after = successes
        self._growth = growth
        self._max_open = max_open
        self._lease = lease
        self._state = _CLOSED
        # A ticket is the generation of its time: one for each stay in CLOSED and one for each probe, so that
        # the closed path hands out the same integer again and again and allocates nothing.
        self._generation = 0
        self._failed = 0  # CLOSED: failures in a row
        self._passed = 0  # HALF_OPEN: probes passed in a row
        self._probing = False  # HALF_OPEN: the probe of this generation is out...
        self._probe_until = 0.0  # ...and keeps its place until then
        self._until = 0.0  # OPEN: until then
        self._opening = open_for  # seconds of the next opening

    def enter(self, now: float) -> int:
        """A ticket for one request; raises `CircuitOpen` when it must not be sent (rules 2 and 3)."""
        if self._state == _CLOSED:
            return self._generation
        if self._state == _OPEN:
            if now < self._until:
                raise self._refusal(self._until - now, "open")
            self._state = _HALF_OPEN
            self._passed = 0
        elif self._probing and now < self._probe_until:
            raise self._refusal(
                min(PROBE_PATIENCE, self._probe_until - now), "half open and its one probe is out"
            )
        self._generation += 1
        self._probing = True
        self._probe_until = now + self._lease
        return self._generation

    def succeeded(self, ticket: int, now: float) -> None:
        if ticket != self._generation:
            return  # rule 6
        if self._state == _CLOSED:
            self._failed = 0
        elif self._probing:
            self._probing = False
            self._passed += 1
            if self._passed >= self._closed_after:
                self._close()

    def failed(self, ticket: int, now: float) -> None:
        if ticket != self._generation:
            return  # rule 6
        if self._state == _CLOSED:
            self._failed += 1
            if self._failed >= self._failures:
                self._open(now)
        elif self._probing:
            self._open(now)

    def cancelled(self, ticket: int, now: float) -> None:
        """The request ended without an outcome (rule 7)."""
        if ticket == self._generation:
            self._probing = False

    def state(self, now: float) -> CircuitState:
        """As a caller would meet it: an opening that is over is HALF_OPEN."""
        if self._state == _CLOSED:
            return CircuitState.CLOSED
        if self._state == _OPEN and now < self._until:
            return CircuitState.OPEN
        return CircuitState.HALF_OPEN

    @property
    def idle(self) -> bool:
        """Nothing is remembered: a new breaker in its place would behave the same."""
        return self._state == _CLOSED and not self._failed

    def _open(self, now: float) -> None:
        self._state = _OPEN
        self._generation += 1  # rule 6
        self._until = now + self._opening
        self._opening = min(self._max_open, self._opening * self._growth)
        self.opens += 1

    def _close(self) -> None:
        self._state = _CLOSED
        self._generation += 1
        self._failed = 0
        self._opening = self._open_for

    def _refusal(self, wait: float, state: str) -> CircuitOpen:
        return CircuitOpen(
            f"not sent: the circuit {self.name!r} is {state}, the service has failed too often; "
            f"come back in {wait:.1f} s",
            endpoint=self.name,
            retry_after=wait,
            sent=False,
        )

    def __repr__(self) -> str:
        state = ("closed", "open", "half open")[self._state]
        return (
            f"CircuitBreaker({self.name!r}, {state}, failures={self._failed}/{self._failures}, "
            f"passed={self._passed}/{self._closed_after}, opens={self.opens})"
        )


class Circuits:
    """Circuits by name, made when first asked for, at most `limit` of them.

    A name beyond the limit takes the place of a circuit that remembers nothing, else of the oldest closed
    one, else of the oldest: names that hold ids do not fill the memory.

    Args:
        make: name -> a breaker; the default has the default thresholds.
    """

    def __init__(self, make: Callable[[str], CircuitBreaker] | None = None, *, limit: int = 256) -> None:
        if limit < 1:
            raise ValueError(f"needs room for a circuit at least, not {limit}")
        self._make = make or (lambda name: CircuitBreaker(name=name))
        self._limit = limit
        self._breakers: dict[str, CircuitBreaker] = {}
        self._opens = 0  # of those that had to go

    def enter(self, name: str, now: float) -> tuple[CircuitBreaker, int]:
        """The circuit and the ticket to report to it; raises `CircuitOpen`."""
        breaker = self._breakers.get(name)
        if breaker is None:
            breaker = self._add(name, now)
        return breaker, breaker.enter(now)

    @property
    def opens(self) -> int:
        """How often any circuit has opened."""
        return self._opens + sum(breaker.opens for breaker in self._breakers.values())

    def open_count(self, now: float) -> int:
        """Circuits that are not closed."""
        return sum(breaker.state(now) is not CircuitState.CLOSED for breaker in self._breakers.values())

    def states(self, now: float) -> dict[str, CircuitState]:
        return {name: breaker.state(now) for name, breaker in self._breakers.items()}

    def _add(self, name: str, now: float) -> CircuitBreaker:
        if len(self._breakers) >= self._limit:
            gone = self._breakers.pop(self._least_needed(now))
            self._opens += gone.opens
        breaker = self._breakers[name] = self._make(name)
        return breaker

    def _least_needed(self, now: float) -> str:
        closed = (name for name, each in self._breakers.items() if each.state(now) is CircuitState.CLOSED)
        idle = (name for name, each in self._breakers.items() if each.idle)
        return next(idle, None) or next(closed, None) or next(iter(self._breakers))

    def __len__(self) -> int:
        return len(self._breakers)

    def __repr__(self) -> str:
        shut = sum(each.idle for each in self._breakers.values())
        return f"Circuits({len(self._breakers)} of {self._limit}, {shut} without a fault, opens={self.opens})"
