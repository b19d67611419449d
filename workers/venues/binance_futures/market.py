"""Binance USD-M futures: the public REST requests of its market."""

from __future__ import annotations

from workers.venues.binance.market import BinanceMarket
from workers.venues.binance_futures.limits import DEPTH_TIERS
from workers.venues.binance_futures.request import DEPTH, KLINES, LISTING, TIME, TOPS

MARKET = BinanceMarket(
    depth_path=DEPTH,
    tops_path=TOPS,
    klines_path=KLINES,
    time_path=TIME,
    listing_path=LISTING,
    tiers=DEPTH_TIERS,
)
