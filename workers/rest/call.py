"""One request on its way through a manager, and what all requests of a strategy set have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from workers.auth.encoding import encode_json, encode_query
from workers.contract.errors import RestError
from workers.contract.protocols import RestStrategySet
from workers.contract.rest import AuthenticationData, Priority, ReplayClass
from workers.contract.types import HTTPMethod
from workers.http.client import Timeout
from workers.rest.circuit import CircuitBreaker
from workers.rest.endpoints import Endpoints

CONNECT_WITH_ALTERNATES = 0.8  # seconds: two dead endpoints and a healthy one are found in less than 2
JSON = "application/json"
ROUTES = 256  # remembered at a time: paths with ids in them must not fill the memory
NO_TIMER_IS_FINER = 0.001  # seconds


class Route:
    """What a venue's strategy decides for every request of one method and endpoint; asked once."""

    __slots__ = ("circuit", "priority", "refuses_repeats", "replay", "signed")

    def __init__(self, strategies: RestStrategySet, method: HTTPMethod, endpoint: str) -> None:
        requests, auth = strategies.request_strategy, strategies.auth_strategy
        self.replay = requests.replay_class(method, endpoint)
        self.refuses_repeats = self.replay is ReplayClass.BY_CLIENT_ID and requests.refuses_repeats(
            method, endpoint
        )
        self.priority = requests.priority(method, endpoint)
        self.circuit = requests.circuit(method, endpoint)
        self.signed = auth is not None and auth.requires_auth(endpoint)


class Plan:
    """A strategy set and its context, taken apart once. A request keeps the plan that it began with."""

    __slots__ = (
        "_routes",
        "auth",
        "base_url",
        "bounds",
        "context",
        "endpoints",
        "failover",
        "limits",
        "requests",
        "retry",
        "strategies",
        "timeout",
    )

    def __init__(self, strategies: RestStrategySet) -> None:
        context = strategies.request_strategy.create_request_context()
        self.strategies = strategies
        self.requests = strategies.request_strategy
        self.limits = strategies.rate_limit_strategy
        self.retry = strategies.retry_strategy
        self.auth = strategies.auth_strategy
        self.context = context
        self.timeout = context.timeout
        self._routes: dict[tuple[HTTPMethod, str], Route] = {}
        self.failover = bool(context.alternates)
        self.base_url = context.base_url.rstrip("/")  # the only one, when there are no alternates
        self.endpoints = Endpoints(
            [url.rstrip("/") for url in (context.base_url, *context.alternates)],
            stable_for=context.stable_for,
            check_every=context.health_interval,
        )
        connect = context.connection_timeout
        if self.failover:
            connect = min(connect, CONNECT_WITH_ALTERNATES)
        self.bounds = Timeout(context.timeout, connect, context.read_timeout)

    def route(self, method: HTTPMethod, endpoint: str) -> Route:
        route = self._routes.get((method, endpoint))
        if route is None:
            route = Route(self.strategies, method, endpoint)
            if len(self._routes) >= ROUTES:
                self._routes.clear()
            self._routes[method, endpoint] = route
        return route

    def bounds_within(self, left: float) -> Timeout:
        """The timeouts of an attempt that has `left` seconds."""
        bounds = self.bounds
        # The same object as long as it makes no difference: clients convert it, and need not do so each time.
        if left >= self.timeout - NO_TIMER_IS_FINER:
            return bounds
        return Timeout(left, bounds.connect, bounds.read)


class Call:
    """One request. It stands in the gate's queue as an `Entrant`."""

    # What most requests never change is a default of the class: it costs them nothing.
    attempt = 0
    status = 0  # of the latest attempt
    busy_ns = 0  # on the wire, all attempts
    base_url = ""
    delay = 0.0  # before the next attempt
    last: RestError | None = None  # what the latest attempt failed with
    may_have_executed = False  # an attempt may have been carried out, and we went on
    retrying = False  # counted by the retry budget
    skewed = False  # the venue's time was learnt for it
    tried: tuple[str, ...] = ()  # base URLs that failed it
    secrets: tuple[str, ...] = ()  # what signing added to the latest attempt
    breaker: CircuitBreaker | None = None  # what the circuit gave it
    ticket = 0

    def __init__(
        self,
        plan: Plan,
        order: int,
        now: float,
        method: HTTPMethod,
        endpoint: str,
        params: Mapping[str, Any] | None = None,
        json_data: Any = None,
        headers: Mapping[str, str] | None = None,
        priority: Priority | None = None,
        queue_timeout: float | None = None,
    ) -> None:
        route = plan.route(method, endpoint)
        self.plan = plan
        self.route = route
        self.order = order
        self.method = method
        self.endpoint = endpoint
        self.params = params
        self.json_data = json_data
        self.headers = headers
        self.priority = route.priority if priority is None else priority
        self.deadline = self.until = deadline = now + plan.timeout
        if queue_timeout is not None:
            self.until = min(deadline, now + queue_timeout)
        elif self.priority is Priority.BACKGROUND:
            self.until = now  # what nobody waits for does not wait either
        self.sent_at = self.answered_at = now

    def ask(self, now: float) -> float:
        return self.plan.limits.acquire(self.method, self.endpoint, self.params, now, self.priority)

    def give_back(self, now: float) -> None:
        self.plan.limits.release(self.method, self.endpoint, now)

    @property
    def judged_as(self) -> ReplayClass:
        """The replay class by which failures are judged."""
        return ReplayClass.SAFE if self.route.refuses_repeats else self.route.replay

    @property
    def facts(self) -> dict[str, Any]:
        """The facts of the request that every error carries."""
        return {
            "method": self.method.value,
            "endpoint": self.endpoint,
            "base_url": self.base_url,
            "attempt": self.attempt,
        }

    def build(self, now_ms: Callable[[], int]) -> tuple[str, dict[str, str], bytes | None]:
        """URL, headers and body as they go on the wire: prepared, then signed where required."""
        plan = self.plan
        prepared = plan.requests.prepare_request(self.method, self.endpoint, self.params, self.headers)
        params: Sequence[tuple[str, str]] = prepared.params
        headers = {**plan.context.default_headers, **prepared.headers}
        data = None if self.json_data is None else encode_json(self.json_data)
        query: str | None = None
        if self.route.signed:
            assert plan.auth is not None
            signed = plan.auth.sign_request(self.method, self.endpoint, params, self.json_data, now_ms())
            self.secrets = secrets_of(signed, params)
            headers.update(signed.headers)
            params = params if signed.params is None else signed.params
            data = data if signed.data is None else signed.data
            query = signed.query
        if data is not None and not any(name.lower() == "content-type" for name in headers):
            headers["Content-Type"] = JSON
        # What was signed is what is sent; else encoded here, once.
        if query is None:
            query = encode_query(params) if params else ""
        url = self.base_url + prepared.path
        return (url + "?" + query if query else url), headers, data

    def __repr__(self) -> str:
        return (
            f"Call({self.order}, {self.method} {self.endpoint}, attempt={self.attempt}, {self.priority.name})"
        )


def secrets_of(signed: AuthenticationData, params: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """What signing added: none of it may be seen in an error or a trace."""
    known = {value for _, value in params}
    added = [value for _, value in signed.params or () if value not in known]
    if signed.query is not None:
        added += [value for part in signed.query.split("&") if (value := part.partition("=")[2]) not in known]
    return (*signed.headers.values(), *added)
