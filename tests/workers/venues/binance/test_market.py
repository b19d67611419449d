"""Public REST requests of both markets: candles, clock, limits, snapshots."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from workers.books.sync import Snapshot
from workers.contract.protocols import Priority
from workers.venues.binance_futures.venue import VENUE as FUTURES
from workers.venues.binance_spot.market import MARKET
from workers.venues.binance_spot.venue import VENUE as SPOT
from workers.venues.market import INTERVALS, Kline, ServerLimit, UnknownInterval
from workers.venues.venue import Venue

BOTH = pytest.mark.parametrize(("venue", "root"), [(SPOT, "/api/v3"), (FUTURES, "/fapi/v1")])
# The venue's documented example, and the candle before it.
CANDLES = [
    [1499040000000, "0.01634790", "0.80000000", "0.01575800", "0.01577100", "148976.11427815", 1499644799999,
     "2434.19055334", 308, "1756.87402397", "28.46694368", "0"],
    [1499644800000, "0.01577100", "0.80000000", "0.01575800", "0.01577100", "1.0", 1500249599999, "2.0", 308,
     "1756.87402397", "28.46694368", "0"],
]  # fmt: skip
LIMITS = {
    "timezone": "UTC",
    "rateLimits": [
        {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 2400},
        {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 300},
        {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 61000},
        {"rateLimitType": "NEW_THING", "interval": "DAY", "intervalNum": 1, "limit": 7},
        {"rateLimitType": "ORDERS", "interval": "FORTNIGHT", "intervalNum": 1, "limit": 7},
    ],
    "symbols": [{}],
}


class Rest:
    """Answers every GET with the same, and notes what was asked."""

    def __init__(self, answer: object) -> None:
        self.answer = msgspec.json.encode(answer)
        self.asked: list[tuple[str, Any]] = []

    async def get(
        self,
        path: str,
        params: Any = None,
        *,
        decoder: Callable[[bytes], Any],
        priority: Priority = Priority.QUERY,
    ) -> Any:
        self.asked.append((path, params))
        return decoder(self.answer)


@BOTH
def test_klines(venue: Venue, root: str) -> None:
    rest: Any = Rest(CANDLES)
    assert venue.rest.klines is not None
    rows = asyncio.run(venue.rest.klines(rest, "BTCUSDT", "1w", 2))
    assert rest.asked == [(f"{root}/klines", {"symbol": "BTCUSDT", "interval": "1w", "limit": 2})]
    assert rows[0] == Kline(
        1499040000000 * 10**6,
        "0.01634790",
        "0.80000000",
        "0.01575800",
        "0.01577100",
        "148976.11427815",
        "2434.19055334",
        True,
    )
    assert rows[1].closed  # long ago


@pytest.mark.parametrize(("seconds", "closed"), [(-1.0, False), (30.0, False), (61.0, True)])
def test_the_newest_candle_is_closed_a_minute_after_its_end(seconds: float, closed: bool) -> None:
    rest: Any = Rest(CANDLES)
    end = 1500249599.999
    market = dataclasses.replace(MARKET, clock=lambda: end + seconds)
    rows = asyncio.run(market.klines(rest, "BTCUSDT", "1w", 2))
    assert [row.closed for row in rows] == [True, closed]


@BOTH
def test_an_interval_that_there_is_not_names_those_that_there_are(venue: Venue, root: str) -> None:
    rest: Any = Rest([])
    assert venue.rest.klines is not None
    with pytest.raises(UnknownInterval, match="no candles of '7m'; there are: 1m, 3m"):
        asyncio.run(venue.rest.klines(rest, "BTCUSDT", "7m", 2))
    assert rest.asked == []
    for interval in INTERVALS:
        assert asyncio.run(venue.rest.klines(rest, "BTCUSDT", interval, 2)) == []


@BOTH
def test_server_time(venue: Venue, root: str) -> None:
    rest: Any = Rest({"serverTime": 1499827319559})
    assert venue.rest.server_time is not None
    assert asyncio.run(venue.rest.server_time(rest)) == 1499827319559
    assert rest.asked == [(f"{root}/time", None)]


@BOTH
def test_server_limits(venue: Venue, root: str) -> None:
    rest: Any = Rest(LIMITS)
    assert venue.rest.server_limits is not None
    limits = asyncio.run(venue.rest.server_limits(rest))
    assert rest.asked == [(f"{root}/exchangeInfo", None)]
    assert limits[:5] == [
        ServerLimit("weight", 2400, 60.0, True),
        ServerLimit("orders", 300, 10.0, True),
        ServerLimit("requests", 61000, 300.0, True),
        ServerLimit("NEW_THING", 7, 86_400.0, True),
        ServerLimit("orders in 1 FORTNIGHT", 7, 0.0, True),  # unknown, and not dropped in silence
    ]
    # Documented, and not returned by the server.
    assert limits[5:] == ([ServerLimit("connections", 300, 300.0, False)] if venue is SPOT else [])


@BOTH
def test_a_snapshot(venue: Venue, root: str) -> None:
    rest: Any = Rest({"lastUpdateId": 7, "E": 1, "T": 1, "bids": [["1.0", "2"]], "asks": [["1.1", "3"]]})
    assert venue.books.snapshot is not None
    found = asyncio.run(venue.books.snapshot(rest, "BTCUSDT", 100, Priority.SNAPSHOT))
    assert found == Snapshot(7, [("1.0", "2")], [("1.1", "3")])
    assert rest.asked == [(f"{root}/depth", {"symbol": "BTCUSDT", "limit": 100})]
