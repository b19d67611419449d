"""MEXC spot: its REST endpoints, and how requests look."""

from __future__ import annotations

from workers.venues.defaults import PlainRequests

# Venue docs, "Test Connectivity": weight 1, no parameters, answers {}.
PING = "/api/v3/ping"
TIME = "/api/v3/time"
LISTING = "/api/v3/exchangeInfo"
DEPTH = "/api/v3/depth"
KLINES = "/api/v3/klines"
TOPS = "/api/v3/ticker/bookTicker"


class MexcSpotRequests(PlainRequests):
    """The venue's API is at ``https://api.mexc.com``."""

    def text(self, value: object) -> str:
        """Venue docs: several symbols are one text, joined by commas."""
        if isinstance(value, list | tuple):
            return ",".join(map(str, value))
        return super().text(value)
