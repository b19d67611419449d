"""Entries of Binance USD-M futures' exchangeInfo -> instrument slots, and the numbers of its events."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from shm.instruments import Instrument
from shm.layout import InstrumentKind
from workers.decode.decimals import MAX_EXPONENT
from workers.venues.binance import instruments as shared
from workers.venues.binance.names import CURRENCIES
from workers.venues.binance_futures import schema
from workers.venues.entries import Entries
from workers.venues.listing import Listing, ListingRules, Number, States, make_listing

# Venue docs, "Common Definition", "Contract type". Without one a contract is announced only.
PERPETUALS = frozenset({"PERPETUAL", "PERPETUAL_DELIVERING", "TRADIFI_PERPETUAL"})
DATED = frozenset(
    {
        *("CURRENT_MONTH", "NEXT_MONTH", "CURRENT_QUARTER", "NEXT_QUARTER"),
        *("CURRENT_QUARTER DELIVERING", "NEXT_QUARTER DELIVERING"),
    }
)
# The same page, "Contract status".
STATES = States(
    trading=frozenset({"TRADING"}),
    halted=frozenset(
        {
            *("PENDING_TRADING", "PRE_DELIVERING", "DELIVERING", "DELIVERED"),
            *("PRE_SETTLE", "SETTLING", "CLOSE"),
        }
    ),
)


def instruments(listed: Entries[schema.SymbolInfo], symbols: Iterable[str]) -> Listing:
    """The listed instruments of `symbols` (canonical, ``BTC/USDT:USDT``, with a delivery date
    ``BTC/USDT:USDT-210924``). A settled contract keeps its currencies under a new name (BNXUSDTSETTLED, 2023)
    when the symbol is listed again."""
    return make_listing(listed, symbols, RULES)


def symbol_of(entry: schema.SymbolInfo) -> str:
    """The canonical symbol.

    Raises:
        ValueError: a currency is empty, the type of contract is unknown, or a dated one (its name has ``_``)
            has no date or no type.
    """
    symbol = f"{CURRENCIES.pair(entry.base, entry.quote)}:{CURRENCIES.unified(entry.margin)}"
    if entry.contract in PERPETUALS:
        return symbol
    if not entry.contract:
        if "_" in entry.symbol:
            raise ValueError("it has no contractType")
        return symbol
    if entry.contract not in DATED:
        raise ValueError(f"contractType {entry.contract!r} is not known")
    if entry.delivery <= 0:
        raise ValueError(f"it has no deliveryDate, and is {entry.contract}")
    return f"{symbol}-{datetime.fromtimestamp(entry.delivery / 1000, UTC):%y%m%d}"


def plain(symbol: str) -> str:
    """The venue's name of a canonical symbol.

    >>> plain("BTC/USDT:USDT"), plain("BTC/USDT:USDT-210924")
    ('BTCUSDT', 'BTCUSDT_210924')
    """
    pair, _, settled = symbol.partition(":")
    _, dash, date = settled.partition("-")
    return pair.replace("/", "") + dash.replace("-", "_") + date


def instrument(entry: schema.SymbolInfo) -> Instrument:
    """The slot of one symbol. A contract is one unit of the base currency.

    Prices have the decimals of the tick, and where there is room those of `pricePrecision`: orders of before
    the tick became coarser stay in the book (CTKUSDT in 2021: a tick of 0.001, asks at 1.56842).

    Raises:
        PrecisionError: the symbol's limits do not fit an int64.
    """
    kind = InstrumentKind.PERPETUAL if entry.contract in PERPETUALS else InstrumentKind.FUTURE
    decimals_at_least = min(entry.price_decimals, MAX_EXPONENT)
    return shared.instrument(entry, symbol_of(entry), STATES, kind, decimals_at_least)


RULES = ListingRules[schema.SymbolInfo](
    venue="Binance USD-M futures",
    symbol=symbol_of,
    instrument=instrument,
    state=lambda entry: entry.status,
    states=STATES,
    plain=plain,
    excluded=lambda name, entry: "" if entry.contract else f"it is announced only ({entry.status})",
    unified=CURRENCIES.unified,
)


def numbers(event: object) -> list[Number]:
    """The prices and sizes of an event, as the venue wrote them; none of any other message."""
    return shared.numbers(event)
