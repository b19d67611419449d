"""Binance spot's exchangeInfo -> instrument slots: which exponents, which tick and lot.

Exponents are what a slot can never change, so they are chosen here once (DESIGN.md, "Numbers"): as many
decimals as tick or lot need, and room for 2^8 times the largest price or size that the venue allows. The
wire's own eight decimals say nothing about them. A number that comes and does not fit is never rounded:
`widen` gives the exponents of the slot that replaces this one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

import msgspec

from shm.instruments import Instrument
from shm.layout import InstrumentKind, InstrumentStatus
from workers.decode.decimals import INT64_MAX, MAX_EXPONENT, Verdict, decimals, to_mantissa
from workers.errors import Action, WorkerError
from workers.venues.binance_spot import schema

HEADROOM = 2**8
# Venue docs, "Filters": a step of zero switches the rule off. The wire writes eight decimals.
WIRE_DECIMALS = 8
ROOM = INT64_MAX // HEADROOM


class InstrumentError(WorkerError):
    """An instrument cannot be carried; the message says which, why, and what to do."""

    action = Action.HALT


class UnknownInstrument(InstrumentError):
    """The venue does not list a symbol that the configuration names."""


class PrecisionError(InstrumentError):
    """No exponents hold this instrument's numbers in an int64."""


def instruments(info: schema.ExchangeInfo, symbols: Iterable[str]) -> list[Instrument]:
    """The instruments of `symbols` (canonical, ``BTC/USDT``), in that order, `index` left at 0.

    Raises:
        UnknownInstrument: one or more are not listed; the message names all of them and the nearest ones.
        PrecisionError: the venue's limits of one fit no int64.
    """
    listed = {f"{entry.base}/{entry.quote}": entry for entry in info.symbols}
    wanted = list(symbols)
    missing = [symbol for symbol in wanted if symbol not in listed]
    if missing:
        raise UnknownInstrument(_unknown(missing, listed))
    return [instrument(listed[symbol]) for symbol in wanted]


def instrument(entry: schema.SymbolInfo) -> Instrument:
    """One symbol's slot. Raises PrecisionError."""
    symbol = f"{entry.base}/{entry.quote}"
    price = entry.filter("PRICE_FILTER") or schema.Filter(type="PRICE_FILTER")
    size = entry.filter("LOT_SIZE") or schema.Filter(type="LOT_SIZE")
    # Until 2022 the filter was called MIN_NOTIONAL.
    notional = (entry.filter("NOTIONAL", "MIN_NOTIONAL") or schema.Filter(type="NOTIONAL")).min_notional
    try:
        price_exp = _exponent(symbol, "tick", price.tick_size, price.min_price, price.max_price)
        size_exp = _exponent(symbol, "lot", size.step_size, size.min_size, size.max_size)
        notional_exp = decimals(notional)
    except ValueError as error:
        raise PrecisionError(f"{symbol}: the venue's filters cannot be read: {error}") from error
    return Instrument(
        symbol=symbol,
        venue_symbol=entry.symbol,
        kind=InstrumentKind.SPOT,
        price_exp=price_exp,
        size_exp=size_exp,
        tick=_exact(symbol, price.tick_size, price_exp),
        lot=_exact(symbol, size.step_size, size_exp),
        min_notional=_exact(symbol, notional, notional_exp),
        notional_exp=notional_exp,
        status=InstrumentStatus.ACTIVE if entry.status == "TRADING" else InstrumentStatus.HALTED,
    )


def needed(event: object) -> tuple[int, int]:
    """How many decimals (of prices, of sizes) an event or snapshot needs; (0, 0) for anything else.

    ValueError when a number of it is none.
    """
    prices: Sequence[str] = ()
    sizes: Sequence[str] = ()
    match event:
        case schema.BookTicker():
            prices, sizes = (event.bid, event.ask), (event.bid_size, event.ask_size)
        case schema.DepthUpdate() | schema.PartialDepth() | schema.RestDepth():
            prices = [level[0] for level in (*event.bids, *event.asks)]
            sizes = [level[1] for level in (*event.bids, *event.asks)]
        case schema.Trade() | schema.AggTrade():
            prices, sizes = (event.price,), (event.size,)
        case schema.Ticker():
            prices, sizes = (event.last, event.open, event.high, event.low), (event.volume,)
    return max(map(decimals, prices), default=0), max(map(decimals, sizes), default=0)


def widen(old: Instrument, event: object, fresh: Instrument | None = None) -> Instrument:
    """The slot that replaces `old` because a number of `event` did not fit its exponents.

    INEXACT asks for more decimals: those that the event needs, and those of `fresh`, the venue's listing as
    it is now, when that is at hand. Decimals never become fewer, so a symbol's slots settle. OVERFLOW cannot
    be cured: fewer decimals could not hold the tick any more.

    Raises:
        PrecisionError: at the decimals needed, a number of the event does not fit.
        ValueError: nothing is to be widened, or a number of the event is none.
    """
    price, size = needed(event)
    base = fresh or old
    price_exp = max(old.price_exp, base.price_exp, price)
    size_exp = max(old.size_exp, base.size_exp, size)
    if max(price_exp, size_exp) > MAX_EXPONENT:
        raise PrecisionError(
            f"{old.symbol}: the venue sends {max(price, size)} decimals, "
            f"a slot can have at most {MAX_EXPONENT}"
        )
    _check_fit(old.symbol, event, price_exp, size_exp)
    if (price_exp, size_exp) == (old.price_exp, old.size_exp):
        raise ValueError(f"{old.symbol}: everything fits the exponents it has, {price_exp} and {size_exp}")
    tick, lot = base.tick * 10 ** (price_exp - base.price_exp), base.lot * 10 ** (size_exp - base.size_exp)
    if max(tick, lot) > ROOM:
        raise PrecisionError(
            f"{old.symbol}: its tick or lot does not fit {price_exp} and {size_exp} decimals in an int64"
        )
    return msgspec.structs.replace(
        base,
        index=0,
        price_exp=price_exp,
        size_exp=size_exp,
        tick=tick,
        lot=lot,
        status=_carried(base.status),
    )


def _carried(status: InstrumentStatus) -> InstrumentStatus:
    return InstrumentStatus.ACTIVE if status is InstrumentStatus.SUPERSEDED else status


def _check_fit(symbol: str, event: object, price_exp: int, size_exp: int) -> None:
    for what, text, exponent in _numbers(event, price_exp, size_exp):
        if to_mantissa(text, exponent)[0] is not Verdict.EXACT:
            raise PrecisionError(
                f"{symbol}: {what} {text} does not fit an int64 at the {exponent} decimals that it needs; "
                "take the symbol out of the configuration"
            )


def _numbers(event: object, price_exp: int, size_exp: int) -> Iterable[tuple[str, str, int]]:
    match event:
        case schema.BookTicker():
            yield from (("price", event.bid, price_exp), ("price", event.ask, price_exp))
            yield from (("size", event.bid_size, size_exp), ("size", event.ask_size, size_exp))
        case schema.DepthUpdate() | schema.PartialDepth() | schema.RestDepth():
            for price, size in (*event.bids, *event.asks):
                yield from (("price", price, price_exp), ("size", size, size_exp))
        case schema.Trade() | schema.AggTrade():
            yield from (("price", event.price, price_exp), ("size", event.size, size_exp))
        case schema.Ticker():
            for price in (event.last, event.open, event.high, event.low):
                yield "price", price, price_exp
            yield "volume", event.volume, size_exp


def _exponent(symbol: str, what: str, step: str, least: str, most: str) -> int:
    """Decimals of the step (and of the smallest value, if it is finer); with the rule switched off, the
    wire's decimals, fewer if the largest value asks for that."""
    exponent = max(decimals(step), decimals(least))
    if to_mantissa(step, min(exponent, MAX_EXPONENT))[1] == 0:
        exponent = WIRE_DECIMALS
        while exponent and not _roomy(most, exponent):
            exponent -= 1
    if exponent > MAX_EXPONENT or not (_roomy(step, exponent) and _roomy(most, exponent)):
        raise PrecisionError(
            f"{symbol}: {what} {step} and the largest value {most} do not fit an int64 with room for "
            f"{HEADROOM} times as much; take the symbol out of the configuration"
        )
    return exponent


def _roomy(text: str, exponent: int) -> bool:
    """Whether 2^8 times `text`, rounded down to `exponent` decimals, fits an int64."""
    whole, _, fraction = text.partition(".")
    return int((whole + fraction[:exponent].ljust(exponent, "0")).lstrip("0")[:40] or "0") <= ROOM


def _exact(symbol: str, text: str, exponent: int) -> int:
    verdict, mantissa = to_mantissa(text, exponent)
    if verdict is not Verdict.EXACT:
        raise PrecisionError(f"{symbol}: {text} does not fit an int64 at {exponent} decimals")
    return mantissa


def _unknown(missing: Sequence[str], listed: Iterable[str]) -> str:
    names = list(listed)
    parts = []
    for symbol in missing:
        near = get_close_matches(symbol.upper(), names, n=3, cutoff=0.6)
        parts.append(f"{symbol!r} (nearest: {', '.join(near)})" if near else repr(symbol))
    return f"Binance spot does not list {', '.join(parts)}: correct `symbols` of the venue, like BTC/USDT"
