"""Venues that refuse with HTTP 200 and an error in the body (`ExceptionHandlerStrategy.refuses`)."""

from __future__ import annotations

from rest_kit import GET, POST, Answer, Desk, Limits, Requests, in_virtual_time

from workers.contract.errors import BadRequest, OutcomeUnknown, RateLimited, RestError, ServerError
from workers.contract.protocols import ExceptionHandlerStrategy, Failure
from workers.contract.rest import ReplayClass
from workers.rest import outcome

OK, BUSY, FULL, WRONG, OPEN = b'{"v":1}', b"busy", b"full", b"wrong", b"open"
ERRORS: dict[bytes, type[RestError]] = {
    BUSY: ServerError,
    FULL: RateLimited,
    WRONG: BadRequest,
    OPEN: OutcomeUnknown,
}


class Handler(ExceptionHandlerStrategy):
    def refuses(self, status: int, body: bytes) -> bool:
        return body != OK

    def to_error(self, failure: Failure) -> RestError:
        return ERRORS[failure.body](failure.body.decode(), status=failure.status)


def test_what_is_refused() -> None:
    assert not outcome.refused(200, BUSY, None)  # nobody knows better
    assert not outcome.refused(204, OK, Handler())
    assert outcome.refused(200, BUSY, Handler())
    assert outcome.refused(400, OK, Handler())

    class Bare:  # a strategy need not inherit the default
        def to_error(self, failure: Failure) -> RestError:
            raise NotImplementedError

    assert not outcome.refused(200, BUSY, Bare())  # type: ignore[arg-type]


@in_virtual_time
async def test_a_refused_200_is_retried_as_its_error_says() -> None:
    async with Desk(Answer(200, BUSY), Answer(200, OK), handler=Handler()) as desk:
        assert await desk.rest.request(GET, "/x") == {"v": 1}
        assert len(desk.venue.seen) == 2


@in_virtual_time
async def test_a_refused_200_is_final_as_its_error_says() -> None:
    async with Desk(Answer(200, WRONG), handler=Handler()) as desk:
        error = await desk.fail(GET, "/x")
        assert type(error) is BadRequest
        assert (error.status, error.attempt, len(desk.venue.seen)) == (200, 1, 1)


@in_virtual_time
async def test_our_limits_hear_of_a_limit_that_was_said_with_200() -> None:
    limits = Limits()
    async with Desk(Answer(200, FULL), Answer(200, OK), limits=limits, handler=Handler()) as desk:
        await desk.rest.request(GET, "/x")
        assert [status for status, _ in limits.observed] == [429, 200]


@in_virtual_time
async def test_a_write_whose_outcome_is_open_is_not_repeated() -> None:
    async with Desk(
        Answer(200, OPEN), handler=Handler(), requests=Requests(ReplayClass.BY_CLIENT_ID)
    ) as desk:
        assert type(await desk.fail(POST, "/order")) is OutcomeUnknown
        assert len(desk.venue.seen) == 1
