"""Binance USD-M futures' exchangeInfo -> instrument slots, and the numbers of its events."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from shm.instruments import Instrument
from shm.layout import InstrumentKind
from workers.decode.decimals import MAX_EXPONENT
from workers.listing import Number, choose
from workers.venues.binance import instruments as shared
from workers.venues.binance_futures import schema

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
    """One symbol's slot. A contract is one unit of the base currency.

    Prices have the decimals of the tick, and where there is room those of `pricePrecision`: orders of before
    the tick became coarser stay in the book (CTKUSDT in 2021: a tick of 0.001, asks at 1.56842).

    Raises:
        PrecisionError: the venue's limits of it fit no int64.
    """
    kind = InstrumentKind.PERPETUAL if PERPETUAL in entry.contract else InstrumentKind.FUTURE
    return shared.instrument(entry, symbol_of(entry), kind, min(entry.price_decimals, MAX_EXPONENT))


def numbers(event: object) -> list[Number]:
    """The prices and sizes of an event, as the venue wrote them; none of anything else."""
    return shared.numbers(event)
