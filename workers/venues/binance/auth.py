"""Binance: how requests are signed, in every market, with HMAC-SHA256, RSA or Ed25519 keys. The form of the
secret decides which: a PEM block, or else HMAC.

Rules (venue docs, "Request security" of the REST API and of the WebSocket API):

1. REST signs the query as it is sent, percent-encoded (since 2026-01-15 anything else is -1022), followed by
   the body without a separator. HMAC signatures are lower-case hexadecimal, the others base64.
2. A timestamp is accepted when it is below the venue's time + 1 s and not older than `recvWindow`.
3. The WebSocket API signs its parameters sorted by name, `apiKey` among them, as raw UTF-8: *not*
   percent-encoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec

from workers.auth.credentials import CredentialSource
from workers.auth.encoding import encode_json
from workers.auth.signed_query import SignedQuery
from workers.auth.signing import pem_or_hmac
from workers.contract.protocols import ServerTime

KEY_HEADER = "X-MBX-APIKEY"
TOLERANCE_MS = 1000  # rule 2


class Time(msgspec.Struct):
    """The answer of the ``time`` endpoints: ms since 1970."""

    serverTime: int


_time = msgspec.json.Decoder(Time)


def read_time(body: bytes) -> int:
    """The venue's time in an answer of ``time``, ms since 1970."""
    return _time.decode(body).serverTime


def signed_query(
    credentials: CredentialSource,
    *,
    time: str,
    public: AbstractSet[str],
    keyed: AbstractSet[str] = frozenset(),
    recv_window: int = 5000,
) -> SignedQuery:
    """A signer for all endpoints but `public`; those that are `keyed` need the key's header, but no
    signature.

    Args:
        time: the endpoint of the venue's clock.
        recv_window: ms that a request may take to arrive.
    """
    return SignedQuery(
        credentials,
        key_header=KEY_HEADER,
        signer=pem_or_hmac,
        public=public,
        keyed=keyed,
        server_time=ServerTime(endpoint=time, read=read_time, tolerance_ms=TOLERANCE_MS),
        recv_window=recv_window,
    )


def to_sign(params: Mapping[str, Any]) -> str:
    """The text that a request of the WebSocket API is signed over (rule 3)."""
    return "&".join(f"{name}={_text(params[name])}" for name in sorted(params))


def signed_frame(
    credentials: CredentialSource, number: int | str, method: str, params: Mapping[str, Any], timestamp: int
) -> bytes:
    """A request of the WebSocket API, such as ``order.place``, signed by itself."""
    pair = credentials.current()
    complete = {**params, "apiKey": pair.key.reveal(), "timestamp": timestamp}
    signature = pem_or_hmac(pair).sign(to_sign(complete).encode())
    return encode_json({"id": number, "method": method, "params": {**complete, "signature": signature}})


def login_frame(credentials: CredentialSource, number: int | str, timestamp: int) -> bytes:
    """``session.logon``, after which requests of the connection need no signature; Ed25519 keys only."""
    return signed_frame(credentials, number, "session.logon", {}, timestamp)


def _text(value: object) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
