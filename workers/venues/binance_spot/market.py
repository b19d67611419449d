"""Binance spot: the public REST requests of its market."""

from __future__ import annotations

from workers.venues.binance.market import BinanceMarket
from workers.venues.binance_spot.limits import CONNECTIONS
from workers.venues.binance_spot.request import DEPTH, KLINES, LISTING, TIME, TOPS

MARKET = BinanceMarket(
    depth_path=DEPTH,
    tops_path=TOPS,
    klines_path=KLINES,
    time_path=TIME,
    listing_path=LISTING,
    documented=(CONNECTIONS,),
)
