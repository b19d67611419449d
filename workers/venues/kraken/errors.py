"""Kraken spot: an answer's `error` list -> typed error.

Errors come with HTTP status 200: ``{"error":["EQuery:Unknown asset pair"]}``, each a severity (E, or W for a
warning, which refuses nothing), a category and a text.
"""

from __future__ import annotations

import msgspec

from shm.errors import Action
from workers.contract.errors import (
    AuthenticationError,
    BadRequest,
    OutcomeUnknown,
    RateLimited,
    RestError,
    ServerError,
)
from workers.contract.protocols import ExceptionHandlerStrategy, Failure, ReplayClass
from workers.venues.kraken import schema

# Venue docs, "API error messages". An entry matches every text that begins with it. An error in none of these
# tables is a refusal: repeating cannot help.
TOO_MANY = (
    "EAPI:Rate limit exceeded",
    "EOrder:Rate limit exceeded",
    "EGeneral:Too many requests",
    "EService:Throttled",
)
LOCKOUT = "EGeneral:Temporary lockout"
LOCKED = 900.0  # seconds: "typically approximately 15 minutes"
BUSY = (
    "EService:Unavailable",
    "EService:Busy",
    "EService:Timeout",
    "EService:Deadline elapsed",
    "EGeneral:Internal error",
)  # after one of these a write may have been executed
AUTHENTICATION = (
    "EAPI:Invalid key",
    "EAPI:Invalid signature",
    "EAPI:Invalid nonce",
    "EGeneral:Permission denied",
    "EAuth:",
)
_FINE = b'{"error":[]'


class KrakenErrors(ExceptionHandlerStrategy):
    """Turns HTTP status and venue errors of a failed request into a typed error."""

    def refuses(self, status: int, body: bytes) -> bool:
        """Whether an answer with HTTP 2xx is a failure: its `error` list is not empty."""
        return not body.startswith(_FINE) and bool(_errors(body))

    def to_error(self, failure: Failure) -> RestError:
        errors, status = _errors(failure.body), failure.status
        reason = ", ".join(errors) or failure.body[:200].decode("utf-8", "replace") or "no reason given"
        facts = failure.facts()
        if _any(errors, (LOCKOUT,)):
            return RateLimited(
                f"locked out: {reason}", **facts | {"retry_after": facts["retry_after"] or LOCKED}
            )
        if status in (418, 429) or _any(errors, TOO_MANY):
            return RateLimited(f"rate limited: {reason}", **facts)
        if failure.replay is not ReplayClass.SAFE and (status >= 500 or _any(errors, BUSY)):
            return OutcomeUnknown(f"outcome unknown: {reason}", **facts)
        if _any(errors, BUSY):
            return ServerError(f"the venue is busy: {reason}", action=Action.BACKOFF, **facts)
        if _any(errors, AUTHENTICATION) or status in (401, 403):
            return AuthenticationError(f"credentials refused: {reason}", **facts)
        if status >= 500:
            return ServerError(f"server error: {reason}", **facts)
        return BadRequest(f"refused: {reason}", **facts)


def _errors(body: bytes) -> list[str]:
    """The errors of an answer, without its warnings; none if it is not an answer of the venue."""
    try:
        answer = schema.decode_errors(body)
    except (msgspec.MsgspecError, ValueError):
        return []
    return [text for text in answer.error if not text.startswith("W")]


def _any(errors: list[str], table: tuple[str, ...]) -> bool:
    return any(text.startswith(table) for text in errors)
