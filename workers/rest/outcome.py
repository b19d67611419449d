"""What became of one attempt, and what may follow from it. Pure: the rules of replay have their home here.

    replay class      not sent for certain     sent, no usable answer     refused by the venue
    SAFE              typed error, retried     typed error, retried       typed error (4xx: final)
    BY_CLIENT_ID      typed error, retried     OutcomeUnknown (*)         typed error (4xx: final)
    NEVER             typed error, final       OutcomeUnknown, final      typed error, final

    (*) where the venue's strategy knows that a repeated client id is refused (`refuses_repeats`) it is
    treated as SAFE is, and repeated; but then only a success ends the request as known: whatever else ends
    it is OutcomeUnknown, because a refusal may be of the repetition.

"No usable answer" is a timeout, a broken connection, a 5xx, a body that cannot be read or decoded, and for
what is not SAFE also a 101, a 408 and a redirect (303 means "done, look there"). 307 and 308 say: not done.
"""

from __future__ import annotations

from typing import Any

from shm.errors import Action
from workers.contract.errors import (
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
from workers.contract.protocols import ExceptionHandlerStrategy
from workers.contract.rest import Failure, ReplayClass
from workers.http import errors as http

NOT_SENT = "nothing was sent"
NOT_DONE_REDIRECTS = (307, 308)
_RETRIABLE = (RestTimeout, RestConnectionError, ServerError, RateLimited)


def unsure_of_write(failure: Failure) -> bool:
    """Whether an answer with this status leaves open whether a request that changes something was done."""
    return failure.replay is not ReplayClass.SAFE and _leaves_open(failure.status)


def _leaves_open(status: int) -> bool:
    if 300 <= status < 400:
        return status not in NOT_DONE_REDIRECTS
    return status < 200 or status >= 500 or status == 408  # 101 ends a request, and does not answer it


def default_error(failure: Failure) -> RestError:
    """HTTP status -> error, for venues without an `ExceptionHandlerStrategy`."""
    facts = failure.facts()
    reason = failure.body[:200].decode("utf-8", "replace") or "no reason given"
    status = failure.status
    if status in (418, 429):
        return RateLimited(f"rate limited: {reason}", **facts)
    if unsure_of_write(failure):
        return OutcomeUnknown(f"the answer does not show what became of it: {reason}", **facts)
    if status >= 500:
        return ServerError(f"server error: {reason}", **facts)
    if status in (401, 403):
        return AuthenticationError(f"credentials refused: {reason}", **facts)
    if 300 <= status < 400:
        return BadRequest(
            f"redirected, and redirects are not followed, so correct the endpoint: {reason}", **facts
        )
    return BadRequest(f"refused: {reason}", **facts)


def refused(status: int, body: bytes, handler: ExceptionHandlerStrategy | None) -> bool:
    """Whether an answer is no success: by its status, or because the body of a 2xx is a refusal."""
    if not 200 <= status < 300:
        return True
    refuses = getattr(handler, "refuses", None)
    return refuses is not None and bool(refuses(status, body))


def judge(failure: Failure, handler: ExceptionHandlerStrategy | None) -> RestError:
    """The venue's verdict, or the default one, held to the table: no word of a handler ("server error", "too
    many requests", "refused") makes it known what became of a write when the status does not, and a handler
    that fails does not either."""
    error: RestError
    try:
        error = default_error(failure) if handler is None else handler.to_error(failure)
    except Exception as fault:
        error = default_error(failure)
        error.__cause__ = fault
    for name, fact in failure.facts().items():  # the handler's facts win, ours fill the gaps
        if not getattr(error, name):
            setattr(error, name, fact)
    if not isinstance(error, OutcomeUnknown) and unsure_of_write(failure):
        unknown = OutcomeUnknown(
            f"the venue does not say what became of it: {error.message}",
            **failure.facts() | {"code": error.code, "retry_after": error.retry_after},
        )
        unknown.__cause__ = error
        return unknown
    return error


def not_let_in(wait: float | None, slots: int, facts: dict[str, Any]) -> RestError:
    """Why the gate did not open. `wait`: until a permit could be had; 0.0: no slot; None: it is shut."""
    if wait is None:
        return RequestCancelled(
            f"the manager was closed while the request waited; {NOT_SENT}", sent=False, **facts
        )
    cause = f"{slots} requests were in flight all the time"
    if wait:
        cause = f"no permit in time: our own limits or a cooldown ask to wait {wait:.1f} s"
    return RateLimited(f"{cause}; {NOT_SENT}", retry_after=wait, sent=False, **facts)


def no_answer(error: Exception, replay: ReplayClass, facts: dict[str, Any], message: str) -> RestError:
    """A client's failure -> typed error. `message`: the failure in words, free of secrets.

    What is no `HttpError` comes from a client that breaks its promise: it may have been sent.
    """
    sent = getattr(error, "sent", True)
    action = getattr(error, "action", None)
    if isinstance(error, http.InvalidRequest):
        return BadRequest(f"{message}; {NOT_SENT}", sent=False, **facts)
    if isinstance(error, http.PoolTimedOut):
        return RequestCancelled(f"{message}; {NOT_SENT}", sent=False, action=Action.BACKOFF, **facts)
    if sent and replay is not ReplayClass.SAFE:
        return OutcomeUnknown(f"sent, but no answer: {message}; ask the venue what became of it", **facts)
    text = message if sent else f"{message}; {NOT_SENT}"
    if isinstance(error, http.ClientClosed):
        return RequestCancelled(text, sent=sent, **facts)
    if isinstance(error, http.BodyUnreadable):
        return ParseError(text, **facts)
    if isinstance(error, http.ReadTimedOut | http.ConnectTimedOut | TimeoutError):
        return RestTimeout(text, sent=sent, action=action, **facts)
    return RestConnectionError(text, sent=sent, action=action, **facts)


def may_repeat(error: RestError, replay: ReplayClass) -> bool:
    """Whether the retry strategy may be asked at all. 4xx and undecodable answers never; NEVER never."""
    if replay is ReplayClass.NEVER or not isinstance(error, _RETRIABLE):
        return False
    return replay is ReplayClass.SAFE or not error.sent or bool(error.status)


def counts_as_failure(error: RestError) -> bool | None:
    """What a circuit and the retry budget learn from a whole request: True: the service failed; False: it
    answered, whatever the answer; None: it was not asked."""
    if isinstance(error, CircuitOpen | RequestCancelled):
        return None
    if isinstance(error, RateLimited):
        return True if error.status else None
    if isinstance(error, OutcomeUnknown):
        return not 200 <= error.status < 300
    if isinstance(error, RestTimeout | RestConnectionError | ServerError):
        return True
    return False if error.sent else None


def may_have_executed(error: RestError) -> bool:
    """Whether the venue may have carried out this attempt although it failed."""
    if isinstance(error, OutcomeUnknown | ParseError):
        return True
    if error.status and _leaves_open(error.status):
        return True
    return error.sent and not isinstance(error, RateLimited) and counts_as_failure(error) is not False


def denied(error: RestError) -> bool:
    """Whether it was we who did not let it out: nothing is learnt about the service."""
    return not error.sent and counts_as_failure(error) is None and not isinstance(error, CircuitOpen)
