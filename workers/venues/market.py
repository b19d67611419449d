"""Answers of public REST requests in one form for all venues: candles and request limits."""

from __future__ import annotations

from typing import NamedTuple

INTERVALS = {
    "1m": 60, "3m": 180, "5m": 300, "15m": 900, "30m": 1800, "1h": 3600, "2h": 7200, "4h": 14_400, "6h":
    21_600, "8h": 28_800, "12h": 43_200, "1d": 86_400, "3d": 259_200, "1w": 604_800,
}  # fmt: skip
"""Candle intervals (ccxt's names) and their seconds; a venue may have fewer."""


class Kline(NamedTuple):
    """One candle; numbers as the venue wrote them.

    Attributes:
        open_time: ns since 1970.
        volume: in base units, or in contracts where the venue counts so.
        quote_volume: "" where the venue does not report it.
        closed: whether its interval is over (as the venue reports, or by the clock), so that it is final.
    """

    open_time: int
    open: str
    high: str
    low: str
    close: str
    volume: str
    quote_volume: str
    closed: bool


class ServerLimit(NamedTuple):
    """One limit of a venue: `limit` units in any window of `per` seconds.

    Attributes:
        name: what is counted: ``"weight"``, ``"requests"``, ``"orders"``, ``"connections"``, or the venue's
            own name for it.
        per: 0.0 where the venue names an interval that is not known here; `name` ends with it then.
        reported: whether the server returned it in an answer; False: it is documented only.
    """

    name: str
    limit: int
    per: float
    reported: bool


class UnknownInterval(ValueError):
    """The venue has no such candle; the text names those that it has."""
