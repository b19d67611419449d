"""Binance spot's error table, row by row (venue docs, "Error codes")."""

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
from workers.venues.binance.errors import BinanceErrors
from workers.venues.binance_spot.errors import CODES

SAFE, NEVER = ReplayClass.SAFE, ReplayClass.NEVER


def failure(
    status: int,
    code: int | None = None,
    replay: ReplayClass = SAFE,
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
) -> Failure:
    return Failure(
        method=HTTPMethod.GET,
        endpoint="/api/v3/depth",
        attempt=2,
        status=status,
        headers=headers or {},
        body=msgspec.json.encode({"code": code, "msg": "said"}) if body is None else body,
        replay=replay,
    )


@pytest.mark.parametrize(
    ("status", "code", "replay", "kind", "action"),
    [
        *((400, code, SAFE, ServerError, Action.BACKOFF) for code in (-1000, -1001, -1008, -1016, -1034)),
        *((400, code, SAFE, RateLimited, Action.BACKOFF) for code in (-1003, -1015)),
        *((400, code, SAFE, ServerError, Action.BACKOFF) for code in (-1006, -1007)),
        *((400, code, NEVER, OutcomeUnknown, Action.RESYNC) for code in (-1006, -1007, -1000, -1001)),
        (400, -1021, SAFE, ClockSkew, Action.RESYNC),
        *((400, code, SAFE, AuthenticationError, Action.HALT) for code in (-1002, -1022, -2014, -2015)),
        *((400, code, SAFE, BadRequest, Action.HALT) for code in (-1013, -1100, -1121, -2010, -2011, -2013)),
        (500, None, SAFE, ServerError, Action.RETRY),
        (500, None, NEVER, OutcomeUnknown, Action.RESYNC),
        (429, -1003, NEVER, RateLimited, Action.BACKOFF),
        (418, None, SAFE, RateLimited, Action.BACKOFF),
        (401, None, SAFE, AuthenticationError, Action.HALT),
        (403, None, SAFE, BadRequest, Action.HALT),
    ],
)
def test_code_table(
    status: int, code: int | None, replay: ReplayClass, kind: type[RestError], action: Action
) -> None:
    error = BinanceErrors(CODES).to_error(failure(status, code, replay))
    assert type(error) is kind
    assert (error.action, error.code, error.status, error.attempt) == (action, code, status, 2)
    assert "said" in str(error)
    assert "/api/v3/depth" in str(error)


def test_retry_after_is_carried() -> None:
    error = BinanceErrors(CODES).to_error(failure(429, headers={"Retry-After": "12"}))
    assert error.retry_after == 12.0


@given(st.binary(max_size=300), st.integers(300, 599), st.sampled_from(ReplayClass))
def test_any_body_gives_a_typed_error(body: bytes, status: int, replay: ReplayClass) -> None:
    error = BinanceErrors(CODES).to_error(failure(status, body=body, replay=replay))
    assert isinstance(error, RestError)
    assert error.status == status


def test_a_body_that_is_no_text_gives_a_typed_error() -> None:
    error = BinanceErrors(CODES).to_error(failure(503, body=b'{"code":-1000,"msg":"dis\xe5"}'))
    assert isinstance(error, ServerError)
