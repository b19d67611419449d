"""RestManager: one venue account's requests, from the circuit to the typed answer.

    request ─► circuit ─► gate: slot + permit, by priority ─► endpoint ─► prepare ─► sign ─► client ─┐
       ▲                    ▲                                                                        │
       │                    └───────────── retry? (replay class, strategy, budget, deadline) ◄─ judge ◄┘
       └──────────────────────────────────────────────── answer or typed error ◄─────────────────────┘

The circuit and the budget see whole requests, everything from the gate on is one attempt, and one deadline
(`RequestContext.timeout`) stands over all of it. What may be repeated is decided by `outcome`, and
nowhere else; the strategies may only allow less.

A caller who cancels a request that is no read, while it is on the wire, gets the CancelledError that asyncio
demands, with a note that the venue may have carried it out; it is counted (`cancelled_unknown`), and the
caller has to ask the venue just as after an `OutcomeUnknown`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any, NoReturn, Self

import msgspec

from workers.auth.clock import VenueClock
from workers.contract.errors import (
    ClockSkew,
    OutcomeUnknown,
    ParseError,
    RateLimited,
    RequestCancelled,
    RestError,
)
from workers.contract.protocols import RestStrategySet
from workers.contract.rest import Failure, Gauges, Priority, ReplayClass, RequestMetrics, ServerTime
from workers.contract.types import HTTPMethod
from workers.http.client import HttpClient, HttpResponse, Timeout
from workers.rest import outcome
from workers.rest.accounting import RequestAccounting
from workers.rest.call import Call, Plan
from workers.rest.circuit import Circuits
from workers.rest.clock import ClockKeeper
from workers.rest.gate import Denied, Gate, Shut
from workers.rest.health import HealthChecks
from workers.rest.retry import RetryBudget
from workers.rest.sessions import Sessions, default_clients
from workers.rest.trace import Tracer, error_seen, limits_seen, notify, scrub, scrubbed

Observer = Callable[[HTTPMethod, str, int, int], object]
decode_json = msgspec.json.Decoder().decode
END_WITHIN = 1.0  # seconds for requests to end once their client is closed


class RestManager:
    """Async context manager; the client is made when it is first needed.

    Args:
        strategy_set: the venue, validated.
        clients: makes HTTP clients; None: the one that the request context names.
        circuits, retry_budget: None: with their defaults.
        observer: called for each attempt with (method, endpoint, status or 0, ns).
        on_circuit_open: called with (circuit, seconds that it stays open) when one opens.
        tracer: called with every step of a request, redacted.
        venue_clock: what signatures take the time from; None: made of `clock` and `wall`.
        clock, sleep: monotonic seconds and its sleep; wall: seconds since 1970.
    """

    def __init__(
        self,
        strategy_set: RestStrategySet,
        *,
        clients: Callable[[], HttpClient] | None = None,
        circuits: Circuits | None = None,
        retry_budget: RetryBudget | None = None,
        observer: Observer | None = None,
        on_circuit_open: Callable[[str, float], object] | None = None,
        tracer: Tracer | None = None,
        venue_clock: VenueClock | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
        wall: Callable[[], float] = time.time,
    ) -> None:
        plan = self._plan = Plan(strategy_set)
        self._clients = clients
        self._observer = observer
        self._clock = clock
        self._sleep = sleep
        self._accounting = RequestAccounting(
            plan.requests.get_performance_targets(),
            Circuits() if circuits is None else circuits,
            RetryBudget() if retry_budget is None else retry_budget,
            clock,
            on_circuit_open,
            tracer,
        )
        self._tally = self._accounting.tally
        self._time = ClockKeeper(venue_clock or VenueClock(clock, wall), self._ask_time)
        self._gate = Gate(plan.context.max_concurrent, clock, sleep)
        self._sessions = Sessions(clients or default_clients(plan.context))
        self._health = HealthChecks(plan, self._sessions, clock, sleep)
        self._order = 0
        self._inside = 0
        self._switches = 0  # of plans that were replaced
        self._closed = False
        self._ended: asyncio.Event | None = None  # made by `close`: nobody is inside any more

    # -- the face ---------------------------------------------------------------------------------------
    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # Not coroutines of their own: one frame less for each request to pass through.
    def get(
        self, endpoint: str, params: Mapping[str, Any] | None = None, **options: Any
    ) -> Coroutine[Any, Any, Any]:
        return self.request(HTTPMethod.GET, endpoint, params, **options)

    def post(
        self, endpoint: str, params: Mapping[str, Any] | None = None, json_data: Any = None, **options: Any
    ) -> Coroutine[Any, Any, Any]:
        return self.request(HTTPMethod.POST, endpoint, params, json_data, **options)

    def put(
        self, endpoint: str, params: Mapping[str, Any] | None = None, json_data: Any = None, **options: Any
    ) -> Coroutine[Any, Any, Any]:
        return self.request(HTTPMethod.PUT, endpoint, params, json_data, **options)

    def delete(
        self, endpoint: str, params: Mapping[str, Any] | None = None, **options: Any
    ) -> Coroutine[Any, Any, Any]:
        return self.request(HTTPMethod.DELETE, endpoint, params, **options)

    async def request(
        self,
        method: HTTPMethod,
        endpoint: str,
        params: Mapping[str, Any] | None = None,
        json_data: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        decoder: Callable[[bytes], Any] | None = None,
        raw: bool = False,
        priority: Priority | None = None,
        queue_timeout: float | None = None,
    ) -> Any:
        """The decoded JSON of the answer; `raw=True`: its bytes; `decoder`: what that makes of the bytes.

        Args:
            priority: whose permit comes first; None: the request strategy decides.
            queue_timeout: seconds that it may wait to be sent; 0.0: not at all. None: up to its deadline,
                and not at all for BACKGROUND.

        Raises a `RestError` whose `action` says what to do next; nothing takes longer than the request
        context's `timeout`, waits for permits included.
        """
        now = self._clock()
        self._order += 1
        call = Call(
            self._plan,
            self._order,
            now,
            method,
            endpoint,
            params,
            json_data,
            headers,
            priority,
            queue_timeout,
        )
        if self._closed:
            raise RequestCancelled(f"the manager is closed; {outcome.NOT_SENT}", sent=False, **call.facts)
        accounting = self._accounting
        accounting.begin(call, now)
        self._inside += 1
        try:
            body = await self._attempts(call)
            value = body if raw else self._decode(call, body, decoder)
        except RestError as error:
            accounting.failed(call, error)
            raise
        except asyncio.CancelledError as error:
            accounting.cancelled(call, error)
            raise
        except BaseException as error:
            accounting.broken(call, error)
            if isinstance(error, Exception) and call.busy_ns and call.route.replay is not ReplayClass.SAFE:
                raise OutcomeUnknown(
                    f"{type(error).__name__} on our side, after an attempt went out: ask the venue what "
                    "became of the request",
                    status=call.status,
                    **call.facts,
                ) from error
            raise
        finally:
            self._inside -= 1
            if call.retrying:
                accounting.end_retry(call)
            if self._ended is not None and not self._inside:
                self._ended.set()
        accounting.succeeded(call, len(body))
        return value

    def get_metrics(self) -> RequestMetrics:
        """Counts since the start or the last reset; sessions, connections and failovers since the start."""
        stats = self._sessions.stats()
        return self._tally.metrics(
            sessions=self._sessions.made,
            connections=stats.opened,
            open_connections=stats.open,
            waiting=self._gate.waiting,
            in_flight=self._gate.taken,
            failovers=self._failovers,
            circuits_open=self._accounting.circuits.open_count(self._clock()),
        )

    def get_performance_summary(self) -> dict[str, Any]:
        """Success rate, compliance (share under 50 ms; compliant from 95 %), targets, failures by kind,
        latencies by endpoint, and the state of everything that decides about requests."""
        now = self._clock()
        stats = self._sessions.stats()
        return self._tally.summary() | {
            "connection_reuse": 1.0 - stats.opened / stats.requests if stats.requests else 1.0,
            "sessions": self._sessions.made,
            "open_connections": stats.open,
            "waiting": self._gate.waiting,
            "in_flight": self._gate.taken,
            "endpoint": self._plan.endpoints.current(now),
            "failovers": self._failovers,
            "circuits": {name: state.value for name, state in self._accounting.circuits.states(now).items()},
            "circuit_opens": self._accounting.circuits.opens,
            "limiter": repr(self._plan.limits),
            "retry_budget": repr(self._accounting.budget),
        }

    def reset_metrics(self) -> None:
        self._tally.reset()

    def gauges(self) -> Gauges:
        """Cheap: for whoever looks several times a second."""
        return Gauges(
            retries=self._accounting.retried,
            failovers=self._failovers,
            circuit_opens=self._accounting.circuits.opens,
            waiting=self._gate.waiting,
            in_flight=self._gate.taken,
            open_connections=self._sessions.stats().open,
            circuits_open=self._accounting.circuits.open_count(self._clock()),
        )

    def load(self) -> None:
        """Make the HTTP client now, not with the first request. It imports a library, which takes its time:
        best done in a thread, before the manager is used.

        Raises `workers.http.AdapterMissing` when the library is not installed, ValueError for a client that
        nobody knows.
        """
        self._sessions.load()

    def replace_strategy(self, strategy_set: RestStrategySet) -> None:
        """Use another validated set from the next request on; those under way end with the old one."""
        self._health.stop()
        self._switches += self._plan.endpoints.switches
        plan = self._plan = Plan(strategy_set)
        self._tally.aim(plan.requests.get_performance_targets())
        self._gate.resize(plan.context.max_concurrent)
        self._sessions.renew(self._clients or default_clients(plan.context))
        self._health = HealthChecks(plan, self._sessions, self._clock, self._sleep)

    async def close(self, grace: float | None = None) -> None:
        """Refuse new requests, end those that wait at once, let those on the wire finish for `grace` seconds
        (default: the read timeout) and fail them then. No task is left. Idempotent."""
        self._closed = True
        self._gate.shut()
        checks = self._health.stop()
        if self._ended is None:
            self._ended = asyncio.Event()
        if self._inside:
            await self._end_within(self._plan.context.read_timeout if grace is None else grace)
        await self._sessions.close()
        if self._inside:
            await self._end_within(END_WITHIN)
        tasks = [task for task in (checks, self._time.stop()) if task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _end_within(self, seconds: float) -> None:
        assert self._ended is not None
        try:
            async with asyncio.timeout(seconds):
                await self._ended.wait()
        except TimeoutError:
            pass  # closing their client fails them

    def __repr__(self) -> str:
        return (
            f"RestManager({self._plan.endpoints!r}, {self._gate!r}, {self._plan.limits!r}, "
            f"{self._accounting!r}, closed={self._closed})"
        )

    # -- one request ------------------------------------------------------------------------------------
    async def _attempts(self, call: Call) -> bytes:
        while True:
            call.attempt += 1
            if call.delay > 0.0 or not self._gate.enter_now(call):
                await self._wait(call)
            try:
                url, headers, data, bounds = self._make_ready(call)
                answer = await self._send(call, url, headers, data, bounds)
                return self._judge(call, answer)
            except RestError as error:
                call.last = error
            finally:
                call.give_back(self._clock())
                self._gate.leave()
            await self._allow_retry(call, call.last)

    async def _wait(self, call: Call) -> None:
        try:
            await self._gate.enter(call, call.until if call.last is None else call.deadline, call.delay)
        except (Denied, Shut) as refusal:
            if call.last is not None:
                self._give_up(call, call.last)  # more to the point than that there was no time for a retry
            call.base_url = call.plan.endpoints.current(self._clock())
            wait = None if isinstance(refusal, Shut) else refusal.wait
            self._accounting.trace(call, "denied", wait=wait)
            raise outcome.not_let_in(wait, self._gate.slots, call.facts) from None

    def _make_ready(self, call: Call) -> tuple[str, Mapping[str, str], bytes | None, Timeout]:
        """Where and what to send, and how long it may take."""
        plan = call.plan
        now = call.sent_at = self._clock()
        left = call.deadline - now
        call.base_url = plan.endpoints.current(now) if plan.failover else plan.base_url
        if left <= 0.0:
            if call.last is not None:
                raise call.last  # more to the point
            raise RequestCancelled(f"no time left; {outcome.NOT_SENT}", sent=False, **call.facts)
        url, headers, data = call.build(self._time.clock.now_ms)
        if plan.failover:
            self._health.start()
        if self._accounting.tracing:
            self._accounting.trace(
                call, "send", base_url=call.base_url, headers=sorted(headers), bytes=len(data or b"")
            )
        return url, headers, data, plan.bounds_within(left)

    def _judge(self, call: Call, answer: HttpResponse) -> bytes:
        """The body of an answer; raises what a refusal means."""
        plan = call.plan
        refusal: RestError | None = None
        if outcome.refused(call.status, answer.content, plan.strategies.exception_handler_strategy):
            refusal = self._refused(call, answer)
        # "Too many requests" counts for our limits whatever its status.
        too_many = 200 <= call.status < 300 and isinstance(refusal, RateLimited)
        plan.limits.observe(429 if too_many else call.status, answer.headers, call.answered_at, call.sent_at)
        if refusal is not None:
            raise refusal
        if plan.failover:
            plan.endpoints.succeeded(call.base_url, call.answered_at)
        if self._accounting.tracing:
            self._accounting.trace(
                call,
                "answer",
                status=call.status,
                bytes=len(answer.content),
                limits=limits_seen(answer.headers),
            )
        return answer.content

    async def _send(
        self, call: Call, url: str, headers: Mapping[str, str], data: bytes | None, bounds: Timeout
    ) -> HttpResponse:
        """Exactly one request on the wire."""
        call.status = 0
        self._tally.attempts += 1
        sessions = self._sessions
        session = sessions.borrow()
        failure: BaseException | None = None
        started = time.perf_counter_ns()
        try:
            answer = await session.client.request(
                call.method.value, url, headers=headers, content=data, timeout=bounds, follow_redirects=False
            )
            call.status = answer.status_code
            return answer
        except Exception as error:
            failure = error
            raise self._unanswered(call, error) from error
        except BaseException as error:
            failure = error
            raise
        finally:
            took = time.perf_counter_ns() - started
            call.busy_ns += took
            call.answered_at = self._clock()
            sessions.give_back(session, failure)
            if self._observer is not None:
                notify(self._observer, call.method, call.endpoint, call.status, took)

    def _unanswered(self, call: Call, error: Exception) -> RestError:
        scrub(error, call.secrets)
        message = scrubbed(str(error) or type(error).__name__, call.secrets)
        verdict = outcome.no_answer(error, call.judged_as, call.facts, message)
        self._note_failure(call, verdict)
        if self._accounting.tracing:
            self._accounting.trace(call, "no answer", **error_seen(verdict))
        return verdict

    def _refused(self, call: Call, answer: HttpResponse) -> RestError:
        failure = Failure(
            method=call.method,
            endpoint=call.endpoint,
            attempt=call.attempt,
            status=call.status,
            headers=answer.headers,
            body=answer.content,
            replay=call.judged_as,
            base_url=call.base_url,
        )
        verdict = outcome.judge(failure, call.plan.strategies.exception_handler_strategy)
        scrub(verdict, call.secrets)
        if isinstance(verdict, RateLimited):
            self._tally.rate_limit_hits += 1
            asked = call.plan.retry.handle_rate_limit(answer.headers)
            verdict.retry_after = max(verdict.retry_after, asked)
        self._note_failure(call, verdict)
        if self._accounting.tracing:
            self._accounting.trace(call, "refused", limits=limits_seen(answer.headers), **error_seen(verdict))
        return verdict

    def _note_failure(self, call: Call, error: RestError) -> None:
        """Whether another endpoint may do better."""
        endpoints = call.plan.endpoints
        if not call.plan.failover or isinstance(error, RateLimited) or not outcome.counts_as_failure(error):
            return
        call.tried += (call.base_url,)
        if endpoints.failed(call.base_url, call.answered_at) and self._accounting.tracing:
            self._accounting.trace(call, "failover", to=endpoints.current(call.answered_at))

    async def _allow_retry(self, call: Call, error: RestError | None) -> None:
        """Returns when there is to be another attempt, after `call.delay` seconds; raises otherwise."""
        assert error is not None
        self._accounting.end_retry(call)
        if isinstance(error, ClockSkew):
            await self._correct_clock(call, error)
            return
        retry = call.plan.retry
        if not outcome.may_repeat(error, call.judged_as) or not retry.should_retry(call.attempt, error):
            self._give_up(call, error)
        now = self._clock()
        elsewhere = call.plan.failover and call.plan.endpoints.current(now) not in call.tried
        call.delay = 0.0 if elsewhere else retry.calculate_delay(call.attempt, error)
        if now + call.delay >= call.deadline or not self._accounting.budget.may_retry():
            self._give_up(call, error)
        call.may_have_executed = call.may_have_executed or outcome.may_have_executed(error)
        self._accounting.begin_retry(call)

    def _give_up(self, call: Call, error: RestError) -> NoReturn:
        if call.route.refuses_repeats and (call.may_have_executed or outcome.may_have_executed(error)):
            raise OutcomeUnknown(
                f"one of {call.attempt} attempts may have been carried out; the last: {error.message}; "
                "ask the venue what became of it",
                status=error.status,
                code=error.code,
                **call.facts,
            ) from error
        raise error

    def _decode(self, call: Call, body: bytes, decoder: Callable[[bytes], Any] | None) -> Any:
        try:
            return decode_json(body) if decoder is None else decoder(body)
        except Exception as error:  # whatever a decoder raises, the request itself was answered
            scrub(error, call.secrets)
            message = scrubbed(f"the answer cannot be decoded: {error}", call.secrets)
            if call.route.replay is ReplayClass.SAFE:
                raise ParseError(message, status=call.status, **call.facts) from error
            raise OutcomeUnknown(
                f"{message}; the venue did answer {call.status}: ask it what became of the request",
                status=call.status,
                **call.facts,
            ) from error

    # -- the venue's clock ------------------------------------------------------------------------------
    async def _correct_clock(self, call: Call, error: ClockSkew) -> None:
        """One further attempt with the venue's time, which NEVER does not get: its caller does, with a clock
        that is right."""
        if call.skewed:
            self._give_up(call, error)
        call.skewed = True
        learnt = await self._time.learn(call.plan, call.deadline - self._clock())
        if not learnt or call.route.replay is ReplayClass.NEVER:
            self._give_up(call, error)
        call.delay = 0.0
        if self._accounting.tracing:
            self._accounting.trace(call, "clock", offset_ms=self._time.clock.offset_ms)
        self._accounting.begin_retry(call)

    async def _ask_time(self, plan: Plan, asked: ServerTime) -> tuple[Call, bytes]:
        self._order += 1
        call = Call(plan, self._order, self._clock(), HTTPMethod.GET, asked.endpoint, priority=Priority.NEW)
        try:
            return call, await self._attempts(call)
        finally:
            self._accounting.end_retry(call)

    # -- endpoints --------------------------------------------------------------------------------------
    @property
    def _failovers(self) -> int:
        return self._switches + self._plan.endpoints.switches
