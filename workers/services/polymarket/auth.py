"""Polymarket CLOB, level 2: HMAC-SHA256, base64url, over timestamp (s) + method + path + body.

Rules (venue docs, "Authentication", and the official client): the path is signed *without* the query, the
body exactly as it is sent; the secret is base64url itself. Level 1 (EIP-712 signatures of the wallet, which
make the API key and sign orders) is not here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workers.auth.credentials import CredentialSource
from workers.auth.encoding import encode_body, encode_json, encode_query
from workers.auth.signing import hmac_key
from workers.contract.protocols import AuthenticationData, AuthStrategy, HTTPMethod, ServerTime

SIGNED = frozenset(
    {
        "/order", "/orders", "/cancel-all", "/cancel-market-orders", "/data/orders", "/data/trades",
        "/balance-allowance", "/balance-allowance/update", "/v1/heartbeats", "/auth/api-keys",
        "/notifications",
    }
)  # fmt: skip


class PolymarketAuth(AuthStrategy):
    """Args:
    address: of the wallet that the API key was made with, 0x and 40 hexadecimal digits.
    """

    def __init__(self, credentials: CredentialSource, address: str) -> None:
        self._credentials = credentials
        self._key = hmac_key(credentials, key="base64url", output="base64url")
        self._address = address

    def requires_auth(self, endpoint: str) -> bool:
        return endpoint in SIGNED or endpoint.startswith("/data/order/")

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
        seconds = str(timestamp // 1000)
        return AuthenticationData(
            headers={
                "POLY_ADDRESS": self._address,
                "POLY_SIGNATURE": key.signer.sign(f"{seconds}{method}{endpoint}".encode() + body),
                "POLY_TIMESTAMP": seconds,
                "POLY_API_KEY": key.key,
                "POLY_PASSPHRASE": key.passphrase,
            },
            query=encode_query(params),
            data=body or None,
        )

    def login_frame(self, markets: Sequence[str]) -> bytes:
        """The user channel's subscription, which carries the credentials themselves; TLS alone hides them."""
        pair = self._credentials.current()
        return encode_json(
            {
                "auth": {
                    "apiKey": pair.key.reveal(),
                    "secret": pair.secret.reveal(),
                    "passphrase": pair.passphrase.reveal(),
                },
                "markets": markets,
                "assets_ids": [],
                "type": "user",
            }
        )

    def server_time(self) -> ServerTime:
        # The venue sends whole seconds: the middle of the second is what they mean on average.
        return ServerTime(endpoint="/time", read=lambda body: int(body) * 1000 + 500)

    def __repr__(self) -> str:
        return f"PolymarketAuth({self._address}, {self._key!r})"


def auth(credentials: CredentialSource, address: str) -> PolymarketAuth:
    """Signs what belongs to an account."""
    return PolymarketAuth(credentials, address)
