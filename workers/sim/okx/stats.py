"""OKX's candles and 24 h tickers, with its three kinds of volume."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from workers.sim.candles import MINUTE_MS, Candle
from workers.sim.okx import payloads
from workers.sim.okx.names import type_of
from workers.sim.synthetic import Symbol

BARS = {
    "1m": 1, "3m": 3, "5m": 5, "15m": 15, "30m": 30, "1H": 60, "2H": 120, "4H": 240, "6Hutc": 360,
    "12Hutc": 720, "1Dutc": 1440,
}  # fmt: skip
"""Candle intervals in minutes, as far as one day of one-minute candles can serve them."""


def volumes(symbol: Symbol, candle: Candle) -> tuple[str, str, str]:
    """Volume, volume in currency, volume in quote currency.

    The first is in base units for spot, in contracts otherwise; the second in quote units for spot, in base
    units otherwise.
    """
    listing = symbol.listing
    amount = Decimal(candle.base).scaleb(-listing.size_decimals)
    traded = Decimal(candle.quote).scaleb(-listing.size_decimals - listing.price_decimals)
    if not listing.is_swap:
        return _text(amount), _text(traded), _text(traded)
    contract = Decimal(listing.contract)
    if listing.settle.partition("-")[0] != listing.base:
        return _text(amount), _text(amount * contract), _text(traded * contract)
    worth = amount * contract  # in quote units, whatever the price
    price = traded / amount if amount else Decimal(1)
    return _text(amount), _text(round(worth / price, 8)), _text(worth)


def _text(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def ticker(symbol: Symbol, ms: int) -> bytes:
    """``tickers``"""
    return payloads.push(
        {"channel": "tickers", "instId": symbol.listing.venue_symbol}, [statistics(symbol, ms)]
    )


def statistics(symbol: Symbol, ms: int) -> dict[str, str]:
    """One entry of ``tickers``, in the stream and by REST."""
    name, day = symbol.listing.venue_symbol, symbol.candles.day()
    price, size = symbol.market.price_text, symbol.market.size_text
    bid, bid_size, ask, ask_size = symbol.market.matcher.top()
    volume, currency, _ = volumes(symbol, day)
    return {
        "instType": type_of(name), "instId": name, "last": price(day.close), "lastSz": size(1),
        "askPx": price(ask), "askSz": size(ask_size), "bidPx": price(bid), "bidSz": size(bid_size),
        "open24h": price(day.open), "high24h": price(day.high), "low24h": price(day.low),
        "sodUtc0": price(day.open), "sodUtc8": price(day.open), "volCcy24h": currency, "vol24h": volume,
        "ts": str(ms),
    }  # fmt: skip


def candles(symbol: Symbol, minutes: int, limit: int, now_ms: int) -> list[list[Any]]:
    """``/api/v5/market/candles``, newest first."""
    price = symbol.market.price_text
    found = []
    for one in reversed(symbol.candles.grouped(minutes, limit)):
        prices = (price(one.open), price(one.high), price(one.low), price(one.close))
        done = one.start + minutes * MINUTE_MS <= now_ms
        found.append([str(one.start), *prices, *volumes(symbol, one), "1" if done else "0"])
    return found
