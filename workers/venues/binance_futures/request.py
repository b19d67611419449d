"""Binance USD-M futures: its REST endpoints, at ``https://fapi.binance.com``."""

from __future__ import annotations

# Venue docs, "Test Connectivity": weight 1, no parameters, answers {}.
PING = "/fapi/v1/ping"
TIME = "/fapi/v1/time"
LISTING = "/fapi/v1/exchangeInfo"
DEPTH = "/fapi/v1/depth"
KLINES = "/fapi/v1/klines"
TOPS = "/fapi/v1/ticker/bookTicker"
