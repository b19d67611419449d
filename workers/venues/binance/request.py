"""Binance: how REST requests look, in every market."""

from __future__ import annotations

from workers.venues.defaults import PlainRequests


class BinanceRequests(PlainRequests):
    """Parameters in the query."""

    def text(self, value: object) -> str:
        """Venue docs: booleans are lower-case words, lists are JSON arrays without blanks."""
        if isinstance(value, list | tuple):
            return "[" + ",".join(f'"{item}"' for item in value) + "]"
        return super().text(value)
