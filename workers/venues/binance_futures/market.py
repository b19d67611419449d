"""Binance USD-M futures: what REST says of a market (`workers.venues.binance.market`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from workers.books.sync import Best, Snapshot
from workers.contract.protocols import Priority
from workers.venues.binance import market
from workers.venues.binance_futures.limits import DEPTH_TIERS
from workers.venues.binance_futures.request import DEPTH, KLINES, LISTING, TIME, TOPS
from workers.venues.market import Kline, ServerLimit

if TYPE_CHECKING:
    from workers.rest import RestManager


async def snapshot(rest: RestManager, venue_symbol: str, levels: int, priority: Priority) -> Snapshot:
    return await market.snapshot(rest, DEPTH, venue_symbol, DEPTH_TIERS.limit(levels), priority)


async def best_prices(
    rest: RestManager, venue_symbols: Sequence[str], priority: Priority
) -> Mapping[str, Best]:
    return await market.best_prices(rest, TOPS, priority)


async def klines(rest: RestManager, venue_symbol: str, interval: str, limit: int) -> list[Kline]:
    return await market.klines(rest, KLINES, venue_symbol, interval, limit)


async def server_time(rest: RestManager) -> int:
    return await market.server_time(rest, TIME)


async def server_limits(rest: RestManager) -> list[ServerLimit]:
    return await market.server_limits(rest, LISTING)
