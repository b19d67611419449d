"""Builds Binance's klines and 24 h tickers, for streams and REST."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from workers.sim.candles import MINUTE_MS, Candle
from workers.sim.market import decimal_text

if TYPE_CHECKING:
    from workers.sim.synthetic import Symbol

INTERVALS = {"1m": 1, "3m": 3, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "2h": 120, "4h": 240}
"""Kline intervals in minutes, as far as one day of one-minute candles can serve them."""


def _quote(symbol: Symbol, value: int) -> str:
    listing = symbol.listing
    return decimal_text(value, listing.price_decimals + listing.size_decimals)


def _price_change(symbol: Symbol, day: Candle) -> tuple[str, str, str]:
    """Change, percent, weighted average."""
    change = day.close - day.open
    text = symbol.market.price_text(abs(change))
    average = day.quote // day.base if day.base else day.close
    percent = f"{change * 100 / day.open:.3f}"
    return ("-" if change < 0 else "") + text, percent, symbol.market.price_text(average)


def ticker(symbol: Symbol, ms: int, top: bool) -> bytes:
    """``<s>@ticker``; `top`: with the best prices and the previous close, as spot has them."""
    day = symbol.candles.day()
    price, size = symbol.market.price_text, symbol.market.size_text
    bid, bid_size, ask, ask_size = symbol.market.matcher.top()
    change, percent, average = _price_change(symbol, day)
    opened = {"x": price(day.open)} if top else {}
    best = {"b": price(bid), "B": size(bid_size), "a": price(ask), "A": size(ask_size)} if top else {}
    return msgspec.json.encode(
        {
            "e": "24hrTicker", "E": ms, "s": symbol.listing.venue_symbol, "p": change, "P": percent,
            "w": average, **opened, "c": price(day.close), "Q": size(1), **best,
            "o": price(day.open), "h": price(day.high), "l": price(day.low),
            "v": size(day.base), "q": _quote(symbol, day.quote),
            "O": ms - 86_400_000, "C": ms, "F": max(day.first_trade, 0), "L": max(day.last_trade, 0),
            "n": day.trades,
        }
    )  # fmt: skip


def mini_ticker(symbol: Symbol, ms: int) -> bytes:
    """``<s>@miniTicker``"""
    day = symbol.candles.day()
    price = symbol.market.price_text
    return msgspec.json.encode(
        {
            "e": "24hrMiniTicker", "E": ms, "s": symbol.listing.venue_symbol,
            "c": price(day.close), "o": price(day.open), "h": price(day.high), "l": price(day.low),
            "v": symbol.market.size_text(day.base), "q": _quote(symbol, day.quote),
        }
    )  # fmt: skip


def rest_ticker(symbol: Symbol, ms: int, top: bool) -> dict[str, object]:
    """One row of ``ticker/24hr``; `top`: see `ticker`."""
    day = symbol.candles.day()
    price, size = symbol.market.price_text, symbol.market.size_text
    bid, bid_size, ask, ask_size = symbol.market.matcher.top()
    change, percent, average = _price_change(symbol, day)
    opened = {"prevClosePrice": price(day.open)} if top else {}
    best = {
        "bidPrice": price(bid), "bidQty": size(bid_size), "askPrice": price(ask), "askQty": size(ask_size),
    }  # fmt: skip
    return {
        "symbol": symbol.listing.venue_symbol, "priceChange": change, "priceChangePercent": percent,
        "weightedAvgPrice": average, **opened, "lastPrice": price(day.close),
        "lastQty": size(1), **(best if top else {}), "openPrice": price(day.open),
        "highPrice": price(day.high), "lowPrice": price(day.low), "volume": size(day.base),
        "quoteVolume": _quote(symbol, day.quote),
        "openTime": ms - 86_400_000, "closeTime": ms, "firstId": max(day.first_trade, 0),
        "lastId": max(day.last_trade, 0), "count": day.trades,
    }  # fmt: skip


def kline(symbol: Symbol, ms: int) -> bytes:
    """``<s>@kline_1m``: the current minute."""
    name, candle = symbol.listing.venue_symbol, symbol.candles.minutes[-1]
    price, size = symbol.market.price_text, symbol.market.size_text
    return msgspec.json.encode(
        {
            "e": "kline", "E": ms, "s": name,
            "k": {
                "t": candle.start, "T": candle.start + MINUTE_MS - 1, "s": name, "i": "1m",
                "f": candle.first_trade, "L": candle.last_trade,
                "o": price(candle.open), "c": price(candle.close), "h": price(candle.high),
                "l": price(candle.low), "v": size(candle.base), "n": candle.trades, "x": False,
                "q": _quote(symbol, candle.quote), "V": size(candle.taker_base),
                "Q": _quote(symbol, candle.taker_quote), "B": "0",
            },
        }
    )  # fmt: skip


def rest_klines(symbol: Symbol, minutes: int, limit: int) -> list[list[object]]:
    """The rows of ``klines``, oldest first."""
    price, size = symbol.market.price_text, symbol.market.size_text
    return [
        [
            one.start, price(one.open), price(one.high), price(one.low), price(one.close),
            size(one.base), one.start + minutes * MINUTE_MS - 1, _quote(symbol, one.quote), one.trades,
            size(one.taker_base), _quote(symbol, one.taker_quote), "0",
        ]
        for one in symbol.candles.grouped(minutes, limit)
    ]  # fmt: skip
