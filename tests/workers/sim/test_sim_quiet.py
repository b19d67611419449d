"""Many symbols, most of them quiet: minor markets of every dialect, and rates symbol by symbol."""

from __future__ import annotations

import asyncio

import pytest
from test_dialects import every_feed, still

from workers.sim import SimVenue
from workers.sim.dialects import dialect
from workers.sim.synthetic import Synthetic


def minor(feed: str, number: int) -> str:
    return "/".join([f"M{number:03}", dialect(feed).default_symbols[-1].partition("/")[2]])


@every_feed
def test_minor_markets_are_listed_as_the_venue_writes_them(feed):
    async def run() -> None:
        symbols = [dialect(feed).default_symbols[0], minor(feed, 0), minor(feed, 999)]
        async with still(feed, symbols=symbols) as venue:
            assert venue.state()["listed"] == symbols
            for symbol in symbols:
                assert venue.book(symbol).bids
            assert len({venue.venue_symbol(symbol) for symbol in symbols}) == 3

    asyncio.run(run())


@pytest.mark.parametrize("symbol", ["M00/USDT", "M0000/USDT", "M000/NOPE", "X000/USDT", "M000", ""])
def test_what_is_no_minor_market_is_refused(symbol: str) -> None:
    with pytest.raises(LookupError, match="unknown symbol"):
        dialect("binance_spot").listing(symbol)


def moved(market: Synthetic) -> dict[str, int]:
    return {
        symbol.listing.symbol: symbol.market.matcher.last_id
        for symbol in map(market.symbol, market.symbols())
    }


def test_each_symbol_acts_at_its_own_rate() -> None:
    symbols = ["BTC/USDT", "M000/USDT", "M001/USDT", "M100/USDT"]
    venue = SimVenue("binance_spot", symbols=symbols, rate=50.0, rates=[("M*", 2.0), ("M0*", 0.0)], levels=20)
    market = venue.market
    assert market is not None
    assert [market.rate_of(symbol) for symbol in symbols] == [50.0, 0.0, 0.0, 2.0]
    before = moved(market)
    acts = dict.fromkeys(symbols, 0)
    step = market._step

    def count(name: str, count: int) -> None:
        acts[market.symbol(name).listing.symbol] += count
        step(name, count)

    market._step = count  # type: ignore[method-assign]
    for _ in range(1000):
        market._step_each(0.01)
    assert acts["M000/USDT"] == acts["M001/USDT"] == 0
    assert abs(acts["BTC/USDT"] - 500) <= 1
    assert abs(acts["M100/USDT"] - 20) <= 1
    after = moved(market)
    assert {symbol for symbol in symbols if after[symbol] != before[symbol]} == {"BTC/USDT", "M100/USDT"}


@pytest.mark.parametrize(
    ("rate", "rates", "moves"), [(0.0, [], False), (0.0, [("M*", 1.0)], True), (1.0, [("*", 0.0)], True)]
)
def test_a_venue_that_never_moves_has_no_clock(
    rate: float, rates: list[tuple[str, float]], moves: bool
) -> None:
    market = SimVenue("binance_spot", rate=rate, rates=rates, levels=5).market
    assert market is not None
    assert market.moves is moves
