"""The bookkeeping of a manager's requests: circuits, retry budget, counts, trace. It learns from how each
request begins and ends, and decides nothing about the request itself, except that an open circuit refuses
it."""

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
from workers.rest.trace import TraceEvent, Tracer, error_seen, notify, params_seen


class RequestAccounting:
    """Keeps account of every request: `begin`, then one of `succeeded`, `failed`, `cancelled` and `broken`.

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
        """The request is about to be sent. Raises CircuitOpen when its circuit refuses it."""
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
        """Another attempt waits for its delay; it counts against the retry budget until `end_retry`."""
        call.retrying = True
        self.budget.began_retry()
        self.retried += 1
        self.tally.retries += 1
        if self.tracing:
            self.trace(call, "retry", delay=call.delay)

    def end_retry(self, call: Call) -> None:
        """The further attempt has been sent, or given up."""
        if call.retrying:
            call.retrying = False
            self.budget.ended_retry()

    def succeeded(self, call: Call, size: int) -> None:
        """Answered with success. `size`: bytes of the answer's body."""
        assert call.breaker is not None
        call.breaker.succeeded(call.ticket, call.answered_at)
        self.budget.finished(True)
        self.tally.succeeded(call.route.circuit, call.busy_ns)
        if self.tracing:
            self.trace(call, "done", ms=call.busy_ns * 1e-6, bytes=size)

    def failed(self, call: Call, error: RestError) -> None:
        """Ended with this error; `outcome.counts_as_failure` decides whether the service is to blame."""
        assert call.breaker is not None
        counts_as_failure = outcome.counts_as_failure(error)
        if counts_as_failure is None:
            call.breaker.cancelled(call.ticket, self._clock())
        else:
            self.budget.finished(not counts_as_failure)
            if counts_as_failure:
                self._count_failure(call)
            else:
                call.breaker.succeeded(call.ticket, self._clock())
        if outcome.denied(error):
            self.tally.denied += 1
        else:
            self.tally.failed(call.route.circuit, error, call.busy_ns)
        if self.tracing:
            self.trace(call, "failed", **error_seen(error))

    def _count_failure(self, call: Call) -> None:
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
                notify(self._on_circuit_open, call.route.circuit, refusal.retry_after)

    def cancelled(self, call: Call, error: asyncio.CancelledError) -> None:
        """Cancelled by its caller: no success and no failure of the service. What it was to do at the venue
        may have been done."""
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
        """One of our strategies raised: no failure of the service."""
        assert call.breaker is not None
        call.breaker.cancelled(call.ticket, self._clock())
        self.tally.failed(call.route.circuit, error, call.busy_ns)

    def trace(self, call: Call, step: str, **facts: Any) -> None:
        """Pass one step of a request to the tracer, if there is one."""
        if self._tracer is not None:
            notify(
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
        return f"RequestAccounting({self.circuits!r}, {self.budget!r})"
