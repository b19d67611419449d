"""Binance spot's exchangeInfo -> instrument slots, and the numbers of its events."""

from __future__ import annotations

from collections.abc import Iterable

from shm.instruments import Instrument
from shm.layout import InstrumentKind, InstrumentStatus
from workers.decode.decimals import decimals
from workers.listing import Number, PrecisionError, choose, exact, exponent, level_numbers
from workers.venues.binance_spot import schema


def instruments(info: schema.ExchangeInfo, symbols: Iterable[str]) -> list[Instrument]:
    """The instruments of `symbols` (canonical, ``BTC/USDT``), in that order, `index` left at 0.

    Raises:
        UnknownInstrument: one or more are not listed; the message names all of them and the nearest ones.
        PrecisionError: the venue's limits of one fit no int64.
    """
    listed = {f"{entry.base}/{entry.quote}": entry for entry in info.symbols}
    return [instrument(entry) for entry in choose(listed, symbols, "Binance spot")]


def instrument(entry: schema.SymbolInfo) -> Instrument:
    """One symbol's slot. Raises PrecisionError.

    Venue docs, "Filters": a step of zero switches the rule off; the wire writes eight decimals always, which
    says nothing about them.
    """
    symbol = f"{entry.base}/{entry.quote}"
    price = entry.filter("PRICE_FILTER") or schema.Filter(type="PRICE_FILTER")
    size = entry.filter("LOT_SIZE") or schema.Filter(type="LOT_SIZE")
    # Until 2022 the filter was called MIN_NOTIONAL.
    notional = (entry.filter("NOTIONAL", "MIN_NOTIONAL") or schema.Filter(type="NOTIONAL")).min_notional
    try:
        price_exp = exponent(symbol, "tick", price.tick_size, price.min_price, price.max_price)
        size_exp = exponent(symbol, "lot", size.step_size, size.min_size, size.max_size)
        notional_exp = decimals(notional)
    except ValueError as error:
        raise PrecisionError(f"{symbol}: the venue's filters cannot be read: {error}") from error
    return Instrument(
        symbol=symbol,
        venue_symbol=entry.symbol,
        kind=InstrumentKind.SPOT,
        price_exp=price_exp,
        size_exp=size_exp,
        tick=exact(symbol, price.tick_size, price_exp),
        lot=exact(symbol, size.step_size, size_exp),
        min_notional=exact(symbol, notional, notional_exp),
        notional_exp=notional_exp,
        status=InstrumentStatus.ACTIVE if entry.status == "TRADING" else InstrumentStatus.HALTED,
    )


def numbers(event: object) -> list[Number]:
    """The prices and sizes of an event, as the venue wrote them; none of anything else."""
    match event:
        case schema.BookTicker():
            return level_numbers(((event.bid, event.bid_size), (event.ask, event.ask_size)))
        case schema.DepthUpdate() | schema.PartialDepth():
            return level_numbers(event.bids, event.asks)
        case schema.Trade() | schema.AggTrade():
            return [("price", event.price), ("size", event.size)]
        case schema.Ticker():
            prices = (event.last, event.open, event.high, event.low)
            return [*(("price", price) for price in prices), ("size", event.volume)]
    return []
