"""Binance spot: how REST requests look."""

from __future__ import annotations

from workers.defaults import PlainRequests

# Venue docs, "Test connectivity": weight 1, no parameters, answers {}.
PING = "/api/v3/ping"


class BinanceSpotRequests(PlainRequests):
    """The venue's API is at ``https://api.binance.com`` or, for data only, at
    ``https://data-api.binance.vision``."""

    def text(self, value: object) -> str:
        """Venue docs: booleans are lower-case words, lists are JSON arrays without blanks."""
        if isinstance(value, list | tuple):
            return "[" + ",".join(f'"{item}"' for item in value) + "]"
        return super().text(value)
