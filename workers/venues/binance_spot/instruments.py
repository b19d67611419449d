"""Entries of Binance spot's exchangeInfo -> instrument slots, and the numbers of its events."""

from __future__ import annotations

from collections.abc import Iterable

from shm.instruments import Instrument
from workers.venues.binance import instruments as shared
from workers.venues.binance.names import CURRENCIES
from workers.venues.binance_spot import schema
from workers.venues.entries import Entries
from workers.venues.listing import (
    Listing,
    ListingRules,
    Number,
    States,
    level_numbers,
    make_listing,
)

# Venue docs, "ENUM definitions", "Symbol status", and those of earlier years. `isSpotTradingAllowed` is not
# used: it is about the permission that an account needs. The leveraged tokens of 2021 (BTCUPUSDT) had it
# false and traded.
STATES = States(
    trading=frozenset({"TRADING"}),
    halted=frozenset(
        ("PRE_TRADING", "POST_TRADING", "END_OF_DAY", "HALT", "AUCTION_MATCH", "BREAK", "CANCEL_ONLY")
    ),
)


def instruments(listed: Entries[schema.SymbolInfo], symbols: Iterable[str]) -> Listing:
    """The listed instruments of `symbols` (canonical, ``BTC/USDT``)."""
    return make_listing(listed, symbols, RULES)


def symbol_of(entry: schema.SymbolInfo) -> str:
    """The canonical symbol. Raises ValueError: a currency is empty."""
    return CURRENCIES.pair(entry.base, entry.quote)


def instrument(entry: schema.SymbolInfo) -> Instrument:
    """The slot of one symbol. Raises PrecisionError: its limits do not fit an int64."""
    return shared.instrument(entry, symbol_of(entry), STATES)


RULES = ListingRules[schema.SymbolInfo](
    venue="Binance spot",
    symbol=symbol_of,
    instrument=instrument,
    state=lambda entry: entry.status,
    states=STATES,
    plain=lambda symbol: symbol.replace("/", ""),
    unified=CURRENCIES.unified,
)


def numbers(event: object) -> list[Number]:
    """The prices and sizes of an event, as the venue wrote them; none of any other message."""
    if isinstance(event, schema.PartialDepth):
        return level_numbers(event.bids, event.asks)
    return shared.numbers(event)
