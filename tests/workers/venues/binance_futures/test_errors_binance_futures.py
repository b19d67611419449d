"""The error table of Binance USD-M futures, row by row (venue docs, "Error Codes", "HTTP Return Codes")."""

from __future__ import annotations

import msgspec
import pytest

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
from workers.venues.binance_futures.errors import CODES

SAFE, NEVER = ReplayClass.SAFE, ReplayClass.NEVER


@pytest.mark.parametrize(
    ("status", "code", "replay", "kind", "action"),
    [
        *((400, code, SAFE, ServerError, Action.BACKOFF) for code in (-1000, -1001, -1008, -1016)),
        *((400, code, SAFE, RateLimited, Action.BACKOFF) for code in (-1003, -1015)),
        *((400, code, SAFE, ServerError, Action.BACKOFF) for code in (-1006, -1007)),
        *((400, code, NEVER, OutcomeUnknown, Action.RESYNC) for code in (-1006, -1007, -1000, -1001)),
        *((400, code, SAFE, ClockSkew, Action.RESYNC) for code in (-1021, -5028)),
        *((400, code, SAFE, AuthenticationError, Action.HALT) for code in (-1002, -1022, -2014, -2015)),
        *((400, code, NEVER, BadRequest, Action.HALT) for code in (-1121, -2010, -2013, -2019, -2022, -4003)),
        *((400, code, NEVER, BadRequest, Action.HALT) for code in (-4046, -4131, -4164, -5021, -5022)),
        (503, None, SAFE, ServerError, Action.RETRY),
        (503, None, NEVER, OutcomeUnknown, Action.RESYNC),
        (408, None, SAFE, ServerError, Action.RETRY),
        (408, -1007, NEVER, OutcomeUnknown, Action.RESYNC),
        (429, -1003, NEVER, RateLimited, Action.BACKOFF),
        (418, None, SAFE, RateLimited, Action.BACKOFF),
        (401, None, SAFE, AuthenticationError, Action.HALT),
        (403, None, SAFE, BadRequest, Action.HALT),
    ],
)
def test_code_table(
    status: int, code: int | None, replay: ReplayClass, kind: type[RestError], action: Action
) -> None:
    body = msgspec.json.encode({"code": code, "msg": "said"})
    error = BinanceErrors(CODES).to_error(
        Failure(
            method=HTTPMethod.GET,
            endpoint="/fapi/v1/depth",
            attempt=2,
            status=status,
            headers={"Retry-After": "12"},
            body=body,
            replay=replay,
        )
    )
    assert type(error) is kind
    assert (error.action, error.code, error.status, error.retry_after) == (action, code, status, 12.0)
    assert "said" in str(error)
