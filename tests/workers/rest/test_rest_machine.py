"""The whole manager as a state machine: any requests, any failures, any order, in virtual time.

Hypothesis chooses what is asked, what becomes of each request on the wire, who is cancelled, when the
strategy is replaced, how time passes. After each step, and at the end, what must hold whatever happened:

1. A request has at most `attempts` attempts, one more for a clock; NEVER has at most one.
2. No request lasts longer than its deadline.
3. Permits and slots balance; nothing is in flight and nobody waits at the end.
4. A breaker sees each whole request once at most, never an attempt.
5. The metrics add up: every request is successful, failed, denied or cancelled.
6. A request that was sent and has no answer is never ended as if it were known, unless it is a read.
7. Only what certainly was not sent says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule
from rest_kit import (
    WALL,
    Answer,
    Auth,
    Blackhole,
    Fail,
    Hang,
    Limits,
    Requests,
    Seen,
    Step,
    Venue,
    VirtualLoop,
)

from workers.contract.errors import ClockSkew, OutcomeUnknown, RestError
from workers.contract.protocols import RestStrategySet
from workers.contract.rest import Failure, Priority, ReplayClass, ServerTime
from workers.contract.types import HTTPMethod
from workers.http.errors import (
    BodyUnreadable,
    ConnectFailed,
    ConnectionLost,
    InvalidUrl,
    PoolTimedOut,
    ProtocolViolation,
)
from workers.rest import RestManager, outcome
from workers.rest.circuit import CircuitBreaker, Circuits
from workers.rest.retry import ExponentialRetry

ATTEMPTS = 4
TIMEOUT = 12.0
SKEWED = 460  # a status that this venue's handler reads as "your clock is wrong"

CERTAIN = (Answer(), Answer(400), Answer(404), Answer(429), Answer(SKEWED))
DOUBTFUL = (
    Hang(),
    Answer(500),
    Answer(503, after=1.0),
    Answer(body=b"<", after=0.2),
    Fail(ConnectionLost),
    Fail(ProtocolViolation, after=2.0),
    Fail(BodyUnreadable),
    Fail(ConnectFailed, sent=True),
)
UNSENT = (Blackhole(), Fail(ConnectFailed), Fail(PoolTimedOut), Fail(InvalidUrl))
STEPS = st.sampled_from(CERTAIN + DOUBTFUL + UNSENT)


class Handler:
    def to_error(self, failure: Failure) -> RestError:
        return ClockSkew("clock") if failure.status == SKEWED else outcome.default_error(failure)


class Ticking(CircuitBreaker):
    """Counts what is ended."""

    __slots__ = ("reports",)

    reports: int

    def __init__(self, name: str) -> None:
        super().__init__(3, 5.0, 2, name=name)
        self.reports = 0

    def succeeded(self, ticket: int, now: float) -> None:
        self.reports += 1
        super().succeeded(ticket, now)

    def failed(self, ticket: int, now: float) -> None:
        self.reports += 1
        super().failed(ticket, now)

    def cancelled(self, ticket: int, now: float) -> None:
        self.reports += 1
        super().cancelled(ticket, now)


class Asked:
    """One request and all that is known of it from outside."""

    def __init__(self, number: int, replay: ReplayClass, repeats: bool, began: float) -> None:
        self.number = number
        self.replay = replay
        self.repeats = repeats
        self.began = began
        self.ended = 0.0
        self.steps: list[Step] = []
        self.task: asyncio.Task[Any]


class Machine(RuleBasedStateMachine):
    requests = Bundle("requests")

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.venue = Venue()
        self.venue.decide = self.decide
        self.limits: list[Limits] = []
        self.asked: list[Asked] = []
        self.breakers: list[Ticking] = []
        self.planned: dict[int, list[Step]] = {}
        self.closed = False
        self.rest: RestManager = self.run(self.make)

    def run(self, act: Callable[[], Any]) -> Any:
        """One synchronous act within the loop, and the turns that it causes."""

        async def main() -> Any:
            value = act()
            for _ in range(5):
                await asyncio.sleep(0)
            return value

        return self.loop.run_until_complete(main())

    def breaker(self, name: str) -> CircuitBreaker:
        self.breakers.append(Ticking(name))
        return self.breakers[-1]

    def strategies(self, slots: int) -> RestStrategySet:
        machine = self
        self.limits.append(Limits())

        class Every(Requests):
            """The request's number is its endpoint; it knows its replay class."""

            def replay_class(self, method: HTTPMethod, endpoint: str) -> ReplayClass:
                return ReplayClass.SAFE if endpoint == "/time" else machine.of(endpoint).replay

            def refuses_repeats(self, method: HTTPMethod, endpoint: str) -> bool:
                return machine.of(endpoint).repeats

            def circuit(self, method: HTTPMethod, endpoint: str) -> str:
                return "one" if endpoint == "/time" else f"circuit {machine.of(endpoint).number % 2}"

        time = ServerTime(endpoint="/time", read=int)
        return RestStrategySet(
            Every(
                alternates=("http://second",),
                timeout=TIMEOUT,
                read_timeout=1.5,
                connection_timeout=1.0,
                max_concurrent=slots,
                health_endpoint="/ping",
            ),
            self.limits[-1],
            ExponentialRetry(ATTEMPTS, base=0.5, chance=lambda: 0.5),
            Auth(time),
            Handler(),
        )

    def make(self) -> RestManager:
        return RestManager(
            self.strategies(3),
            clients=self.venue.client,
            circuits=Circuits(self.breaker),
            clock=self.loop.time,
            wall=lambda: WALL,
        )

    def of(self, endpoint: str) -> Asked:
        return self.asked[int(endpoint.rpartition("/")[2])]

    def decide(self, seen: Seen) -> Step:
        path = seen.url.partition("?")[0].partition("//")[2].partition("/")[2]
        if path == "ping":
            return Answer()
        if path == "time":
            return Answer(body=str(int(WALL * 1000)).encode())
        asked = self.of(path)
        plan = self.planned[asked.number]
        step = plan.pop(0) if plan else Answer()
        asked.steps.append(step)
        return step

    # -- what may happen ---------------------------------------------------------------------------------
    @precondition(lambda self: not self.closed)
    @rule(
        target=requests,
        method=st.sampled_from([HTTPMethod.GET, HTTPMethod.POST, HTTPMethod.DELETE]),
        replay=st.sampled_from(ReplayClass),
        repeats=st.booleans(),
        plan=st.lists(STEPS, max_size=6),
        priority=st.none() | st.sampled_from(Priority),
        queue_timeout=st.none() | st.sampled_from([0.0, 0.5, 5.0]),
    )
    def ask(
        self,
        method: HTTPMethod,
        replay: ReplayClass,
        repeats: bool,
        plan: list[Step],
        priority: Priority | None,
        queue_timeout: float | None,
    ) -> Asked:
        asked = Asked(len(self.asked), replay, repeats, self.loop.time())
        self.asked.append(asked)
        self.planned[asked.number] = plan
        endpoint = f"/private/{asked.number}"

        def end(task: Any) -> None:
            asked.ended = self.loop.time()

        def act() -> None:
            request = self.rest.request(method, endpoint, priority=priority, queue_timeout=queue_timeout)
            asked.task = self.loop.create_task(request)
            asked.task.add_done_callback(end)

        self.run(act)
        return asked

    @rule(asked=requests)
    def cancel(self, asked: Asked) -> None:
        self.run(asked.task.cancel)

    @rule(seconds=st.sampled_from([0.005, 0.1, 0.6, 2.0, 7.0, 40.0]))
    def wait(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))

    @rule(room=st.sampled_from([0, 1, 3, 10**6]), wait=st.sampled_from([0.3, 4.0, 30.0]))
    def limit(self, room: int, wait: float) -> None:
        self.limits[-1].room = room
        self.limits[-1].wait = wait

    @precondition(lambda self: not self.closed)
    @rule(slots=st.integers(1, 4))
    def replace(self, slots: int) -> None:
        self.run(lambda: self.rest.replace_strategy(self.strategies(slots)))

    @rule(grace=st.sampled_from([0.0, 1.0]))
    def close(self, grace: float) -> None:
        self.closed = True
        self.loop.run_until_complete(self.rest.close(grace))

    # -- what must hold ----------------------------------------------------------------------------------
    @invariant()
    def permits_are_never_given_back_twice(self) -> None:
        assert all(limits.released <= len(limits.granted) for limits in self.limits)

    @invariant()
    def the_ended_ended_as_they_may(self) -> None:
        for asked in self.asked:
            self.check(asked)

    def check(self, asked: Asked) -> None:
        steps = asked.steps
        if asked.replay is ReplayClass.NEVER:
            assert len(steps) <= 1
        assert len(steps) <= ATTEMPTS + (Answer(SKEWED) in steps)
        if not asked.task.done():
            return
        assert asked.ended - asked.began <= TIMEOUT + 0.002
        if asked.task.cancelled():
            return
        error = asked.task.exception()
        assert error is None or isinstance(error, RestError), repr(error)
        if asked.replay is not ReplayClass.SAFE and any(step in DOUBTFUL for step in steps):
            # A later success is one: the venue refuses repetitions, and took this one.
            assert isinstance(error, OutcomeUnknown) or (error is None and asked.repeats)
        elif not self.closed:  # closing the client under a request leaves any step without its answer
            assert not isinstance(error, OutcomeUnknown)
        if isinstance(error, RestError) and not steps:
            assert not error.sent

    def teardown(self) -> None:
        try:
            self.end()
        finally:
            self.loop.close()

    def end(self) -> None:
        async def main() -> None:
            await asyncio.wait(
                [asked.task for asked in self.asked] or [asyncio.ensure_future(asyncio.sleep(0))]
            )
            await self.rest.close()
            await asyncio.sleep(0)
            assert asyncio.all_tasks() == {asyncio.current_task()}

        self.loop.run_until_complete(main())
        for asked in self.asked:
            self.check(asked)
        for limits in self.limits:
            assert limits.released == len(limits.granted)
        metrics = self.rest.get_metrics()
        assert (metrics.in_flight, metrics.waiting) == (0, 0)
        summary = self.rest.get_performance_summary()
        ended = metrics.successful + metrics.failed + summary["denied"] + summary["cancelled"]
        assert ended == len(self.asked)
        refusals = summary["failures"].get("CircuitOpen", 0)
        assert sum(breaker.reports for breaker in self.breakers) == len(self.asked) - refusals


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
