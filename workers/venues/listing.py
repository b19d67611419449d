"""A venue's listing -> instrument slots: exponents, tick and lot, and when a slot must be replaced. Pure.

A listing is one answer for thousands of symbols, so a defect of one entry may not cost another symbol. The
rules, the same for every venue:

1. An entry that cannot be decoded, or whose symbol cannot be determined, is left out and reported in
   `Listing.skipped`. The envelope of the entries must be as documented, and at least one of them decodable;
   if not, the whole answer is an error.
2. An unknown value is never ignored silently. Where the symbol depends on it (the type of a contract), the
   entry falls under rule 1. Where it is the status (whether orders are matched), the instrument is HALTED,
   and the value is reported in `Listing.skipped`.
3. Of several entries of one symbol, one is chosen: one that trades before one that does not; then the one
   with the symbol's plain name at the venue (`ListingRules.plain`); then the shorter name; then the name that
   comes first in the alphabet. The order of the listing does not matter. The others are not carried, so none
   of their events is published as the symbol's; they are in `Listing.shadowed`.
4. Every requested symbol is either in `Listing.instruments` or in `Listing.missing`, with the reason.
5. A symbol counts as not listed only if the listing shows that. A listing without a single entry is an error
   of the answer; a symbol that may be among the entries that could not be decoded, or in a part that was
   refused, is in `Listing.unsure` too. An entry without its name or currencies is one that cannot be decoded;
   an entry with another currency belongs to another symbol.

The exponents of a slot never change, so they are chosen here once: as many decimals as tick or lot need, with
room for 2^8 times the largest price or size that the venue allows. A number that does not fit later is never
rounded: `widen` gives the exponents of the slot that replaces this one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Generic, Literal, NamedTuple

import msgspec

from shm.errors import Action
from shm.instruments import Instrument
from shm.layout import InstrumentStatus
from workers.contract.errors import ParseError, WorkerError
from workers.decode.decimals import INT64_MAX, MAX_EXPONENT, Verdict, decimals, to_mantissa
from workers.venues.entries import Entries, Entry, Unread, unread_entry, words

HEADROOM = 2**8
ROOM = INT64_MAX // HEADROOM
WIRE_DECIMALS = 8  # where a venue lists no step

Number = tuple[Literal["price", "size"], str]


class InstrumentError(WorkerError):
    """An instrument cannot be carried; the message has the symbol, the reason, and what to do."""

    action = Action.HALT


class UnknownInstrument(InstrumentError):
    """The venue does not list a symbol that the configuration names."""


class PrecisionError(InstrumentError):
    """No exponents hold this instrument's numbers in an int64."""


# -- the listing ------------------------------------------------------------------------------------------
class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """The requested symbols in a venue's listing.

    Attributes:
        instruments: those that can be carried, in the requested order, `index` 0.
        missing: canonical symbol -> why it cannot be carried: not listed (with the nearest names), an entry
            that cannot be decoded, numbers that fit no slot.
        unsure: those of `missing` that may be listed all the same (rule 5).
        nearest: canonical symbol that is not listed -> the listed ones that it resembles.
        skipped: the venue's name of an entry, of any symbol -> why it could not be decoded; of an entry that
            was chosen for a requested symbol -> its unknown value (rule 2).
        shadowed: canonical symbol -> the venue's names of its other entries, which were not chosen (rule 3).
    """

    instruments: list[Instrument]
    missing: dict[str, str] = {}
    unsure: set[str] = set()
    nearest: dict[str, list[str]] = {}
    skipped: dict[str, str] = {}
    shadowed: dict[str, list[str]] = {}

    def all_instruments(self) -> list[Instrument]:
        """The instruments, if no requested symbol is missing.

        Raises:
            UnknownInstrument: some are missing; the text names all of them, with the reasons.
        """
        if self.missing:
            raise UnknownInstrument("; ".join(self.missing.values()))
        return self.instruments


class Currencies:
    """A venue's currency codes, and the unified codes (ccxt's) that they stand for.

    Args:
        renamed: the venue's code -> the unified one, of those that differ.
    """

    def __init__(self, renamed: Mapping[str, str]) -> None:
        self.renamed = dict(renamed)

    def unified(self, code: str) -> str:
        """The unified code, in capitals. Raises ValueError: `code` is empty."""
        if not code:
            raise ValueError("a currency is empty")
        code = code.upper()
        return self.renamed.get(code, code)

    def pair(self, base: str, quote: str) -> str:
        """The canonical ``BTC/USDT`` of the venue's two codes. Raises ValueError: one is empty."""
        return f"{self.unified(base)}/{self.unified(quote)}"


class States(NamedTuple):
    """A venue's values of an instrument's status, by whether orders are matched."""

    trading: frozenset[str]
    halted: frozenset[str]

    def status(self, word: str) -> InstrumentStatus:
        """ACTIVE or HALTED; HALTED for an unknown value (rule 2)."""
        return InstrumentStatus.ACTIVE if word in self.trading else InstrumentStatus.HALTED

    def known(self, word: str) -> bool:
        """Whether the value is one of these."""
        return word in self.trading or word in self.halted


@dataclass(frozen=True, kw_only=True)
class ListingRules(Generic[Entry]):
    """How `make_listing` reads a venue's entries.

    Attributes:
        venue: its name, for error texts.
        symbol: entry -> canonical symbol; "" for an entry without one, such as an option. Raises ValueError
            where it cannot be determined (rule 1).
        instrument: entry -> slot, `index` 0. Raises InstrumentError.
        state: entry -> the venue's status of it, one of `states`.
        plain: canonical symbol -> the venue's name that is expected for it, "" where there is no such rule.
        excluded: (the venue's name, entry) -> why it is never chosen for its symbol; "": it may be.
        unified: the venue's code of a currency -> the unified one.
    """

    venue: str
    symbol: Callable[[Entry], str]
    instrument: Callable[[Entry], Instrument]
    state: Callable[[Entry], str]
    states: States
    plain: Callable[[str], str]
    excluded: Callable[[str, Entry], str] = lambda name, entry: ""
    unified: Callable[[str], str] = str.upper


def make_listing(entries: Entries[Entry], symbols: Iterable[str], rules: ListingRules[Entry]) -> Listing:
    """The instruments of `symbols` (canonical), in that order, and why others are missing.

    Raises:
        ParseError: the listing has no entries (rule 5).
    """
    if not entries.read and not entries.unread:
        raise ParseError(f"{rules.venue}: the listing is empty")
    listed: dict[str, list[tuple[str, Entry]]] = {}
    unread = list(entries.unread)
    for name, entry in entries.read:
        try:
            if not name:
                raise ValueError("it has no name")
            symbol = rules.symbol(entry)
        except (ValueError, OverflowError, OSError) as error:
            unread.append(unread_entry(msgspec.json.encode(entry), name, "", str(error)))
            continue
        if symbol:
            listed.setdefault(symbol, []).append((name, entry))
    unread = [each._replace(words=frozenset(_unified(word, rules) for word in each.words)) for each in unread]
    skipped = {each.name: each.reason for each in unread}
    found = Listing(instruments=[], missing={}, unsure=set(), nearest={}, skipped=skipped, shadowed={})
    for symbol in dict.fromkeys(symbols):
        ranked = _ranked(symbol, listed.get(symbol, []), rules)
        if others := [name for name, entry in ranked[1:] if (name, entry) != ranked[0]]:
            found.shadowed[symbol] = others
        if reason := _missing(symbol, ranked[:1], unread, rules):
            found.missing[symbol] = reason
            found.unsure.add(symbol)
        elif not ranked:
            found.nearest[symbol] = _nearest(symbol.upper(), list(listed))
            found.missing[symbol] = _not_listed(symbol, found.nearest[symbol], entries.refused, rules.venue)
            if entries.refused:
                found.unsure.add(symbol)
        else:
            name, entry = ranked[0]
            if not rules.states.known(word := rules.state(entry)):
                skipped[name] = f"its status {word!r} is not known, so it counts as not tradable"
            try:
                found.instruments.append(rules.instrument(entry))
            except (InstrumentError, ValueError) as error:
                found.missing[symbol] = str(error)
                found.unsure.add(symbol)
    _part(found, rules)
    return found


def _part(found: Listing, rules: ListingRules[Entry]) -> None:
    """No two symbols have one venue symbol: the one whose plain name it is keeps it, else the one asked for
    first."""
    named: dict[str, list[Instrument]] = {}
    for one in found.instruments:
        named.setdefault(one.venue_symbol, []).append(one)
    for name, several in named.items():
        several.sort(key=lambda one: rules.plain(one.symbol) != one.venue_symbol)
        for other in several[1:]:
            found.instruments.remove(other)
            found.missing[other.symbol] = (
                f"{rules.venue} lists {other.symbol!r} as {name}, which is its name of {several[0].symbol!r}"
            )


def _ranked(
    symbol: str, candidates: list[tuple[str, Entry]], rules: ListingRules[Entry]
) -> list[tuple[str, Entry]]:
    """Rule 3: best first."""
    plain = rules.plain(symbol)

    def rank(candidate: tuple[str, Entry]) -> tuple[bool, bool, bool, int, str, bytes]:
        name, entry = candidate
        trades = rules.states.status(rules.state(entry)) is InstrumentStatus.ACTIVE
        text = msgspec.json.encode(entry)  # for one name twice
        return bool(rules.excluded(name, entry)), not trades, name != plain, len(name), name, text

    return sorted(candidates, key=rank) if len(candidates) > 1 else candidates


def _missing(
    symbol: str, chosen: list[tuple[str, Entry]], unread: Sequence[Unread], rules: ListingRules[Entry]
) -> str:
    """Why no entry can be chosen for a symbol that has entries; "": one can, or it has none.

    An entry that could not be decoded may be the symbol's: it has its plain name; or no other entry can be
    chosen and it contains all of the symbol's currencies (and, in its name, the date).
    """
    base = symbol.partition("/")[0]
    # Where the venue uses this code for another currency, the plain name belongs to that one.
    plain = rules.plain(symbol) if _unified(base, rules) == base else ""
    excluded = [(name, why) for name, entry in chosen if (why := rules.excluded(name, entry))]
    if chosen and not excluded and chosen[0][0] == plain:
        return ""
    dated, currencies = set(words(symbol)), set(words(symbol.partition("-")[0]))
    for each in unread:
        parts = dated if each.named else currencies
        if each.name == plain or ((excluded or not chosen) and parts <= each.words):
            return f"{rules.venue} lists no {symbol!r} that can be read: its entry {each.name}: {each.reason}"
    for name, why in excluded:
        return f"{rules.venue} lists {symbol!r} only as {name}: {why}"
    return ""


def _unified(word: str, rules: ListingRules[Entry]) -> str:
    """The unified code of a word that may be a currency's code; the word itself where it is none."""
    try:
        return rules.unified(word)
    except ValueError:
        return word


def _not_listed(symbol: str, names: Sequence[str], refused: Sequence[str], venue: str) -> str:
    nearest = ", ".join(names)
    unsure = "".join(f"; a part of its listing was refused: {each}" for each in refused)
    return f"{venue} does not list {symbol!r}{f' (nearest: {nearest})' if nearest else ''}{unsure}"


def _nearest(symbol: str, listed: Sequence[str]) -> list[str]:
    """At most three listed symbols that resemble `symbol`. To compare it with thousands of names takes as
    long as to decode them: names that begin alike are tried first, then names that end alike, then all."""
    base = symbol.partition("/")[0]
    for names in (
        [name for name in listed if name.startswith(base[:2])],
        [name for name in listed if name.endswith(symbol[len(base) :])],
        listed,
    ):
        if near := get_close_matches(symbol, names, n=3, cutoff=0.6):
            return near
    return []


def exponent(symbol: str, what: str, step: str, least: str = "0", most: str = "0") -> int:
    """Decimals of the step (and of the smallest value, if it is finer); with a step of zero, which means that
    there is none, `WIRE_DECIMALS`, or fewer where the largest value would not fit.

    Raises:
        PrecisionError: the step or the largest value does not fit with headroom.
        ValueError: a text is no decimal number.
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
    """The slot that replaces `slot`; None: its tick, lot, notional and decimals are still those of the
    listing.

    A slot's exponents never change, and its tick and lot must not change under a reader either, so a change
    takes a new slot. Decimals never become fewer, so that a slot that was widened is not narrowed at every
    start; but a slot that was made before the venue listed any steps takes those that are listed now. Where
    the listing has no tick or lot, the slot's is kept.
    """
    early = slot.tick == slot.lot == 0 < min(listed.tick, listed.lot)
    price_exp = listed.price_exp if early else max(slot.price_exp, listed.price_exp)
    size_exp = listed.size_exp if early else max(slot.size_exp, listed.size_exp)
    spec = msgspec.structs.replace(
        listed,
        index=slot.index,
        price_exp=price_exp,
        size_exp=size_exp,
        tick=listed.tick * 10 ** (price_exp - listed.price_exp)
        or slot.tick * 10 ** (price_exp - slot.price_exp),
        lot=listed.lot * 10 ** (size_exp - listed.size_exp) or slot.lot * 10 ** (size_exp - slot.size_exp),
        status=slot.status,
    )
    return None if spec == slot else msgspec.structs.replace(spec, index=0, status=listed.status)


def level_numbers(*sides: Iterable[tuple[str, str]]) -> list[Number]:
    """The numbers of a book's levels, for `widen`."""
    return [number for side in sides for price, size in side for number in (("price", price), ("size", size))]


def needed(numbers: Iterable[Number]) -> tuple[int, int]:
    """How many decimals (of prices, of sizes) these numbers need. Raises ValueError: one is no number."""
    places = {"price": 0, "size": 0}
    for what, text in numbers:
        places[what] = max(places[what], decimals(text))
    return places["price"], places["size"]


def widen(old: Instrument, numbers: Sequence[Number], fresh: Instrument | None = None) -> Instrument:
    """The slot that replaces `old` because one of `numbers` did not fit its exponents.

    It has the decimals that the numbers need, and those of `fresh`, the instrument as it is listed now, if
    that is known. Decimals never become fewer, so a symbol's slots settle. A number that is too large
    (OVERFLOW) cannot be helped: with fewer decimals the tick would not fit any more.

    Raises:
        PrecisionError: at the decimals needed, a number does not fit.
        ValueError: all numbers fit `old`, or one is no number.
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
