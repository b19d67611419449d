"""What a manager did with a request, step by step, for a reader who must not see a secret.

Told are: method, endpoint, base URL, the parameters as they were prepared (before signing, suspicious names
masked), names of headers, sizes, status, the venue's code, and every decision. Never included: a header's
value (but for numbers that describe limits), a body, anything that signing added, an error's words.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from workers.contract.errors import RestError

log = logging.getLogger(__name__)
MASK = "***"
_SECRET = re.compile(r"key|secret|sign|token|pass|auth|otp|nonce|credential|cookie|session", re.IGNORECASE)
_LIMIT = re.compile(r"^retry-after$|limit|used|remaining|weight|count", re.IGNORECASE)


class TraceEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One step.

    Attributes:
        step: ``request`` (came in), ``send``, ``answer``, ``no answer``, ``refused`` (an answer that is an
            error), ``retry``, ``failover``, ``clock`` (the venue's time is learnt), ``circuit`` (open: not
            sent, or: has just opened), ``denied``, ``done``, ``failed``, ``cancelled``.
        request: ordinal of the request in its manager.
        at: monotonic seconds.
        facts: what else belongs to the step.
    """

    step: str
    request: int
    at: float
    method: str
    endpoint: str
    attempt: int
    facts: Mapping[str, Any]


Tracer = Callable[[TraceEvent], object]


def params_seen(params: Mapping[str, Any] | None) -> dict[str, str]:
    """Parameters as given by the caller."""
    return {name: MASK if _SECRET.search(name) else str(value) for name, value in (params or {}).items()}


def limits_seen(headers: Mapping[str, str]) -> dict[str, str]:
    """Numbers among the headers of an answer that say something about limits."""
    return {
        name: value
        for name, value in headers.items()
        if _LIMIT.search(name) and not _SECRET.search(name) and value.replace(".", "", 1).isdigit()
    }


def error_seen(error: RestError) -> dict[str, Any]:
    return {
        "error": type(error).__name__,
        "action": error.action.value,
        "status": error.status,
        "code": error.code,
        "retry_after": error.retry_after,
        "sent": error.sent,
        "base_url": error.base_url,
    }


def notify(listener: Callable[..., object], *facts: Any) -> None:
    """Calls somebody else's listener. What it raises is logged and goes no further: a request must not fail
    because of who watches it."""
    try:
        listener(*facts)
    except Exception:
        log.exception("a listener of the REST manager failed; requests go on")


def scrubbed(text: str, secrets: tuple[str, ...]) -> str:
    """`text` without what signing added, as it is and as it stands in a URL; nor the first part of it where
    the text was cut off."""
    for secret in secrets:
        for form in {secret, quote(secret, safe="", errors="replace")}:
            if len(form) >= 4:
                text = text.replace(form, MASK)
                rest = next((n for n in range(len(form) - 1, 3, -1) if text.endswith(form[:n])), 0)
                text = text[: len(text) - rest] + MASK if rest else text
    return text


def scrub(error: BaseException | None, secrets: tuple[str, ...]) -> None:
    """The same for what an error and its causes say: servers like to repeat what they were sent."""
    while error is not None and secrets:
        error.args = tuple(scrubbed(each, secrets) if isinstance(each, str) else each for each in error.args)
        if isinstance(error, RestError):
            error.message = scrubbed(error.message, secrets)
        error = error.__cause__
