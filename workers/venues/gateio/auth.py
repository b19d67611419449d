"""Gate.io v4: HMAC-SHA512, hexadecimal, over five lines; times in seconds.

Rules (venue docs, "Authentication", and the official client):

1. The lines: method, path with its prefix, query, SHA-512 of the body in hexadecimal (an empty body is
   hashed too), timestamp.
2. The query is signed *decoded* and sent encoded; everything else that is signed is what is sent.
3. A private WebSocket channel has its signature in each subscription: ``channel=..&event=..&time=..``; a
   login to the WebSocket API signs ``api``, channel, parameters as JSON, and time, a line each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from workers.auth.credentials import CredentialSource
from workers.auth.encoding import encode_body, encode_json, encode_query
from workers.auth.signing import hmac_key
from workers.contract.protocols import AuthenticationData, AuthStrategy, HTTPMethod, ServerTime

PUBLIC = frozenset(
    f"/api/v4/spot/{name}"
    for name in ("time", "currencies", "currency_pairs", "tickers", "order_book", "trades", "candlesticks")
)
TOLERANCE_MS = 1000  # not documented; reports say a minute, but an early timestamp gains nothing


class _Time(msgspec.Struct):
    server_time: int


_time = msgspec.json.Decoder(_Time)


class GateioAuth(AuthStrategy):
    """Signs private REST requests, subscriptions to private channels, and the login of the WebSocket API."""

    def __init__(self, credentials: CredentialSource) -> None:
        self._key = hmac_key(credentials, "sha512")

    def requires_auth(self, endpoint: str) -> bool:
        return endpoint not in PUBLIC and not endpoint.startswith("/api/v4/spot/currencies/")

    def sign_request(
        self,
        method: HTTPMethod,
        endpoint: str,
        params: Sequence[tuple[str, str]],
        json_data: Any,
        timestamp: int,
    ) -> AuthenticationData:
        key = self._key.current()
        body = encode_body(json_data)
        seconds = timestamp // 1000
        decoded = "&".join(map("=".join, params))  # rule 2
        digest = hashlib.sha512(body).hexdigest()
        signature = key.signer.sign(f"{method}\n{endpoint}\n{decoded}\n{digest}\n{seconds}".encode())
        return AuthenticationData(
            headers={"KEY": key.key, "Timestamp": str(seconds), "SIGN": signature},
            query=encode_query(params),
            data=body or None,
        )

    def subscription_frame(self, channel: str, event: str, payload: Sequence[str], timestamp: int) -> bytes:
        """A subscription to a private channel, with its signature (rule 3); `timestamp` in ms."""
        key = self._key.current()
        seconds = timestamp // 1000
        signature = key.signer.sign(f"channel={channel}&event={event}&time={seconds}".encode())
        return encode_json(
            {
                "time": seconds,
                "channel": channel,
                "event": event,
                "payload": payload,
                "auth": {"method": "api_key", "KEY": key.key, "SIGN": signature},
            }
        )

    def login_frame(self, channel: str, request: str, timestamp: int) -> bytes:
        """The WebSocket API's login (``spot.login``), with no parameters (rule 3); `timestamp` in ms."""
        key = self._key.current()
        seconds = timestamp // 1000
        signature = key.signer.sign(f"api\n{channel}\n\n{seconds}".encode())
        payload = {"req_id": request, "api_key": key.key, "signature": signature, "timestamp": str(seconds)}
        return encode_json({"time": seconds, "channel": channel, "event": "api", "payload": payload})

    def server_time(self) -> ServerTime:
        return ServerTime(
            endpoint="/api/v4/spot/time",
            read=lambda body: _time.decode(body).server_time,
            tolerance_ms=TOLERANCE_MS,
        )

    def __repr__(self) -> str:
        return f"GateioAuth({self._key!r})"


def auth(credentials: CredentialSource) -> GateioAuth:
    """The signer of one account; all endpoints but spot's public market data are signed."""
    return GateioAuth(credentials)
