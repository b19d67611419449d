"""OKX: HTTP status and venue code -> typed error."""

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

# Venue docs, "Error Code", "REST API". A code in none of these tables is a refusal: repeating cannot help.
BUSY = frozenset({50001, 50005, 50013, 50026})  # unavailable, offline, busy, system error: later again
TOO_MANY = frozenset({50011, 50061})  # of an address or account, of a sub-account
UNKNOWN_OUTCOME = frozenset({50004})  # "request timeout, does not mean success or failure"
CLOCK = frozenset({50102})  # the timestamp is not within 30 s of the venue's
# Key, passphrase, signature, timestamp's form, permission, address. 50113, an invalid signature, is not cured
# by time either.
AUTHENTICATION = frozenset(
    {50100, 50101, 50103, 50104, 50105, 50106, 50107, 50108, 50109, 50110, 50111, 50112, 50113, 50114, 50119,
     50120}
)  # fmt: skip
# After one of these a write may have been executed.
UNSURE_OF_WRITE = UNKNOWN_OUTCOME | {50026}
PARTLY = 2  # "bulk operation partially succeeded": each entry has its own result


class _Entry(msgspec.Struct):
    code: str = msgspec.field(name="sCode", default="")
    message: str = msgspec.field(name="sMsg", default="")


class _Body(msgspec.Struct):
    """The envelope of every answer. Where one order was refused, its entry has the code of the reason."""

    code: str = "0"
    msg: str = ""
    data: msgspec.Raw = msgspec.Raw()


_body = msgspec.json.Decoder(_Body).decode
_entries = msgspec.json.Decoder(list[_Entry]).decode


class OkxErrors(ExceptionHandlerStrategy):
    """Turns HTTP status and venue code of a failed request into a typed error."""

    def refuses(self, status: int, body: bytes) -> bool:
        """Whether an answer with HTTP 2xx is a failure: the venue sends many with its code in the
        envelope."""
        code, _ = _code_of(body)
        return code not in (None, 0, PARTLY)

    def to_error(self, failure: Failure) -> RestError:
        code, message = _code_of(failure.body)
        facts = failure.facts(code)
        status = failure.status
        reason = message or "no reason given"
        if status == 429 or code in TOO_MANY:
            return RateLimited(f"rate limited: {reason}", **facts)
        if failure.replay is not ReplayClass.SAFE and (status >= 500 or code in UNSURE_OF_WRITE):
            return OutcomeUnknown(f"outcome unknown: {reason}", **facts)
        if code in BUSY or code in UNKNOWN_OUTCOME:
            return ServerError(f"the venue is busy: {reason}", action=Action.BACKOFF, **facts)
        if code in CLOCK:
            return ClockSkew(f"our clock is outside the venue's window: {reason}", **facts)
        if code in AUTHENTICATION or status == 401:
            return AuthenticationError(f"credentials refused: {reason}", **facts)
        if status >= 500:
            return ServerError(f"server error: {reason}", **facts)
        return BadRequest(f"refused: {reason}", **facts)


def _code_of(data: bytes) -> tuple[int | None, str]:
    """The venue's code and message; no code: it is not an answer of the venue, such as a proxy's page."""
    try:
        body = _body(data)
        code, message = int(body.code or 0), body.msg
        # One order: its entry has the reason; code 1 alone means only that something failed.
        if code in (0, 1) and b'"sCode"' in bytes(body.data):
            entries = _entries(body.data)
            if len(entries) == 1 and entries[0].code not in ("", "0"):
                return int(entries[0].code), entries[0].message
    except (msgspec.MsgspecError, ValueError):
        return None, data[:200].decode("utf-8", "replace")
    return code, message
