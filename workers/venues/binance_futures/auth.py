"""Binance USD-M futures: signed as spot is; paths differ.

Venue docs, "General Info": query and body, when both are sent, are joined without "&" to be signed.
"""

from __future__ import annotations

from workers.auth.credentials import CredentialSource
from workers.auth.signed_query import SignedQuery
from workers.auth.signing import pem_or_hmac
from workers.strategies import ServerTime
from workers.venues.binance_spot.auth import KEY_HEADER, TOLERANCE_MS, read_time

PUBLIC = frozenset(
    f"/fapi/v1/{name}"
    for name in (
        "ping", "time", "exchangeInfo", "depth", "trades", "aggTrades", "klines", "continuousKlines",
        "indexPriceKlines", "markPriceKlines", "premiumIndexKlines", "premiumIndex", "fundingRate",
        "fundingInfo", "ticker/24hr", "ticker/price", "ticker/bookTicker", "openInterest",
    )
)  # fmt: skip
KEYED = frozenset({"/fapi/v1/listenKey", "/fapi/v1/historicalTrades"})


def auth(credentials: CredentialSource, *, recv_window: int = 5000) -> SignedQuery:
    """Signs all but the public market data; the listen key wants the key alone."""
    return SignedQuery(
        credentials,
        key_header=KEY_HEADER,
        signer=pem_or_hmac,
        public=PUBLIC,
        keyed=KEYED,
        server_time=ServerTime(endpoint="/fapi/v1/time", read=read_time, tolerance_ms=TOLERANCE_MS),
        recv_window=recv_window,
    )
