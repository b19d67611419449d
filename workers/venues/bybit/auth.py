"""Bybit v5: HMAC-SHA256, hexadecimal, over timestamp + key + receive window + (query or JSON body).

Venue docs, "Authentication": the bytes that are signed must be the bytes that are sent, blanks count; a
timestamp is accepted from `recv_window` before the venue's time to 1 s after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from workers.auth.credentials import CredentialSource
from workers.auth.encoding import encode_body, encode_json, encode_query
from workers.auth.signing import hmac_key
from workers.contract.protocols import AuthenticationData, AuthStrategy, HTTPMethod, ServerTime

PUBLIC = ("/v5/market/", "/v5/announcements/")


class _Time(msgspec.Struct):
    time: int


_time = msgspec.json.Decoder(_Time)


class BybitAuth(AuthStrategy):
    """Signs private REST requests, and the login of the private WebSocket.

    Args:
        recv_window: ms that a request may take to arrive.
    """

    def __init__(self, credentials: CredentialSource, *, recv_window: int = 5000) -> None:
        self._key = hmac_key(credentials)
        self._window = str(recv_window)

    def requires_auth(self, endpoint: str) -> bool:
        return not endpoint.startswith(PUBLIC)

    def sign_request(
        self,
        method: HTTPMethod,
        endpoint: str,
        params: Sequence[tuple[str, str]],
        json_data: Any,
        timestamp: int,
    ) -> AuthenticationData:
        key = self._key.current()
        query, body = encode_query(params), encode_body(json_data)
        payload = body if method is HTTPMethod.POST else query.encode()
        signature = key.signer.sign(f"{timestamp}{key.key}{self._window}".encode() + payload)
        return AuthenticationData(
            headers={
                "X-BAPI-API-KEY": key.key,
                "X-BAPI-TIMESTAMP": str(timestamp),
                "X-BAPI-RECV-WINDOW": self._window,
                "X-BAPI-SIGN": signature,
            },
            query=query,
            data=body or None,
        )

    def login_frame(self, expires: int) -> bytes:
        """The private WebSocket's ``auth``; `expires`: ms since 1970 until which it may arrive."""
        key = self._key.current()
        signature = key.signer.sign(f"GET/realtime{expires}".encode())
        return encode_json({"op": "auth", "args": [key.key, expires, signature]})

    def server_time(self) -> ServerTime:
        return ServerTime(endpoint="/v5/market/time", read=lambda body: _time.decode(body).time)

    def __repr__(self) -> str:
        return f"BybitAuth({self._key!r})"


def auth(credentials: CredentialSource, *, recv_window: int = 5000) -> BybitAuth:
    """The signer of one account; all endpoints but the public market data are signed."""
    return BybitAuth(credentials, recv_window=recv_window)
