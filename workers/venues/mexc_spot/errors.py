"""MEXC spot: HTTP status and venue code -> typed error."""

from __future__ import annotations

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

# Venue docs, "Error Code" (2026). A code in none of these tables is a refusal, and repeating cannot help:
# 30002 below the minimum, 30004 and 30005 not enough to sell, 10007 no such symbol, 700005 a receive window
# above 60 s.
BUSY = frozenset({500, 503, 504})  # again, with backoff
TOO_MANY = frozenset({429})
CLOCK = frozenset({700003, 10073})
AUTHENTICATION = frozenset({400, 401, 402, 602, 10072, 700001, 700002, 700006, 700007})


class _Body(msgspec.Struct):
    code: int | None = None
    msg: str | None = ""


_decoder = msgspec.json.Decoder(_Body)


class MexcSpotErrors(ExceptionHandlerStrategy):
    """Turns HTTP status and venue code of a failed request into a typed error. The code decides before the
    status, since HTTP 400 and 403 have several meanings here."""

    def to_error(self, failure: Failure) -> RestError:
        body = _body(failure.body)
        facts = failure.facts(body.code)
        code, status = body.code, failure.status
        reason = body.msg or "no reason given"
        if status in (418, 429) or code in TOO_MANY:
            return RateLimited(f"rate limited: {reason}", **facts)
        # Docs: of a 5xx "the execution status is UNKNOWN and could have been a success".
        if failure.replay is not ReplayClass.SAFE and (status >= 500 or code in BUSY):
            return OutcomeUnknown(f"outcome unknown: {reason}", **facts)
        if code in CLOCK:
            return ClockSkew(f"our clock is outside the venue's window: {reason}", **facts)
        if code in AUTHENTICATION or status == 401:
            return AuthenticationError(f"credentials refused: {reason}", **facts)
        if status == 403:  # docs: "the WAF Limit has been violated"
            return RateLimited(f"shut out by the venue's firewall: {reason}", **facts)
        if code in BUSY:
            return ServerError(f"the venue is busy: {reason}", action=Action.BACKOFF, **facts)
        if status >= 500:
            return ServerError(f"server error: {reason}", **facts)
        return BadRequest(f"refused: {reason}", **facts)


def _body(data: bytes) -> _Body:
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _Body(None, data[:200].decode("utf-8", "replace"))  # a firewall's page, not the venue
