"""Binance spot: what is signed, and the requests of its WebSocket API (`workers.venues.binance.auth`)."""

from __future__ import annotations

from workers.auth.credentials import CredentialSource
from workers.auth.signed_query import SignedQuery
from workers.venues.binance.auth import login_frame, signed_frame, signed_query, to_sign
from workers.venues.binance_spot.request import TIME

__all__ = ["PUBLIC", "auth", "login_frame", "signed_frame", "to_sign"]

PUBLIC = frozenset(
    f"/api/v3/{name}"
    for name in (
        "ping", "time", "exchangeInfo", "depth", "trades", "historicalTrades", "aggTrades", "klines",
        "uiKlines", "avgPrice", "ticker", "ticker/24hr", "ticker/tradingDay", "ticker/price",
        "ticker/bookTicker",
    )
)  # fmt: skip


def auth(credentials: CredentialSource, *, recv_window: int = 5000) -> SignedQuery:
    """The signer of one account; all endpoints but the public market data are signed. `recv_window`: ms that
    a request may take to arrive."""
    return signed_query(credentials, time=TIME, public=PUBLIC, recv_window=recv_window)
