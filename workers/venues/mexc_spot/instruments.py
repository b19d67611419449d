"""MEXC spot's exchangeInfo -> instrument slots, and the numbers of its events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from shm.instruments import Instrument
from shm.layout import InstrumentKind, InstrumentStatus
from workers.decode.decimals import MAX_EXPONENT, decimals
from workers.listing import InstrumentError, Number, PrecisionError, choose, exact, exponent, level_numbers
from workers.venues.mexc_spot import schema
from workers.venues.mexc_spot.names import symbol as symbol_named

ONLINE = frozenset({"1", "ENABLED"})  # docs: 1 online, 2 paused, 3 offline; the word was used until 2024


def instruments(info: schema.ExchangeInfo, symbols: Iterable[str]) -> list[Instrument]:
    """The instruments of `symbols` (canonical, ``BTC/USDT``), in that order, `index` left at 0.

    Raises:
        UnknownInstrument: one or more are not listed; the message names all of them and the nearest ones.
        InstrumentError: several that are traded have the name of one: which is meant, nobody can say.
        PrecisionError: the venue's limits of one fit no int64.
    """
    listed: dict[str, list[schema.SymbolInfo]] = {}
    for entry in info.symbols:
        listed.setdefault(symbol_of(entry), []).append(entry)
    return [instrument(_only(entries)) for entries in choose(listed, symbols, "MEXC spot")]


def symbol_of(entry: schema.SymbolInfo) -> str:
    """The canonical symbol."""
    return symbol_named(entry.base, entry.quote)


def _only(entries: Sequence[schema.SymbolInfo]) -> schema.SymbolInfo:
    """The one that is traded, of those that share a name: one's alias may be what another is called."""
    traded = [entry for entry in entries if _online(entry)] or entries
    if len(traded) > 1:
        raise InstrumentError(
            f"{symbol_of(traded[0])} can be any of {', '.join(entry.symbol for entry in traded)} at MEXC "
            "spot: take the symbol out of the configuration"
        )
    return traded[0]


def _online(entry: schema.SymbolInfo) -> bool:
    return str(entry.status) in ONLINE


def instrument(entry: schema.SymbolInfo) -> Instrument:
    """One symbol's slot. Raises PrecisionError.

    Prices have `quotePrecision` decimals and no other step. Sizes have `baseAssetPrecision` decimals, of
    which trades and the book use all (a capture's BTC sizes have eight); orders of less than
    `baseSizePrecision` are refused, so it is the lot, where it is not 0. Trailing zeros on the wire say
    nothing: they vary.
    """
    symbol = symbol_of(entry)
    min_size, min_notional = entry.min_size or "0", entry.min_notional or "0"
    try:
        step, grain = power(entry.price_decimals), power(entry.size_decimals)
        price_exp = exponent(symbol, "tick", step)
        size_exp = exponent(symbol, "lot", grain, min_size)
        notional_exp = decimals(min_notional)
        smallest = exact(symbol, min_size, size_exp)
    except ValueError as error:
        raise PrecisionError(f"{symbol}: the venue's limits cannot be read: {error}") from error
    return Instrument(
        symbol=symbol,
        venue_symbol=entry.symbol,
        kind=InstrumentKind.SPOT,
        price_exp=price_exp,
        size_exp=size_exp,
        tick=exact(symbol, step, price_exp),
        lot=smallest or exact(symbol, grain, size_exp),
        min_notional=exact(symbol, min_notional, notional_exp),
        notional_exp=notional_exp,
        status=InstrumentStatus.ACTIVE if _online(entry) else InstrumentStatus.HALTED,
    )


def power(places: int) -> str:
    """The smallest step of so many decimals. ValueError when a slot cannot have so many.

    >>> power(0), power(2)
    ('1', '0.01')
    """
    if not 0 <= places <= MAX_EXPONENT:
        raise ValueError(f"{places} decimals, a slot can have at most {MAX_EXPONENT}")
    return "0." + "1".rjust(places, "0") if places > 0 else "1"


def numbers(event: object) -> list[Number]:
    """The prices and sizes of what one frame says, as the venue wrote them; none of anything else."""
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
