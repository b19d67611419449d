"""What became of one attempt, and what may follow from it. Pure: the rules of replay have their home here.

    replay class      not sent for certain     sent, no usable answer     refused by the venue
    SAFE              typed error, retried     typed error, retried       typed error (4xx: final)
    BY_CLIENT_ID      typed error, retried     OutcomeUnknown (*)         typed error (4xx: final)
    NEVER             typed error, final       OutcomeUnknown, final      typed error, final

    (*) repeated only where the venue's strategy says that a repeated client id is refused; from then on only a
    success ends the request as known, because a refusal may be of the repetition.

"No usable answer" is a timeout, a broken connection, a 5xx, a body that cannot be read or decoded, and for
what is not SAFE also a 408 and a redirect (303 means "done, look there"). 307 and 308 say that nothing was done.
"""

from __future__ import annotations

from typing import Any

from workers.errors import (
    Action,
    AuthenticationError,
    BadRequest,
    CircuitOpen,
    OutcomeUnknown,
    ParseError,
    RateLimited,
    RequestCancelled,
    RestConnectionError,
    RestError,
    RestTimeout,
    ServerError,
)
from workers.http import errors as http
from workers.ratelimit import retry_after
from workers.request import Failure, ReplayClass

NOT_SENT = "nothing was sent"
NOT_DONE_REDIRECTS = (307, 308)
_RETRIABLE = (RestTimeout, RestConnectionError, ServerError, RateLimited)


def facts_of(failure: Failure) -> dict[str, Any]:
    """What every error about this answer says of it."""
    return {
        "method": failure.method.value,
        "endpoint": failure.endpoint,
        "base_url": failure.base_url,
        "status": failure.status,
        "attempt": failure.attempt,
        "retry_after": retry_after(failure.headers),
    }


def unsure_of_write(failure: Failure) -> bool:
    """Whether an answer with this status leaves open whether a request that changes something was done."""
    if failure.replay is ReplayClass.SAFE:
        return False
    status = failure.status
    return status >= 500 or status == 408 or (300 <= status < 400 and status not in NOT_DONE_REDIRECTS)


def default_error(failure: Failure) -> RestError:
    """HTTP status -> error, for venues without an `ExceptionHandlerStrategy`."""
    facts = facts_of(failure)
    said = failure.body[:200].decode("utf-8", "replace") or "no reason given"
    status = failure.status
    if status in (418, 429):
        return RateLimited(f"rate limited: {said}", **facts)
    if unsure_of_write(failure):
        return OutcomeUnknown(f"the answer does not say what became of it: {said}", **facts)
    if status >= 500:
        return ServerError(f"server error: {said}", **facts)
    if status in (401, 403):
        return AuthenticationError(f"credentials refused: {said}", **facts)
    if 300 <= status < 400:
        return BadRequest(
            f"redirected, and redirects are not followed: correct the endpoint ({said})", **facts
        )
    return BadRequest(f"refused: {said}", **facts)


def judged(failure: Failure, error: RestError) -> RestError:
    """A venue's verdict, held to the table: its word for "server error" does not make a write known."""
    error.base_url = error.base_url or failure.base_url
    if isinstance(error, ServerError | RestTimeout | RestConnectionError) and unsure_of_write(failure):
        unknown = OutcomeUnknown(
            f"the venue does not say what became of it: {error.message}",
            **facts_of(failure) | {"code": error.code},
        )
        unknown.__cause__ = error
        return unknown
    return error


def no_answer(error: Exception, replay: ReplayClass, facts: dict[str, Any], said: str) -> RestError:
    """A client's failure -> typed error. `said`: the failure in words, free of secrets.

    What is no `HttpError` comes from a client that breaks its promise: it may have been sent.
    """
    sent = getattr(error, "sent", True)
    action = getattr(error, "action", None)
    if isinstance(error, http.InvalidRequest):
        return BadRequest(f"{said}; {NOT_SENT}", sent=False, **facts)
    if isinstance(error, http.PoolTimedOut):
        return RequestCancelled(f"{said}; {NOT_SENT}", sent=False, action=Action.BACKOFF, **facts)
    if sent and replay is not ReplayClass.SAFE:
        return OutcomeUnknown(f"sent, but no answer: {said}; ask the venue what became of it", **facts)
    text = said if sent else f"{said}; {NOT_SENT}"
    if isinstance(error, http.ClientClosed):
        return RequestCancelled(text, sent=sent, **facts)
    if isinstance(error, http.BodyUnreadable):
        return ParseError(text, **facts)
    kind = RestConnectionError
    if isinstance(error, http.ReadTimedOut | http.ConnectTimedOut | TimeoutError):
        return RestTimeout(text, sent=sent, action=action, **facts)
    return kind(text, sent=sent, action=action, **facts)


def may_repeat(error: RestError, replay: ReplayClass, refuses_repeats: bool) -> bool:
    """Whether the retry strategy may be asked at all. 4xx and undecodable answers never; NEVER never."""
    if replay is ReplayClass.NEVER:
        return False
    if replay is ReplayClass.BY_CLIENT_ID:
        if isinstance(error, OutcomeUnknown):
            return refuses_repeats and not 200 <= error.status < 300  # undecodable: the same again would be
        return isinstance(error, _RETRIABLE) and (not error.sent or bool(error.status))
    return isinstance(error, _RETRIABLE)


def harmed(error: RestError) -> bool | None:
    """What a circuit and the retry budget learn from a whole request: True: the service failed; False: it
    answered, whatever it said; None: it was not asked."""
    if isinstance(error, CircuitOpen | RequestCancelled):
        return None
    if isinstance(error, RateLimited):
        return True if error.status else None
    if isinstance(error, OutcomeUnknown):
        return not 200 <= error.status < 300
    if isinstance(error, RestTimeout | RestConnectionError | ServerError):
        return True
    return False if error.sent else None
