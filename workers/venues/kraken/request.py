"""Kraken spot: how REST requests look: paths below ``/0``, parameters in the query."""

from __future__ import annotations

from workers.defaults import PlainRequests

TIME = "/0/public/Time"
PAIRS = "/0/public/AssetPairs"
CANDLES = "/0/public/OHLC"


class KrakenRequests(PlainRequests):
    """The venue's API is at ``https://api.kraken.com``."""
