"""Kraken spot's AssetPairs -> instrument slots, and the numbers of its events.

A slot begins with exactly the decimals that the pair lists, for they are also how the venue spells its
numbers, and the book's checksum is over that spelling: mantissas at these decimals are its digits. A slot
that comes to have others (it keeps those that a pair had before, and a number may need more than are listed,
such as the day's low after the pair has lost a decimal) still has every value exactly, and `_checksum.pyx`
finds the spelling.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from shm.instruments import Instrument
from shm.layout import InstrumentKind
from workers.decode.decimals import MAX_EXPONENT, decimals
from workers.venues.entries import Entries
from workers.venues.kraken import schema
from workers.venues.kraken.names import stream_symbol, unified_word
from workers.venues.kraken.names import symbol as symbol_named
from workers.venues.listing import (
    Listing,
    ListingRules,
    Number,
    PrecisionError,
    States,
    exact,
    make_listing,
)

# Venue docs, "Get Tradable Asset Pairs": in these states orders are matched, or not. The last five are those
# of WebSocket v2's `instrument` channel.
STATES = States(
    trading=frozenset({"online", "limit_only", "reduce_only"}),
    halted=frozenset(
        {"cancel_only", "post_only", "delisted", "maintenance", "work_in_progress", "hidden", "disabled"}
    ),
)
OWN_VENUE = frozenset({"international", ""})


def instruments(listed: Entries[schema.Pair], symbols: Iterable[str]) -> Listing:
    """The listed instruments of `symbols` (canonical, ``BTC/USD``)."""
    return make_listing(listed, symbols, RULES)


def symbol_of(pair: schema.Pair) -> str:
    """The canonical symbol; "" of a pair that cannot be subscribed. Raises ValueError: `wsname` is missing,
    or is no pair."""
    if not pair.wsname and (pair.altname.endswith(".d") or pair.execution_venue not in OWN_VENUE):
        return ""
    return symbol_named(pair.wsname)


def instrument(pair: schema.Pair) -> Instrument:
    """The slot of one pair. Raises PrecisionError: its decimals or limits do not fit a slot."""
    symbol = symbol_of(pair)
    try:
        notional_exp = decimals(pair.costmin)
    except ValueError as error:
        raise PrecisionError(f"{symbol}: costmin {pair.costmin!r} cannot be read: {error}") from error
    if not (0 <= pair.pair_decimals <= MAX_EXPONENT and 0 <= pair.lot_decimals <= MAX_EXPONENT):
        raise PrecisionError(
            f"{symbol}: a slot has 0 to {MAX_EXPONENT} decimals, not {pair.pair_decimals} and "
            f"{pair.lot_decimals}; take the symbol out of the configuration"
        )
    return Instrument(
        symbol=symbol,
        venue_symbol=stream_symbol(pair.wsname),
        kind=InstrumentKind.SPOT,
        price_exp=pair.pair_decimals,
        size_exp=pair.lot_decimals,
        tick=exact(symbol, pair.tick_size, pair.pair_decimals),
        lot=1,
        min_notional=exact(symbol, pair.costmin, notional_exp),
        notional_exp=notional_exp,
        status=STATES.status(pair.status),
    )


def _excluded(key: str, pair: schema.Pair) -> str:
    """Why a pair is never chosen for its symbol; "": it may be. The streams are those of the venue's own
    book; a pair whose orders are matched elsewhere has other prices and steps."""
    if pair.execution_venue not in OWN_VENUE or ":" in key:
        return f"its orders are matched elsewhere ({pair.execution_venue})"
    return ""


RULES = ListingRules[schema.Pair](
    venue="Kraken spot",
    symbol=symbol_of,
    instrument=instrument,
    state=lambda pair: pair.status,
    states=STATES,
    plain=lambda symbol: "",  # a pair's key has letters before its assets, or none
    excluded=_excluded,
    unified=unified_word,
)


def numbers(events: object, venue_symbol: str) -> list[Number]:
    """The prices and sizes in a message's events of this symbol, as decimal text."""
    found: list[Number] = []

    def add(prices: Iterable[msgspec.Raw], sizes: Iterable[msgspec.Raw]) -> None:
        found.extend(("price", schema.decimal(raw)) for raw in prices)
        found.extend(("size", schema.decimal(raw)) for raw in sizes)

    for event in events if isinstance(events, list) else ():
        if getattr(event, "symbol", "") != venue_symbol:
            continue
        match event:
            case schema.Book():
                levels = [*event.bids, *event.asks]
                add((level.price for level in levels), (level.qty for level in levels))
            case schema.Ticker():
                add((event.last, event.high, event.low), (event.volume,))
            case schema.Trade():
                add((event.price,), (event.qty,))
    return found
