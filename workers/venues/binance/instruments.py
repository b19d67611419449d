"""Entries of Binance's exchangeInfo -> instrument slots, and the numbers of its events, in every market."""

from __future__ import annotations

from shm.instruments import Instrument
from shm.layout import InstrumentKind
from workers.decode.decimals import decimals
from workers.venues.binance import schema
from workers.venues.listing import Number, PrecisionError, States, exact, exponent, level_numbers

NOTIONALS = ("NOTIONAL", "MIN_NOTIONAL")  # until 2022, and on futures to this day, it is called MIN_NOTIONAL


def instrument(
    entry: schema.SymbolInfo,
    symbol: str,
    states: States,
    kind: InstrumentKind = InstrumentKind.SPOT,
    decimals_at_least: int = 0,
) -> Instrument:
    """The slot of one symbol.

    Venue docs, "Filters": a step of zero switches the rule off. How many decimals the venue writes in its
    events does not depend on the steps.

    Args:
        decimals_at_least: of prices, where those in the book may be finer than the tick.

    Raises:
        PrecisionError: the symbol's limits do not fit an int64.
    """
    price = entry.filter("PRICE_FILTER") or schema.Filter(type="PRICE_FILTER")
    size = entry.filter("LOT_SIZE") or schema.Filter(type="LOT_SIZE")
    filters = entry.filter(*NOTIONALS) or schema.Filter(type="NOTIONAL")
    notional = filters.min_notional if filters.notional == "0" else filters.notional
    least = f"0.{'1'.zfill(decimals_at_least)}" if decimals_at_least else "0"
    try:
        price_exp = _exponent(symbol, price, least)
        size_exp = exponent(symbol, "lot", size.step_size, size.min_size, size.max_size)
        notional_exp = decimals(notional)
    except ValueError as error:
        raise PrecisionError(f"{symbol}: the venue's filters cannot be read: {error}") from error
    return Instrument(
        symbol=symbol,
        venue_symbol=entry.symbol,
        kind=kind,
        price_exp=price_exp,
        size_exp=size_exp,
        tick=exact(symbol, price.tick_size, price_exp),
        lot=exact(symbol, size.step_size, size_exp),
        min_notional=exact(symbol, notional, notional_exp),
        notional_exp=notional_exp,
        status=states.status(entry.status),
    )


def _exponent(symbol: str, price: schema.Filter, least: str) -> int:
    """Decimals of prices: those of the filter, and of `least` where there is room for them."""
    own = exponent(symbol, "tick", price.tick_size, price.min_price, price.max_price)
    if decimals(least) <= own:
        return own
    try:
        return exponent(symbol, "tick", price.tick_size, least, price.max_price)
    except PrecisionError:
        return own


def numbers(event: object) -> list[Number]:
    """The prices and sizes of an event, as the venue wrote them. None of any other message, nor of mark
    prices and liquidations, whose numbers never need a new slot."""
    match event:
        case schema.BookTicker():
            return level_numbers(((event.bid, event.bid_size), (event.ask, event.ask_size)))
        case schema.DepthUpdate():
            return level_numbers(event.bids, event.asks)
        case schema.Trade() | schema.AggTrade():
            return [("price", event.price), ("size", event.size)]
        case schema.Ticker():
            prices = (event.last, event.open, event.high, event.low)
            return [*(("price", price) for price in prices), ("size", event.volume)]
    return []
