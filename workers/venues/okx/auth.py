"""OKX v5: HMAC-SHA256, base64, over timestamp + method + path with query + body.

Venue docs, "REST Authentication" and "Login": REST signs an ISO 8601 time with milliseconds, the WebSocket's
login signs seconds, the method GET and the path ``/users/self/verify``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec

from workers.auth.credentials import CredentialSource
from workers.auth.encoding import encode_body, encode_json, encode_query
from workers.auth.signing import hmac_key
from workers.contract.protocols import AuthenticationData, AuthStrategy, HTTPMethod, ServerTime
from workers.venues.okx.request import TIME

PUBLIC = ("/api/v5/public/", "/api/v5/market/")


class _Now(msgspec.Struct):
    ts: str


class _Time(msgspec.Struct):
    data: tuple[_Now]


_time = msgspec.json.Decoder(_Time)


class OkxAuth(AuthStrategy):
    """Signs private REST requests, and the login of the private WebSocket.

    Args:
        simulated: for the venue's demo trading, which has keys of its own.
    """

    def __init__(self, credentials: CredentialSource, *, simulated: bool = False) -> None:
        self._key = hmac_key(credentials, output="base64")
        self._more = {"x-simulated-trading": "1"} if simulated else {}

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
        stamp = iso(timestamp)
        target = f"{endpoint}?{query}" if query else endpoint
        return AuthenticationData(
            headers={
                "OK-ACCESS-KEY": key.key,
                "OK-ACCESS-SIGN": key.signer.sign(f"{stamp}{method}{target}".encode() + body),
                "OK-ACCESS-TIMESTAMP": stamp,
                "OK-ACCESS-PASSPHRASE": key.passphrase,
                **self._more,
            },
            query=query,
            data=body or None,
        )

    def login_frame(self, timestamp: int) -> bytes:
        """The private WebSocket's ``login``; `timestamp` in ms, signed in seconds."""
        key = self._key.current()
        seconds = str(timestamp // 1000)
        entry = {
            "apiKey": key.key,
            "passphrase": key.passphrase,
            "timestamp": seconds,
            "sign": key.signer.sign(f"{seconds}GET/users/self/verify".encode()),
        }
        return encode_json({"op": "login", "args": [entry]})

    def server_time(self) -> ServerTime:
        return ServerTime(endpoint=TIME, read=lambda body: int(_time.decode(body).data[0].ts))

    def __repr__(self) -> str:
        return f"OkxAuth({self._key!r})"


def auth(credentials: CredentialSource, *, simulated: bool = False) -> OkxAuth:
    """The signer of one account; all endpoints but the public market data are signed."""
    return OkxAuth(credentials, simulated=simulated)


def iso(ms: int) -> str:
    """A time (ms since 1970) as ISO 8601 in UTC: ``2020-12-08T09:08:57.715Z``."""
    seconds, rest = divmod(ms, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:03d}Z"
