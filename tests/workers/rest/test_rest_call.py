"""What is asked of a venue's strategies once for all requests alike, and what each request must ask anew."""

from __future__ import annotations

import pytest
from rest_kit import DELETE, GET, POST, Auth, Desk, Fail, Limits, Requests, in_virtual_time

from workers.contract.errors import OutcomeUnknown
from workers.contract.protocols import RestStrategySet
from workers.contract.rest import Priority, ReplayClass
from workers.contract.types import HTTPMethod
from workers.http.errors import ReadTimedOut
from workers.rest import call as module
from workers.rest.call import Call, Plan
from workers.rest.retry import ExponentialRetry


class Asked(Requests):
    """Counts what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.questions: list[tuple[HTTPMethod, str]] = []

    def replay_class(self, method: HTTPMethod, endpoint: str) -> ReplayClass:
        self.questions.append((method, endpoint))
        return super().replay_class(method, endpoint)


def plan_of(requests: Requests, auth: Auth | None = None) -> Plan:
    return Plan(RestStrategySet(requests, Limits(), ExponentialRetry(), auth))


def test_a_route_is_asked_for_once_and_only_for_itself() -> None:
    requests = Asked()
    plan = plan_of(requests)
    routes = {(m, e): plan.route(m, e) for m in (GET, POST, DELETE) for e in ("/a", "/b")}
    for (method, endpoint), route in routes.items():
        assert plan.route(method, endpoint) is route
        assert route.replay is (ReplayClass.SAFE if method is GET else ReplayClass.NEVER)
        assert route.circuit == f"{method} {endpoint}"
    assert requests.questions == list(routes)
    assert [plan.route(m, "/a").priority for m in (GET, POST, DELETE)] == [
        Priority.QUERY,
        Priority.NEW,
        Priority.CANCEL,
    ]


def test_endpoints_with_ids_in_them_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROUTES", 8)
    plan = plan_of(Requests())
    for number in range(100):
        assert plan.route(DELETE, f"/order/{number}").circuit == f"DELETE /order/{number}"
        assert len(plan._routes) <= 8


def test_what_no_timer_tells_apart_is_the_same_timeout() -> None:
    plan = plan_of(Requests(timeout=10.0))
    assert plan.bounds_within(10.0) is plan.bounds_within(9.9995) is plan.bounds
    assert plan.bounds.total == 10.0
    assert plan.bounds_within(9.99).total == 9.99
    assert plan.bounds_within(0.5).total == 0.5


@pytest.mark.parametrize(
    ("priority", "queue_timeout", "until"),
    [
        (None, None, 10.0),
        (Priority.BACKGROUND, None, 0.0),
        (Priority.BACKGROUND, 3.0, 3.0),
        (None, 0.0, 0.0),
        (None, 2.0, 2.0),
        (None, 99.0, 10.0),
    ],
)
def test_queue_timeout(priority: Priority | None, queue_timeout: float | None, until: float) -> None:
    call = Call(
        plan_of(Requests(timeout=10.0)), 1, 100.0, GET, "/x", priority=priority, queue_timeout=queue_timeout
    )
    assert (call.until, call.deadline) == (100.0 + until, 110.0)


@in_virtual_time
async def test_a_replaced_strategy_is_asked_anew() -> None:
    """A new set may call the same endpoint something else: nothing of the old answers is kept."""
    async with Desk(Fail(ReadTimedOut), Fail(ReadTimedOut)) as desk:
        with pytest.raises(OutcomeUnknown):
            await desk.rest.post("/order")
        assert len(desk.venue.seen) == 1
        new = RestStrategySet(Requests(ReplayClass.SAFE), Limits(), ExponentialRetry(3))
        desk.rest.replace_strategy(new)
        await desk.rest.post("/order")
    assert len(desk.venue.seen) == 3, "the second one was repeated"
