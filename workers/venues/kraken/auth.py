"""Kraken spot: HMAC-SHA512, base64, over path + SHA-256(nonce + body); the secret is base64 itself.

Rules (venue docs, "Spot REST authentication"):

1. The nonce is the first field of the body and strictly increases, for the life of the key.
2. The body is a form; where an endpoint takes JSON (batches of orders), the nonce is a member of it.
3. A request that overtakes another one on its way has a nonce that is too low. So either the key has a nonce
   window (a setting of it, at the venue), or requests go out one after the other (`max_concurrent` 1).

The private WebSocket has no signature: its token comes from the signed ``/0/private/GetWebSocketsToken``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from workers.auth.credentials import CredentialSource
from workers.auth.encoding import encode_json, encode_query
from workers.auth.nonce import Nonce
from workers.auth.signing import hmac_key
from workers.contract.protocols import AuthenticationData, AuthStrategy, HTTPMethod

FORM = "application/x-www-form-urlencoded"


class KrakenAuth(AuthStrategy):
    """Signs private REST requests.

    Args:
        nonce: of the key; everything that uses the key must share it.
    """

    def __init__(self, credentials: CredentialSource, nonce: Nonce) -> None:
        self._key = hmac_key(credentials, "sha512", key="base64", output="base64")
        self._nonce = nonce

    def requires_auth(self, endpoint: str) -> bool:
        return endpoint.startswith("/0/private/")

    def sign_request(
        self,
        method: HTTPMethod,
        endpoint: str,
        params: Sequence[tuple[str, str]],
        json_data: Any,
        timestamp: int,
    ) -> AuthenticationData:
        key = self._key.current()
        nonce = str(self._nonce.next(timestamp))
        if json_data is None:
            kind, body = FORM, encode_query((("nonce", nonce), *params)).encode()
        else:
            kind, body = "application/json", encode_json({"nonce": nonce, **dict(params), **json_data})
        signature = key.signer.sign(endpoint.encode() + hashlib.sha256(nonce.encode() + body).digest())
        return AuthenticationData(
            headers={"API-Key": key.key, "API-Sign": signature, "Content-Type": kind}, query="", data=body
        )

    def __repr__(self) -> str:
        return f"KrakenAuth({self._key!r}, {self._nonce!r})"


def auth(credentials: CredentialSource, nonce: Nonce | None = None) -> KrakenAuth:
    """The signer of one account, for ``/0/private/``. Without a `nonce`, one from the clock alone
    (`Nonce`)."""
    return KrakenAuth(credentials, Nonce() if nonce is None else nonce)
