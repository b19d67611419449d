"""What REST says of a market beside its book: candles, the venue's clock and its limits, in one form for
all."""

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
        quote_volume: "" where the venue does not say.
        closed: whether the venue says or the clock proves that it changes no more.
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
        word.
        per: 0.0 where the venue names an interval that is not known here; `name` ends with it then.
        told: whether the server said so in its answer; otherwise it is what its documentation says.
    """

    name: str
    limit: int
    per: float
    told: bool


class UnknownInterval(ValueError):
    """The venue has no such candle; the text names those that it has."""
