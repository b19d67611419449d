"""Binance spot: its REST endpoints."""

from __future__ import annotations

from workers.venues.binance.request import BinanceRequests

# Venue docs, "Test connectivity": weight 1, no parameters, answers {}.
PING = "/api/v3/ping"
TIME = "/api/v3/time"
LISTING = "/api/v3/exchangeInfo"
DEPTH = "/api/v3/depth"
KLINES = "/api/v3/klines"
TOPS = "/api/v3/ticker/bookTicker"


class BinanceSpotRequests(BinanceRequests):
    """The venue's API is at ``https://api.binance.com`` or, for data only, at
    ``https://data-api.binance.vision``."""
