"""Binance spot: its REST endpoints, at ``https://api.binance.com`` or, for market data only, at
``https://data-api.binance.vision``."""

from __future__ import annotations

# Venue docs, "Test connectivity": weight 1, no parameters, answers {}.
PING = "/api/v3/ping"
TIME = "/api/v3/time"
LISTING = "/api/v3/exchangeInfo"
DEPTH = "/api/v3/depth"
KLINES = "/api/v3/klines"
TOPS = "/api/v3/ticker/bookTicker"
