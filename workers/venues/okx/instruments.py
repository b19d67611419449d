"""Entries of OKX's listing -> instrument slots, and the numbers of its events."""

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
from workers.venues.okx import schema
from workers.venues.okx.names import CURRENCIES, InstrumentType, plain, type_of_canonical

KINDS = {
    "SPOT": InstrumentKind.SPOT,
    "SWAP": InstrumentKind.PERPETUAL,
    "FUTURES": InstrumentKind.FUTURE,
}
OTHERS = frozenset({"MARGIN", "OPTION"})  # instrument types without canonical symbols here
# Venue docs, "Public Data", "Get instruments", `state`.
STATES = States(
    trading=frozenset({"live"}), halted=frozenset({"suspend", "rebase", "preopen", "test", "expired"})
)
STABLE = frozenset({"USDT", "USDC"})  # contracts quoted in one of these settle in it


def types_of(symbols: Iterable[str]) -> list[InstrumentType]:
    """The instrument types that these canonical symbols are listed under, sorted."""
    return sorted({type_of_canonical(symbol) for symbol in symbols})


def instruments(listed: Entries[schema.InstrumentInfo], symbols: Iterable[str]) -> Listing:
    """The listed instruments of `symbols` (canonical)."""
    return make_listing(listed, symbols, RULES)


def symbol_of(entry: schema.InstrumentInfo) -> str:
    """The canonical symbol: ``BTC/USDT``, ``BTC/USDT:USDT``, ``BTC/USD:BTC``, ``BTC/USD:BTC-220527``; "" of
    an instrument type that has none. Fields that are empty before an instrument opens are taken from its
    name.

    Raises:
        ValueError: its currencies are neither in the fields nor in the name; or the type is unknown.
    """
    if entry.type in OTHERS:
        return ""
    if entry.type not in KINDS:
        raise ValueError(f"instType {entry.type!r} is not known")
    spot = entry.type == "SPOT"
    base, _, quote = (f"{entry.base}-{entry.quote}" if spot else entry.underlying).partition("-")
    named = entry.symbol.split("-")
    if not (base and quote):
        if len(named) != (2 if spot else 3):
            raise ValueError(f"{entry.symbol!r} has no currencies in its fields or its name")
        # A suffix after an underscore distinguishes families of one underlying.
        base, quote = named[0], named[1].partition("_")[0]
    pair = CURRENCIES.pair(base, quote)
    if spot:
        return pair
    if not entry.settle and (quote not in STABLE or "_" in entry.symbol):
        raise ValueError(f"{entry.symbol!r} has no settlement currency in its fields or its name")
    symbol = f"{pair}:{CURRENCIES.unified(entry.settle or quote)}"
    return f"{symbol}-{named[-1]}" if entry.type == "FUTURES" else symbol


def _excluded(name: str, entry: schema.InstrumentInfo) -> str:
    """Why an entry is never chosen for its symbol; "": it may be. A spot instrument is named by its two
    currencies; another name, such as ``LISTING-SPOT-SLX-USDT`` beside ``SLX-USDT``, is an announcement."""
    if entry.type == "SPOT" and name.count("-") != 1:
        return f"an instrument of that name does not trade (state {entry.state!r})"
    if entry.type != "SPOT" and not entry.contract:
        return f"the value of a contract is not listed yet (state {entry.state!r})"
    return ""


def instrument(entry: schema.InstrumentInfo) -> Instrument:
    """The slot of one instrument.

    Sizes of derivatives are numbers of contracts; one is worth `multiplier` of the base currency (linear) or
    of the quote currency (inverse). The venue's largest sizes are formal (9999999999 at any lot), so no room
    is reserved for them. "" stands for a number that is not listed.

    Raises:
        PrecisionError: the instrument's steps do not fit an int64.
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
        status=STATES.status(entry.state),
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


RULES = ListingRules[schema.InstrumentInfo](
    venue="OKX",
    symbol=symbol_of,
    instrument=instrument,
    state=lambda entry: entry.state,
    states=STATES,
    plain=plain,
    excluded=_excluded,
    unified=CURRENCIES.unified,
)


def numbers(event: object) -> list[Number]:
    """The prices and sizes of an `Item`, or of a list of them, as the venue wrote them. None of any other
    message, nor of mark prices and liquidations, whose numbers never need a new slot."""
    if isinstance(event, list):
        return [number for each in event for number in numbers(each)]
    if not isinstance(event, schema.Item):
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
