"""REST under the venue's limits and its bad days, with scripted answers and a clock of our own."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from tests.conformance.fixture import Limited, load
from tests.conformance.mutations import mutants
from tests.conformance.player import config
from tests.conformance.report import Case, row
from tests.workers.rest.rest_kit import Answer, virtual
from tests.workers.rest.rest_kit import Venue as Server
from workers.contract.errors import RestError
from workers.contract.protocols import RestStrategySet
from workers.contract.rest import Failure, ReplayClass
from workers.contract.types import HTTPMethod
from workers.rest import RestManager
from workers.venues import venue as venues

CALLERS = 20


def strategies(case: Case) -> RestStrategySet:
    return case.venue.rest.strategies(config(case.fixture, rest_url="http://venue", rest_timeout=600.0))


async def under_limit(case: Case, limited: Limited, rest: RestStrategySet) -> None:
    """Twenty callers make a request; the first answer is that there were too many."""
    loop = asyncio.get_running_loop()
    fine = Answer(200, case.fixture.fine)
    server = Server(Answer(limited.status, limited.body, dict(limited.headers)))
    server.then = fine
    manager = RestManager(
        rest, clients=server.client, clock=loop.time, sleep=asyncio.sleep, wall=lambda: 1.79e9 + loop.time()
    )

    async def caller(number: int) -> None:
        """As a worker does it: again, after the time in the error."""
        await asyncio.sleep(0.05 * (number > 0))  # the others come when the first has been answered
        while True:
            try:
                await manager.get(case.fixture.endpoint)
                return
            except RestError as error:
                await asyncio.sleep(max(1.0, error.retry_after))

    try:
        async with asyncio.timeout(3600):
            await asyncio.gather(*map(caller, range(CALLERS)))
    finally:
        await manager.close()
    first, *later = [one.at for one in server.seen]
    assert later, "no caller has tried again"
    assert min(later) - first >= limited.wait, f"after {min(later) - first:.2f} s, not {limited.wait}"
    assert len(server.seen) <= CALLERS + 1  # no storm: each once, and the first again


@row(
    21, "REST answers that there were too many requests, in each of its forms: none before its time, no storm"
)
def test_a_limit_is_kept(case: Case) -> None:
    kept = []
    for name, limited in case.fixture.limited.items():
        if isinstance(limited, Limited):
            virtual(under_limit(case, limited, strategies(case)))
            kept.append(name)
    case.figure = ", ".join(kept)


@row(22, "Whatever the body of a refusal, the error is a typed one")
def test_any_body_gives_a_typed_error(case: Case) -> None:
    handler = strategies(case).exception_handler_strategy
    bodies = [b"", b"null", b"[]", b"<html>502</html>", b"\xff\xfe"]
    bodies += [limited.body for limited in case.fixture.limited.values() if isinstance(limited, Limited)]
    bodies += mutants(bodies, 500, seed=5)
    chance = random.Random(5)
    if handler is None:
        return
    for body in bodies:
        error = handler.to_error(
            Failure(
                method=HTTPMethod.GET,
                endpoint=case.fixture.endpoint,
                attempt=1,
                status=chance.choice((200, 400, 401, 403, 404, 418, 429, 500, 503)),
                headers=chance.choice(({}, {"Retry-After": "2"}, {"Retry-After": "x"})),
                body=body,
                replay=ReplayClass.SAFE,
            )
        )
        assert isinstance(error, RestError), body
    case.figure = f"{len(bodies)}/{len(bodies)}"


# -- negative controls --------------------------------------------------------------------------------------
def test_a_client_that_does_not_wait_is_noticed() -> None:
    """Negative control of row 21: a limiter that does not learn from answers."""
    case = Case(load("binance_spot"), venues.load("binance_spot"))
    whole = strategies(case)

    class Deaf:
        def __getattr__(self, name: str) -> Any:
            return getattr(whole.rate_limit_strategy, name)

        def observe(self, *answer: Any) -> None:
            pass

    hasty = RestStrategySet(whole.request_strategy, Deaf(), whole.retry_strategy)  # type: ignore[arg-type]
    limited = case.fact(case.fixture.limited["429"])
    with pytest.raises(AssertionError, match=r"after \d"):
        virtual(under_limit(case, limited, hasty))
