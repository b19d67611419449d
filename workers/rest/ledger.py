"""What a manager remembers of its requests: circuits, retry budget, counts, the trace; all that learns from
how a request began and ended, and decides nothing about the one at hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from workers.contract.errors import CircuitOpen, RestError
from workers.contract.rest import PerformanceTargets, ReplayClass
from workers.rest import outcome
from workers.rest.call import Call
from workers.rest.circuit import Circuits
from workers.rest.metrics import RestTally
from workers.rest.retry import RetryBudget
from workers.rest.trace import TraceEvent, Tracer, error_seen, params_seen, tell


class Ledger:
    """Every request: `begin`, then one of `succeeded`, `failed`, `cancelled` and `broken`.

    Args:
        on_circuit_open: called with (circuit, seconds that it stays open).
    """

    def __init__(
        self,
        targets: PerformanceTargets,
        circuits: Circuits,
        budget: RetryBudget,
        clock: Callable[[], float],
        on_circuit_open: Callable[[str, float], object] | None,
        tracer: Tracer | None,
    ) -> None:
        self.circuits = circuits
        self.budget = budget
        self.tally = RestTally(targets)
        self.retried = 0  # since the start, whatever is reset
        self.tracing = tracer is not None
        self._clock = clock
        self._on_circuit_open = on_circuit_open
        self._tracer = tracer

    def begin(self, call: Call, now: float) -> None:
        """Raises CircuitOpen when it must not be sent."""
        if self.tracing:
            self.trace(call, "request", priority=call.priority.name, params=params_seen(call.params))
        try:
            call.breaker, call.ticket = self.circuits.enter(call.route.circuit, now)
        except CircuitOpen as error:
            call.base_url = call.plan.endpoints.current(now)
            refusal = CircuitOpen(error.message, sent=False, retry_after=error.retry_after, **call.facts)
            self.tally.failed(call.route.circuit, refusal, 0)
            self.trace(call, "circuit", retry_after=error.retry_after)
            raise refusal from None

    def begin_retry(self, call: Call) -> None:
        call.retrying = True
        self.budget.began_retry()
        self.retried += 1
        self.tally.retries += 1
        if self.tracing:
            self.trace(call, "retry", delay=call.delay)

    def end_retry(self, call: Call) -> None:
        if call.retrying:
            call.retrying = False
            self.budget.ended_retry()

    def succeeded(self, call: Call, size: int) -> None:
        assert call.breaker is not None
        call.breaker.succeeded(call.ticket, call.answered_at)
        self.budget.finished(True)
        self.tally.succeeded(call.route.circuit, call.busy_ns)
        if self.tracing:
            self.trace(call, "done", ms=call.busy_ns * 1e-6, bytes=size)

    def failed(self, call: Call, error: RestError) -> None:
        assert call.breaker is not None
        harmed = outcome.harmed(error)
        if harmed is None:
            call.breaker.cancelled(call.ticket, self._clock())
        else:
            self.budget.finished(not harmed)
            if harmed:
                self._harm(call)
            else:
                call.breaker.succeeded(call.ticket, self._clock())
        if outcome.denied(error):
            self.tally.denied += 1
        else:
            self.tally.failed(call.route.circuit, error, call.busy_ns)
        if self.tracing:
            self.trace(call, "failed", **error_seen(error))

    def _harm(self, call: Call) -> None:
        breaker, now = call.breaker, self._clock()
        assert breaker is not None
        opens = breaker.opens
        breaker.failed(call.ticket, now)
        if breaker.opens == opens:
            return
        try:
            breaker.enter(now)
        except CircuitOpen as refusal:
            self.trace(call, "circuit", opened_for=refusal.retry_after)
            if self._on_circuit_open is not None:
                tell(self._on_circuit_open, call.route.circuit, refusal.retry_after)

    def cancelled(self, call: Call, error: asyncio.CancelledError) -> None:
        """By its caller: neither good nor bad for the service, and perhaps done at the venue."""
        assert call.breaker is not None
        call.breaker.cancelled(call.ticket, self._clock())
        self.tally.cancelled += 1
        if call.busy_ns and call.route.replay is not ReplayClass.SAFE:
            self.tally.cancelled_unknown += 1
            error.add_note(
                f"{call.method} {call.endpoint} was cancelled on the wire: it may have been carried out, "
                "ask the venue"
            )
        if self.tracing:
            self.trace(call, "cancelled", on_the_wire=bool(call.busy_ns))

    def broken(self, call: Call, error: BaseException) -> None:
        """A fault of a strategy of ours."""
        assert call.breaker is not None
        call.breaker.cancelled(call.ticket, self._clock())
        self.tally.failed(call.route.circuit, error, call.busy_ns)

    def trace(self, call: Call, step: str, **facts: Any) -> None:
        if self._tracer is not None:
            tell(
                self._tracer,
                TraceEvent(
                    step=step,
                    request=call.order,
                    at=self._clock(),
                    method=call.method.value,
                    endpoint=call.endpoint,
                    attempt=call.attempt,
                    facts=facts,
                ),
            )

    def __repr__(self) -> str:
        return f"Ledger({self.circuits!r}, {self.budget!r})"
