"""Binance spot's exchangeInfo -> instrument slots, and the numbers of its events."""

from __future__ import annotations

from collections.abc import Iterable

from shm.instruments import Instrument
from workers.listing import Number, choose, level_numbers
from workers.venues.binance import instruments as shared
from workers.venues.binance_spot import schema


def instruments(info: schema.ExchangeInfo, symbols: Iterable[str]) -> list[Instrument]:
    """The instruments of `symbols` (canonical, ``BTC/USDT``), in that order, `index` left at 0.

    Raises:
        UnknownInstrument: one or more are not listed; the message names all of them and the nearest ones.
        PrecisionError: the venue's limits of one fit no int64.
    """
    listed = {symbol_of(entry): entry for entry in info.symbols}
    return [instrument(entry) for entry in choose(listed, symbols, "Binance spot")]


def symbol_of(entry: schema.SymbolInfo) -> str:
    """The canonical symbol."""
    return f"{entry.base}/{entry.quote}"


def instrument(entry: schema.SymbolInfo) -> Instrument:
    """One symbol's slot. Raises PrecisionError."""
    return shared.instrument(entry, symbol_of(entry))


def numbers(event: object) -> list[Number]:
    """The prices and sizes of an event, as the venue wrote them; none of anything else."""
    if isinstance(event, schema.PartialDepth):
        return level_numbers(event.bids, event.asks)
    return shared.numbers(event)
