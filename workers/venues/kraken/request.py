"""Kraken spot: how REST requests look: paths below ``/0``, parameters in the query, or in a form when signed.

Every private request is a POST, so these tables have which may be repeated and which are urgent (venue docs,
"Spot REST": Account Data, Trading).
"""

from __future__ import annotations

from workers.contract.protocols import HTTPMethod, Priority, ReplayClass
from workers.venues.defaults import PlainRequests

TIME = "/0/public/Time"
PING = TIME  # no parameters, small
LISTING = "/0/public/AssetPairs"
KLINES = "/0/public/OHLC"
TICKERS = "/0/public/Ticker"

READS = frozenset(
    f"/0/private/{name}"
    for name in (
        "Balance", "BalanceEx", "TradeBalance", "OpenOrders", "ClosedOrders", "QueryOrders", "TradesHistory",
        "QueryTrades", "OpenPositions", "Ledgers", "QueryLedgers", "TradeVolume", "GetWebSocketsToken",
    )
)  # fmt: skip
CANCELS = frozenset(
    f"/0/private/{name}" for name in ("CancelOrder", "CancelAll", "CancelAllOrdersAfter", "CancelOrderBatch")
)


class KrakenRequests(PlainRequests):
    """The venue's API is at ``https://api.kraken.com``."""

    def replay_class(self, method: HTTPMethod, endpoint: str) -> ReplayClass:
        """Reads may be repeated. An order may not: how the venue treats a second one with the same client id
        is not documented."""
        return ReplayClass.SAFE if endpoint in READS else super().replay_class(method, endpoint)

    def priority(self, method: HTTPMethod, endpoint: str) -> Priority:
        if endpoint in CANCELS:
            return Priority.CANCEL
        return Priority.QUERY if endpoint in READS else super().priority(method, endpoint)
