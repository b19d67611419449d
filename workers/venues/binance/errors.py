"""Binance: HTTP status and venue code -> typed error."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

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
from workers.contract.protocols import ExceptionHandlerStrategy, Failure, ReplayClass


@dataclass(frozen=True)
class Codes:
    """A market's error codes by the error that they mean; a code in none of these is a refusal
    (`BadRequest`).

    Attributes:
        busy: the venue is overloaded or failed: try again, with backoff.
        too_many: a request limit was exceeded.
        unknown_outcome: whether the request was executed is unknown; for a read the same as busy.
        authentication: key, signature or permissions are refused.
        clock: the timestamp is outside of the venue's window.
        unsure_of_write: codes after which a write may have been executed.
    """

    busy: frozenset[int]
    too_many: frozenset[int]
    unknown_outcome: frozenset[int]
    authentication: frozenset[int]
    clock: frozenset[int]
    unsure_of_write: frozenset[int]


class _Body(msgspec.Struct):
    code: int | None = None
    msg: str = ""


_decoder = msgspec.json.Decoder(_Body)


# Venue docs, "HTTP Return Codes": 408 is a timeout of the venue's own backend; as after a 5xx, the request
# may have been executed.
BACKEND_TIMEOUT = 408


class BinanceErrors(ExceptionHandlerStrategy):
    """Turns HTTP status and venue code of a failed request into a typed error.

    Args:
        codes: the error codes of the market.
    """

    def __init__(self, codes: Codes) -> None:
        self._codes = codes

    def to_error(self, failure: Failure) -> RestError:
        body = _body(failure.body)
        facts = failure.facts(body.code)
        codes, code, status = self._codes, body.code, failure.status
        reason = body.msg or "no reason given"
        failed = status >= 500 or status == BACKEND_TIMEOUT
        if status in (418, 429) or code in codes.too_many:
            return RateLimited(f"rate limited: {reason}", **facts)
        if failure.replay is not ReplayClass.SAFE and (failed or code in codes.unsure_of_write):
            return OutcomeUnknown(f"outcome unknown: {reason}", **facts)
        if code in codes.busy or code in codes.unknown_outcome:
            return ServerError(f"the venue is busy: {reason}", action=Action.BACKOFF, **facts)
        if code in codes.clock:
            return ClockSkew(f"our clock is outside the venue's window: {reason}", **facts)
        if code in codes.authentication or status == 401:
            return AuthenticationError(f"credentials refused: {reason}", **facts)
        if failed:
            return ServerError(f"server error: {reason}", **facts)
        return BadRequest(f"refused: {reason}", **facts)


def _body(data: bytes) -> _Body:
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Body(None, data[:200].decode("utf-8", "replace"))  # a proxy's page, not the venue
