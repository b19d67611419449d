"""OKX's error table, row by row (venue docs, "Error Code")."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shm.errors import Action
from workers.contract.errors import (
    AuthenticationError,
    BadRequest,
    ClockSkew,
    OutcomeUnknown,
    RateLimited,
    RestError,
    ServerError,
)
from workers.contract.protocols import Failure, HTTPMethod, ReplayClass
from workers.venues.okx.errors import OkxErrors

SAFE, NEVER = ReplayClass.SAFE, ReplayClass.NEVER
ERRORS = OkxErrors()


def body(code: int | str, message: str = "said", data: object = ()) -> bytes:
    return msgspec.json.encode({"code": str(code), "msg": message, "data": data})


def failure(status: int, content: bytes, replay: ReplayClass = SAFE) -> Failure:
    return Failure(
        method=HTTPMethod.GET,
        endpoint="/api/v5/market/books",
        attempt=2,
        status=status,
        headers={},
        body=content,
        replay=replay,
    )


@pytest.mark.parametrize(
    ("status", "code", "replay", "kind", "action"),
    [
        *((200, code, SAFE, ServerError, Action.BACKOFF) for code in (50001, 50005, 50013, 50026)),
        (200, 50004, SAFE, ServerError, Action.BACKOFF),
        (200, 50004, NEVER, OutcomeUnknown, Action.RESYNC),
        (500, 50026, NEVER, OutcomeUnknown, Action.RESYNC),
        (200, 50026, NEVER, OutcomeUnknown, Action.RESYNC),
        (503, 50001, NEVER, OutcomeUnknown, Action.RESYNC),
        (200, 50013, NEVER, ServerError, Action.BACKOFF),  # by the docs nothing was done
        *((status, 50011, SAFE, RateLimited, Action.BACKOFF) for status in (200, 429)),
        (200, 50061, NEVER, RateLimited, Action.BACKOFF),
        (429, 0, SAFE, RateLimited, Action.BACKOFF),
        (401, 50102, SAFE, ClockSkew, Action.RESYNC),
        *((401, code, NEVER, AuthenticationError, Action.HALT) for code in (50103, 50105, 50111, 50113)),
        (401, 0, SAFE, AuthenticationError, Action.HALT),
        (200, 51001, SAFE, BadRequest, Action.HALT),
        (400, 51000, SAFE, BadRequest, Action.HALT),
        (502, 0, SAFE, ServerError, Action.RETRY),
        (502, 0, NEVER, OutcomeUnknown, Action.RESYNC),
    ],
)
def test_the_table(
    status: int, code: int, replay: ReplayClass, kind: type[RestError], action: Action
) -> None:
    error = ERRORS.to_error(failure(status, body(code), replay))
    assert type(error) is kind
    assert error.action is action
    assert (error.status, error.code, error.attempt) == (status, code, 2)
    assert "said" in str(error)


def test_errors_with_status_200() -> None:
    assert not ERRORS.refuses(200, body(0))
    assert ERRORS.refuses(200, body(51001))
    assert ERRORS.refuses(200, body(50011))
    assert not ERRORS.refuses(200, body(2))  # some of several: each entry has its own result
    assert not ERRORS.refuses(200, b"<html>")  # it cannot be decoded, which gives an error of its own
    assert not ERRORS.refuses(200, b"[]")
    assert not ERRORS.refuses(200, b'{"data":[]}')


def test_a_refused_order_has_its_code_in_its_entry() -> None:
    refused = [{"ordId": "", "sCode": "51008", "sMsg": "Insufficient balance"}]
    for code in (0, 1):
        content = body(code, "", refused)
        assert ERRORS.refuses(200, content)
        error = ERRORS.to_error(failure(200, content, NEVER))
        assert type(error) is BadRequest
        assert error.code == 51008
        assert "Insufficient balance" in str(error)
    assert not ERRORS.refuses(200, body(0, "", [{"ordId": "1", "sCode": "0", "sMsg": ""}]))
    assert not ERRORS.refuses(200, body(0, "", [*refused, *refused]))  # the caller asked for several


def test_a_page_of_a_proxy_gives_a_typed_error() -> None:
    error = ERRORS.to_error(failure(502, b"<html>bad gateway</html>"))
    assert error.code is None
    assert "bad gateway" in str(error)


@given(
    st.binary(max_size=60), st.sampled_from([200, 400, 401, 429, 500, 503]), st.sampled_from([SAFE, NEVER])
)
def test_any_body_gives_an_error(content: bytes, status: int, replay: ReplayClass) -> None:
    ERRORS.refuses(status, content)
    assert isinstance(ERRORS.to_error(failure(status, content, replay)), RestError)
