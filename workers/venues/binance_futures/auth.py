"""Binance USD-M futures: what is signed (`workers.venues.binance.auth`).

Venue docs, "General Info": query and body, when both are sent, are joined without "&" to be signed.
"""

from __future__ import annotations

from workers.auth.credentials import CredentialSource
from workers.auth.signed_query import SignedQuery
from workers.venues.binance.auth import signed_query
from workers.venues.binance_futures.request import TIME

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
    """The signer of one account; all endpoints but the public market data are signed, and the listen key
    needs the key's header alone. `recv_window`: ms that a request may take to arrive."""
    return signed_query(credentials, time=TIME, public=PUBLIC, keyed=KEYED, recv_window=recv_window)
