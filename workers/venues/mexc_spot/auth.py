"""MEXC spot v3: HMAC-SHA256, lower-case hexadecimal, over the query, in which all parameters travel, those
of a POST too (venue docs, "SIGNED"). No WebSocket login: private streams have a listen key in the URL.
"""

from __future__ import annotations

from workers.auth.credentials import CredentialSource
from workers.auth.signed_query import SignedQuery
from workers.auth.signing import HmacSigner
from workers.contract.protocols import ServerTime
from workers.venues.mexc_spot import schema
from workers.venues.mexc_spot.request import TIME

KEY_HEADER = "X-MEXC-APIKEY"
PUBLIC = frozenset(
    f"/api/v3/{name}"
    for name in (
        "ping", "time", "defaultSymbols", "exchangeInfo", "depth", "trades", "aggTrades", "klines",
        "avgPrice", "ticker/24hr", "ticker/price", "ticker/bookTicker",
    )
)  # fmt: skip


def read_time(body: bytes) -> int:
    """The venue's time in an answer of ``time``, ms since 1970."""
    return schema.decode_time(body).time


def auth(credentials: CredentialSource, *, recv_window: int = 5000) -> SignedQuery:
    """The signer of one account; all endpoints but the public market data are signed. `recv_window`: ms that
    a request may take to arrive, at most 60,000."""
    return SignedQuery(
        credentials,
        key_header=KEY_HEADER,
        signer=lambda pair: HmacSigner(pair.secret),
        public=PUBLIC,
        server_time=ServerTime(endpoint=TIME, read=read_time),
        recv_window=recv_window,
        headers={"Content-Type": "application/json"},
    )
