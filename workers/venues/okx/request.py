"""OKX: its REST endpoints, and how requests look."""

from __future__ import annotations

from workers.venues.defaults import PlainRequests

TIME = "/api/v5/public/time"
PING = TIME  # no parameters, small
LISTING = "/api/v5/public/instruments"
DEPTH = "/api/v5/market/books"
KLINES = "/api/v5/market/candles"
TICKERS = "/api/v5/market/tickers"


class OkxRequests(PlainRequests):
    """The venue's API is at ``https://www.okx.com``; the bare ``okx.com`` redirects, which loses what signs a
    request. Query and JSON are the plain ones."""
