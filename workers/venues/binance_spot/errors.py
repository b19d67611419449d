"""Binance spot: HTTP status and venue code -> typed error with its advice."""

from __future__ import annotations

from typing import Any

import msgspec

from workers.errors import (
    Action,
    AuthenticationError,
    BadRequest,
    ClockSkew,
    OutcomeUnknown,
    RateLimited,
    RestError,
    ServerError,
)
from workers.headers import retry_after
from workers.strategies import ExceptionHandlerStrategy, Failure, ReplayClass

# Venue docs, "Error codes". What is in none of these tables is a refusal: repeating cannot help.
BUSY = frozenset({-1000, -1001, -1008, -1016, -1034})  # again, with backoff
TOO_MANY = frozenset({-1003, -1015})
UNKNOWN_OUTCOME = frozenset({-1006, -1007})  # for a read: the same as BUSY
AUTHENTICATION = frozenset({-1002, -1022, -2014, -2015})
CLOCK = frozenset({-1021})
# In answer to a write these do not say whether it was done.
UNSURE_OF_WRITE = UNKNOWN_OUTCOME | {-1000, -1001}


class _Body(msgspec.Struct):
    code: int | None = None
    msg: str = ""


_decoder = msgspec.json.Decoder(_Body)


class BinanceSpotErrors(ExceptionHandlerStrategy):
    def to_error(self, failure: Failure) -> RestError:
        body = _body(failure.body)
        facts: dict[str, Any] = {
            "method": failure.method.value,
            "endpoint": failure.endpoint,
            "status": failure.status,
            "code": body.code,
            "attempt": failure.attempt,
            "retry_after": retry_after(failure.headers),
        }
        code, status = body.code, failure.status
        said = body.msg or "no reason given"
        if status in (418, 429) or code in TOO_MANY:
            return RateLimited(f"rate limited: {said}", **facts)
        if failure.replay is not ReplayClass.SAFE and (status >= 500 or code in UNSURE_OF_WRITE):
            return OutcomeUnknown(f"the venue does not say what became of it: {said}", **facts)
        if code in BUSY or code in UNKNOWN_OUTCOME:
            return ServerError(f"the venue is busy: {said}", action=Action.BACKOFF, **facts)
        if code in CLOCK:
            return ClockSkew(f"our clock is outside the venue's window: {said}", **facts)
        if code in AUTHENTICATION or status == 401:
            return AuthenticationError(f"credentials refused: {said}", **facts)
        if status >= 500:
            return ServerError(f"server error: {said}", **facts)
        return BadRequest(f"refused: {said}", **facts)


def _body(data: bytes) -> _Body:
    try:
        return _decoder.decode(data)
    except msgspec.DecodeError:
        return _Body(None, data[:200].decode("utf-8", "replace"))  # a proxy's page, not the venue
