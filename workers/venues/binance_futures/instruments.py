"""Binance USD-M futures' exchangeInfo -> instrument slots, and the numbers of its events."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from shm.instruments import Instrument
from shm.layout import InstrumentKind
from workers.listing import Number, choose
from workers.venues.binance.instruments import instrument as slot
from workers.venues.binance.instruments import numbers as shared_numbers
from workers.venues.binance_futures import schema

# Mark and index prices come with eight decimals whatever the tick is, and nothing is rounded: an instrument's
# prices have as many where there is room.
MARK_DECIMALS = 8
PERPETUAL = "PERPETUAL"  # also as a part: TRADIFI_PERPETUAL


def instruments(info: schema.ExchangeInfo, symbols: Iterable[str]) -> list[Instrument]:
    """The instruments of `symbols` (canonical, ``BTC/USDT:USDT``, with a delivery date
    ``BTC/USDT:USDT-210924``), in that order, `index` left at 0.

    Raises:
        UnknownInstrument: one or more are not listed; the message names all of them and the nearest ones.
        PrecisionError: the venue's limits of one fit no int64.
    """
    # A contract without a type is announced only. A settled one keeps its currencies under a new name
    # (BNXUSDTSETTLED, 2023) when the symbol is listed again: what trades stands for the symbol.
    known = sorted(info.symbols, key=lambda entry: entry.status == "TRADING")
    listed = {symbol_of(entry): entry for entry in known if entry.contract}
    return [instrument(entry) for entry in choose(listed, symbols, "Binance USD-M futures")]


def symbol_of(entry: schema.SymbolInfo) -> str:
    """The canonical symbol."""
    symbol = f"{entry.base}/{entry.quote}:{entry.margin}"
    if PERPETUAL in entry.contract:
        return symbol
    return f"{symbol}-{datetime.fromtimestamp(entry.delivery / 1000, UTC):%y%m%d}"


def instrument(entry: schema.SymbolInfo) -> Instrument:
    """One symbol's slot. A contract is one unit of the base currency. Raises PrecisionError."""
    kind = InstrumentKind.PERPETUAL if PERPETUAL in entry.contract else InstrumentKind.FUTURE
    return slot(entry, symbol_of(entry), kind, MARK_DECIMALS)


def numbers(event: object) -> list[Number]:
    """The prices and sizes of an event, as the venue wrote them; none of anything else."""
    match event:
        case schema.MarkPrice():
            return [("price", event.mark), ("price", event.index)]
        case schema.Liquidation():
            return [("price", event.order.average_price), ("size", event.order.filled)]
    return shared_numbers(event)
