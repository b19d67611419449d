"""What a venue lists -> instrument slots: exponents, tick and lot, and when a slot needs a successor. Pure.

Exponents are what a slot can never change, so they are chosen here once: as many decimals as tick or lot
need, and room for 2^8 times the largest price or size that the venue allows. A number that comes and does not
fit is never rounded: `widen` gives the exponents of the slot that replaces this one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Literal, TypeVar

import msgspec

from shm.instruments import Instrument
from shm.layout import InstrumentStatus
from workers.decode.decimals import INT64_MAX, MAX_EXPONENT, Verdict, decimals, to_mantissa
from workers.errors import Action, WorkerError

HEADROOM = 2**8
ROOM = INT64_MAX // HEADROOM
WIRE_DECIMALS = 8  # where a venue says nothing about its steps

Number = tuple[Literal["price", "size"], str]
Entry = TypeVar("Entry")


class InstrumentError(WorkerError):
    """An instrument cannot be carried; the message says which, why, and what to do."""

    action = Action.HALT


class UnknownInstrument(InstrumentError):
    """The venue does not list a symbol that the configuration names."""


class PrecisionError(InstrumentError):
    """No exponents hold this instrument's numbers in an int64."""


# -- the listing ------------------------------------------------------------------------------------------
class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What a venue's listing says of the symbols asked for. No entry of it takes another along.

    Attributes:
        instruments: those that can be carried, in the order asked for, `index` left at 0.
        missing: canonical symbol asked for -> why it cannot be carried: not listed (with the nearest names),
            an entry that cannot be read, numbers that fit no slot.
        skipped: the venue's name of an entry, of any symbol -> why it could not be read.
        shadowed: canonical symbol asked for -> the venue's names of entries of the same canonical symbol that
            were passed over for the one that stands for it.
    """

    instruments: list[Instrument]
    missing: dict[str, str] = {}
    skipped: dict[str, str] = {}
    shadowed: dict[str, list[str]] = {}


def choose(listed: Mapping[str, Entry], symbols: Iterable[str], venue: str) -> list[Entry]:
    """The listing's entries of `symbols` (canonical), in that order.

    Raises:
        UnknownInstrument: one or more are not listed; the message names all of them and the nearest ones.
    """
    wanted = list(symbols)
    missing = [symbol for symbol in wanted if symbol not in listed]
    if missing:
        raise UnknownInstrument(
            f"{venue} does not list {_with_nearest(missing, list(listed))}: correct `symbols` of the venue, "
            "like BTC/USDT"
        )
    return [listed[symbol] for symbol in wanted]


def _with_nearest(missing: Sequence[str], names: Sequence[str]) -> str:
    parts = []
    for symbol in missing:
        near = get_close_matches(symbol.upper(), names, n=3, cutoff=0.6)
        parts.append(f"{symbol!r} (nearest: {', '.join(near)})" if near else repr(symbol))
    return ", ".join(parts)


def exponent(symbol: str, what: str, step: str, least: str = "0", most: str = "0") -> int:
    """Decimals of the step (and of the smallest value, if it is finer); with a step of zero, which says
    nothing, `WIRE_DECIMALS`, fewer if the largest value asks for that.

    Raises:
        PrecisionError: step or largest value leave no headroom. ValueError: a text is no decimal.
    """
    places = max(decimals(step), decimals(least))
    if to_mantissa(step, min(places, MAX_EXPONENT))[1] == 0:
        places = WIRE_DECIMALS
        while places and not _roomy(most, places):
            places -= 1
    if places > MAX_EXPONENT or not (_roomy(step, places) and _roomy(most, places)):
        raise PrecisionError(
            f"{symbol}: {what} {step} and the largest value {most} do not fit an int64 with room for "
            f"{HEADROOM} times as much; take the symbol out of the configuration"
        )
    return places


def _roomy(text: str, places: int) -> bool:
    """Whether 2^8 times `text`, rounded down to `places` decimals, fits an int64."""
    whole, _, fraction = text.partition(".")
    return int((whole + fraction[:places].ljust(places, "0")).lstrip("0")[:40] or "0") <= ROOM


def exact(symbol: str, text: str, places: int) -> int:
    """The mantissa of `text` at `places` decimals. Raises PrecisionError when it does not fit."""
    verdict, mantissa = to_mantissa(text, places)
    if verdict is not Verdict.EXACT:
        raise PrecisionError(f"{symbol}: {text} does not fit an int64 at {places} decimals")
    return mantissa


# -- successors -------------------------------------------------------------------------------------------
def successor(slot: Instrument, listed: Instrument) -> Instrument | None:
    """The slot that replaces `slot`, or None: what it says of tick, lot, notional and decimals still holds.

    A slot's exponents never change, and what an order is rounded by must not change under a reader either: a
    new slot says it. Decimals never become fewer, so that a slot that had to be widened is not narrowed again
    with every start.
    """
    price_exp = max(slot.price_exp, listed.price_exp)
    size_exp = max(slot.size_exp, listed.size_exp)
    spec = msgspec.structs.replace(
        listed,
        index=slot.index,
        price_exp=price_exp,
        size_exp=size_exp,
        tick=listed.tick * 10 ** (price_exp - listed.price_exp),
        lot=listed.lot * 10 ** (size_exp - listed.size_exp),
        status=slot.status,
    )
    return None if spec == slot else msgspec.structs.replace(spec, index=0, status=listed.status)


def level_numbers(*sides: Iterable[tuple[str, str]]) -> list[Number]:
    """The numbers of a book's levels, for `widen`."""
    return [number for side in sides for price, size in side for number in (("price", price), ("size", size))]


def needed(numbers: Iterable[Number]) -> tuple[int, int]:
    """How many decimals (of prices, of sizes) these numbers need. ValueError when one is none."""
    places = {"price": 0, "size": 0}
    for what, text in numbers:
        places[what] = max(places[what], decimals(text))
    return places["price"], places["size"]


def widen(old: Instrument, numbers: Sequence[Number], fresh: Instrument | None = None) -> Instrument:
    """The slot that replaces `old` because one of `numbers` did not fit its exponents.

    INEXACT asks for more decimals: those that the numbers need, and those of `fresh`, the venue's listing as
    it is now, when that is at hand. Decimals never become fewer, so a symbol's slots settle. OVERFLOW cannot
    be cured: fewer decimals could not hold the tick any more.

    Raises:
        PrecisionError: at the decimals needed, a number does not fit.
        ValueError: nothing is to be widened, or a number is none.
    """
    price, size = needed(numbers)
    base = fresh or old
    price_exp = max(old.price_exp, base.price_exp, price)
    size_exp = max(old.size_exp, base.size_exp, size)
    if max(price_exp, size_exp) > MAX_EXPONENT:
        raise PrecisionError(
            f"{old.symbol}: the venue sends {max(price, size)} decimals, "
            f"a slot can have at most {MAX_EXPONENT}"
        )
    for what, text in numbers:
        _check_fit(old.symbol, what, text, price_exp if what == "price" else size_exp)
    if (price_exp, size_exp) == (old.price_exp, old.size_exp):
        raise ValueError(f"{old.symbol}: everything fits the exponents it has, {price_exp} and {size_exp}")
    tick, lot = base.tick * 10 ** (price_exp - base.price_exp), base.lot * 10 ** (size_exp - base.size_exp)
    if max(tick, lot) > ROOM:
        raise PrecisionError(
            f"{old.symbol}: its tick or lot does not fit {price_exp} and {size_exp} decimals in an int64"
        )
    carried = base.status is not InstrumentStatus.SUPERSEDED
    return msgspec.structs.replace(
        base,
        index=0,
        price_exp=price_exp,
        size_exp=size_exp,
        tick=tick,
        lot=lot,
        status=base.status if carried else InstrumentStatus.ACTIVE,
    )


def _check_fit(symbol: str, what: str, text: str, places: int) -> None:
    if to_mantissa(text, places)[0] is not Verdict.EXACT:
        raise PrecisionError(
            f"{symbol}: {what} {text} does not fit an int64 at the {places} decimals that it needs; "
            "take the symbol out of the configuration"
        )
