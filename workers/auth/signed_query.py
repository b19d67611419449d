"""The family of venues that sign the query: timestamp and signature are parameters of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple
from urllib.parse import quote

from workers.auth.credentials import Credentials, CredentialSource, Keyed
from workers.auth.encoding import encode_body, encode_query
from workers.auth.secret import HIDDEN
from workers.auth.signing import Signer
from workers.contract.protocols import AuthenticationData, AuthStrategy, HTTPMethod, ServerTime


class _Key(NamedTuple):
    headers: dict[str, str]
    signer: Signer

    def __repr__(self) -> str:
        return f"_Key({HIDDEN})"


class SignedQuery(AuthStrategy):
    """The signature is over the encoded query, followed without a separator by the body, if there is one.

    Args:
        credentials: looked at for each signature.
        key_header: names the API key.
        signer: credentials -> what signs.
        public: endpoints that are neither signed nor keyed; all others are signed, so that one that is not
            known here fails with the venue's own words instead of leaking an unsigned order.
        keyed: endpoints that want the key's header alone.
        recv_window: ms that the request may take to arrive.
        headers: further ones of each signed request.

    Raises SecretError: the credentials make no signer.
    """

    def __init__(
        self,
        credentials: CredentialSource,
        *,
        key_header: str,
        signer: Callable[[Credentials], Signer],
        public: AbstractSet[str],
        keyed: AbstractSet[str] = frozenset(),
        server_time: ServerTime,
        recv_window: int = 5000,
        headers: dict[str, str] | None = None,
    ) -> None:
        more = headers or {}
        self._key = Keyed(
            credentials,
            lambda pair: _Key({key_header: pair.key.reveal(), **more}, signer(pair)),
        )
        self._public = public
        self._keyed = keyed
        self._server_time = server_time
        self._tail = f"recvWindow={recv_window}&timestamp="

    def requires_auth(self, endpoint: str) -> bool:
        return endpoint not in self._public

    def sign_request(
        self,
        method: HTTPMethod,
        endpoint: str,
        params: Sequence[tuple[str, str]],
        json_data: Any,
        timestamp: int,
    ) -> AuthenticationData:
        key = self._key.current()
        query = encode_query(params)
        body = None if json_data is None else encode_body(json_data)
        if endpoint in self._keyed:
            return AuthenticationData(headers=key.headers, query=query, data=body)
        query = f"{query}{'&' if query else ''}{self._tail}{timestamp}"
        signature = key.signer.sign(query.encode() if body is None else query.encode() + body)
        # Base64 signatures have characters with a meaning of their own in a query; hexadecimal ones do not.
        if not signature.isalnum():
            signature = quote(signature, safe="")
        return AuthenticationData(headers=key.headers, query=f"{query}&signature={signature}", data=body)

    def server_time(self) -> ServerTime:
        return self._server_time

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._key!r})"
