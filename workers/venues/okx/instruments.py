"""OKX's listing -> instrument slots, and the numbers of its events."""

from __future__ import annotations

from collections.abc import Iterable

from shm.instruments import Instrument
from shm.layout import InstrumentKind, InstrumentStatus
from workers.decode.decimals import MAX_EXPONENT, decimals
from workers.listing import Number, PrecisionError, choose, exact, exponent, level_numbers
from workers.venues.okx import schema
from workers.venues.okx.names import InstrumentType, type_of_canonical

KINDS = {
    "SPOT": InstrumentKind.SPOT,
    "SWAP": InstrumentKind.PERPETUAL,
    "FUTURES": InstrumentKind.FUTURE,
}


def types_of(symbols: Iterable[str]) -> list[InstrumentType]:
    """The instrument types whose listings have these canonical symbols."""
    return sorted({type_of_canonical(symbol) for symbol in symbols})


def instruments(listing: Iterable[schema.InstrumentInfo], symbols: Iterable[str]) -> list[Instrument]:
    """The instruments of `symbols` (canonical), in that order, `index` left at 0.

    Raises:
        UnknownInstrument: one or more are not listed; the message names all of them and the nearest ones.
        PrecisionError: the venue's steps of one fit no int64.
    """
    listed = {symbol_of(entry): entry for entry in listing if entry.type in KINDS}
    return [instrument(entry) for entry in choose(listed, symbols, "OKX")]


def symbol_of(entry: schema.InstrumentInfo) -> str:
    """The canonical symbol: ``BTC/USDT``, ``BTC/USDT:USDT``, ``BTC/USD:BTC``, ``BTC/USD:BTC-220527``."""
    if entry.type == "SPOT":
        return f"{entry.base}/{entry.quote}"
    base, _, quote = entry.underlying.partition("-")
    symbol = f"{base}/{quote}:{entry.settle}"
    return f"{symbol}-{entry.symbol.rpartition('-')[2]}" if entry.type == "FUTURES" else symbol


def instrument(entry: schema.InstrumentInfo) -> Instrument:
    """One instrument's slot. Raises PrecisionError.

    Sizes of derivatives are contracts; one is worth `multiplier` of the base currency (linear) or of the
    quote currency (inverse). The largest sizes that the venue names are formal (9999999999 at any lot), so
    they say nothing about room. "" is a number that it does not tell.
    """
    symbol = symbol_of(entry)
    tick, lot, least = entry.tick or "0", entry.lot or "0", entry.least or "0"
    try:
        price_exp = exponent(symbol, "tick", tick)
        size_exp = exponent(symbol, "lot", lot, least)
        multiplier, multiplier_exp = _multiplier(entry)
    except ValueError as error:
        raise PrecisionError(f"{symbol}: the venue's steps cannot be read: {error}") from error
    return Instrument(
        symbol=symbol,
        venue_symbol=entry.symbol,
        kind=KINDS[entry.type],
        price_exp=price_exp,
        size_exp=size_exp,
        tick=exact(symbol, tick, price_exp),
        lot=exact(symbol, lot, size_exp),
        multiplier=multiplier,
        multiplier_exp=multiplier_exp,
        status=InstrumentStatus.ACTIVE if entry.state == "live" else InstrumentStatus.HALTED,
    )


def _multiplier(entry: schema.InstrumentInfo) -> tuple[int, int]:
    """`ctVal` * `ctMult`, (mantissa, exponent) without zeros at the end; 1 for spot."""
    texts = [text for text in (entry.contract, entry.contract_multiplier) if text]
    mantissa, exp = 1, 0
    for text in texts:
        places = decimals(text)
        exp += places
        mantissa *= exact(entry.symbol, text, min(places, MAX_EXPONENT))
    while exp and mantissa % 10 == 0:
        mantissa, exp = mantissa // 10, exp - 1
    if exp > MAX_EXPONENT or not 0 < mantissa < 2**63:
        raise PrecisionError(f"{entry.symbol}: a contract of {' * '.join(texts)} does not fit an int64")
    return mantissa, exp


def numbers(event: object) -> list[Number]:
    """The prices and sizes of what a frame says, as the venue wrote them; none of anything else, nor of marks
    and liquidations, which ask for no new slot."""
    if isinstance(event, list):
        return [number for each in event for number in numbers(each)]
    if not isinstance(event, schema.Said):
        return []
    found: list[Number] = []
    match event.payload:
        case schema.Book(asks=asks, bids=bids):
            found = level_numbers([(level[0], level[1]) for level in (*bids, *asks)])
        case schema.Trade(price=price, size=size):
            found = [("price", price), ("size", size)]
        case schema.Ticker() as ticker:
            prices = (ticker.last, ticker.open, ticker.high, ticker.low)
            found = [*(("price", price) for price in prices), ("size", ticker.volume)]
    return [(what, text) for what, text in found if text]
