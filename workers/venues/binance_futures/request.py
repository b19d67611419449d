"""Binance USD-M futures: its REST endpoints."""

from __future__ import annotations

from workers.venues.binance.request import BinanceRequests

# Venue docs, "Test Connectivity": weight 1, no parameters, answers {}.
PING = "/fapi/v1/ping"
TIME = "/fapi/v1/time"
LISTING = "/fapi/v1/exchangeInfo"
DEPTH = "/fapi/v1/depth"
KLINES = "/fapi/v1/klines"
TOPS = "/fapi/v1/ticker/bookTicker"


class BinanceFuturesRequests(BinanceRequests):
    """The venue's API is at ``https://fapi.binance.com``."""
