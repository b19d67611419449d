"""Entries of MEXC spot's exchangeInfo -> instrument slots, and the numbers of its events."""

from __future__ import annotations

from collections.abc import Iterable

from shm.instruments import Instrument
from shm.layout import InstrumentKind
from workers.decode.decimals import MAX_EXPONENT, decimals
from workers.venues.entries import Entries
from workers.venues.listing import (
    Listing,
    ListingRules,
    Number,
    PrecisionError,
    States,
    exact,
    exponent,
    level_numbers,
    make_listing,
)
from workers.venues.mexc_spot import schema
from workers.venues.mexc_spot.names import CURRENCIES

# Not tradable by this API, whatever `status` is. `isSpotTradingAllowed` false: orders are refused with
# 10007 "symbol not support api", while the web trades the pair and its streams go on (BTCUSDT itself in 2023;
# 91 of 1,950 symbols in 2026-09, all with status 1). `tradeSideType`: 1 both sides, 2 or 3 one, 4 none.
NO_SPOT, NO_SIDE = "isSpotTradingAllowed false", "tradeSideType 4"
# Venue docs, "Exchange Information", `status`: 1 online, 2 paused, 3 offline; the word was used until 2024.
STATES = States(
    trading=frozenset({"1", "ENABLED"}), halted=frozenset({"2", "3", "DISABLED", NO_SPOT, NO_SIDE})
)


def instruments(listed: Entries[schema.SymbolInfo], symbols: Iterable[str]) -> Listing:
    """The listed instruments of `symbols` (canonical, ``BTC/USDT``). The unified name of one may be the
    venue's name of another."""
    return make_listing(listed, symbols, RULES)


def symbol_of(entry: schema.SymbolInfo) -> str:
    """The canonical symbol. Raises ValueError: a currency is empty."""
    return CURRENCIES.pair(entry.base, entry.quote)


def state(entry: schema.SymbolInfo) -> str:
    """The state, one of `STATES`: `status`, or, while that is online, the field that forbids orders. Missing
    fields are ignored."""
    word = str(entry.status)
    if word in STATES.trading:
        if entry.spot is False:
            return NO_SPOT
        if str(entry.sides) == "4":
            return NO_SIDE
    return word


def instrument(entry: schema.SymbolInfo) -> Instrument:
    """The slot of one symbol.

    Prices have `quotePrecision` decimals and no other step. Sizes have `baseAssetPrecision` decimals, of
    which trades and the book use all (a capture's BTC sizes have eight), and no other step: ALEPH is ordered
    from 5.00 on, in steps of 0.01. Orders of less than `baseSizePrecision` are refused; a slot has no field
    for that. Trailing zeros in messages vary and have no meaning.

    Raises:
        PrecisionError: the symbol's limits do not fit an int64.
    """
    symbol = symbol_of(entry)
    min_size, min_notional = entry.min_size or "0", entry.min_notional or "0"
    try:
        step, grain = power(entry.price_decimals), power(entry.size_decimals)
        price_exp = exponent(symbol, "tick", step)
        size_exp = exponent(symbol, "lot", grain, min_size)
        notional_exp = decimals(min_notional)
    except ValueError as error:
        raise PrecisionError(f"{symbol}: the venue's limits cannot be read: {error}") from error
    return Instrument(
        symbol=symbol,
        venue_symbol=entry.symbol,
        kind=InstrumentKind.SPOT,
        price_exp=price_exp,
        size_exp=size_exp,
        tick=exact(symbol, step, price_exp),
        lot=exact(symbol, grain, size_exp),
        min_notional=exact(symbol, min_notional, notional_exp),
        notional_exp=notional_exp,
        status=STATES.status(state(entry)),
    )


RULES = ListingRules[schema.SymbolInfo](
    venue="MEXC spot",
    symbol=symbol_of,
    instrument=instrument,
    state=state,
    states=STATES,
    plain=lambda symbol: symbol.replace("/", ""),
    unified=CURRENCIES.unified,
)


def power(places: int) -> str:
    """The smallest step of so many decimals. Raises ValueError: a slot cannot have so many.

    >>> power(0), power(2)
    ('1', '0.01')
    """
    if not 0 <= places <= MAX_EXPONENT:
        raise ValueError(f"{places} decimals, a slot can have at most {MAX_EXPONENT}")
    return "0." + "1".rjust(places, "0") if places > 0 else "1"


def numbers(event: object) -> list[Number]:
    """The prices and sizes of an event, or of a list of them, as the venue wrote them; none of any other
    message."""
    match event:
        case list():
            return [number for each in event for number in numbers(each)]
        case schema.BookTicker():
            return level_numbers(
                ((event.bid or "0", event.bid_size or "0"), (event.ask or "0", event.ask_size or "0"))
            )
        case schema.DepthUpdate():
            return level_numbers(event.bids, event.asks)
        case schema.Deal():
            return [("price", event.price), ("size", event.size)]
        case schema.Ticker():
            prices = (event.last, event.high or "0", event.low or "0")
            return [*(("price", price) for price in prices), ("size", event.volume or "0")]
    return []
