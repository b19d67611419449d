"""What a listing says of the symbols asked for, for every venue alike.

Kind: one entry, record or symbol takes others along. One undecodable entry of a listing cost all of its
symbols, for ever; one unlisted symbol, or one whose numbers fit no slot, cost the others; of two entries of
one symbol the last one won, whatever it was.
"""

from __future__ import annotations

import asyncio
import dataclasses
import doctest
import importlib
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shm.instruments import Instrument
from shm.layout import InstrumentStatus
from workers.contract.errors import BadRequest, ParseError, ServerError
from workers.venues.entries import TURN, Entries, Entry, EntryReader, read_parts
from workers.venues.listing import (
    Currencies,
    Listing,
    ListingRules,
    PrecisionError,
    States,
    UnknownInstrument,
    make_listing,
    successor,
)

Held = TypeVar("Held")


class Pair(msgspec.Struct, frozen=True):
    name: str
    base: str
    quote: str
    status: str = "on"
    decimals: int = 2
    hidden: bool = False


class Answer(msgspec.Struct, Generic[Held], frozen=True):
    pairs: list[Held]


class ByName(msgspec.Struct, Generic[Held], frozen=True):
    result: dict[str, Held]


CURRENCIES = Currencies({"XBT": "BTC", "OLD": "NEW", "NEW": "NEWER"})
STATES = States(trading=frozenset({"on"}), halted=frozenset({"off"}))


def slot(pair: Pair) -> Instrument:
    if pair.decimals > 18:
        raise PrecisionError(f"{pair.name}: {pair.decimals} decimals")
    return Instrument(
        symbol=CURRENCIES.pair(pair.base, pair.quote),
        venue_symbol=pair.name,
        price_exp=pair.decimals,
        size_exp=0,
        tick=1,
        lot=1,
        status=STATES.status(pair.status),
    )


RULES = ListingRules[Pair](
    venue="Test",
    symbol=lambda pair: "" if pair.hidden else CURRENCIES.pair(pair.base, pair.quote),
    instrument=slot,
    state=lambda pair: pair.status,
    states=STATES,
    plain=lambda symbol: symbol.replace("/", ""),
    excluded=lambda name, pair: "it is announced" if name.startswith("GHOST") else "",
    unified=CURRENCIES.unified,
)
read = EntryReader(Answer, Pair, at="pairs", name="name")
GOOD = [
    {"name": "AB", "base": "A", "quote": "B"},
    {"name": "XBTB", "base": "XBT", "quote": "B", "status": "off"},
]


def listing(*entries: Any, symbols: tuple[str, ...] = ("A/B", "BTC/B")) -> Listing:
    """With one more entry, so that one can be read."""
    body = {"pairs": [*entries, {"name": "LAST", "base": "LA", "quote": "ST", "hidden": True}]}
    return make_listing(read(json.dumps(body).encode()), symbols, RULES)


# -- reading ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("entry", "name", "reason"),
    [
        ({"name": "CB", "base": "C", "quote": None}, "CB", "Expected `str`, got `null` - at `$.quote`"),
        ({"name": "CB", "base": "C"}, "CB", "Object missing required field `quote`"),
        ({"name": None, "base": "C", "quote": "B"}, '{"name": null, "base": "C", "quote": "B"}', "`$.name`"),
        ({"name": "", "base": "C", "quote": "B"}, "", "it has no name"),
        (None, "null", "Expected `object`, got `null`"),
        ([1], "[1]", "Expected `object`, got `array`"),
        ({"name": "/B", "base": "", "quote": "B"}, "/B", "a currency is empty"),
    ],
)
def test_a_bad_entry_is_named_and_takes_no_other_along(entry: Any, name: str, reason: str) -> None:
    for at in range(3):
        entries = [*GOOD[:at], entry, *GOOD[at:]]
        found = listing(*entries)
        assert [one.symbol for one in found.instruments] == ["A/B", "BTC/B"]
        assert found.missing == {}
        [(named, why)] = found.skipped.items()
        assert named == name or (not name and named.startswith('{"name":""'))
        assert reason in why


def test_a_bad_entry_of_a_dict_has_its_key() -> None:
    body = json.dumps({"result": {"k1": GOOD[0], "k2": {"name": "CB", "base": 5}}}).encode()
    found = EntryReader(ByName, Pair, at="result")(body)
    assert [name for name, _ in found.read] == ["k1"]
    assert [(each.name, each.reason) for each in found.unread] == [
        ("k2", "Expected `str`, got `int` - at `$.base`")
    ]


def test_text_that_is_no_utf_8_costs_its_own_entry() -> None:
    body = json.dumps({"pairs": [*GOOD, {"name": "CB", "base": "?", "quote": "B"}]}).encode()
    found = make_listing(read(body.replace(b"?", b"\xff")), ["A/B"], RULES)
    assert len(found.instruments) == len(found.skipped) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"{}",
        b'{"pairs":null}',
        b'{"pairs":{}}',
        b'{"pairs":[{}',
        b"<html>",
        b'{"pairs":[{},{}]}',
    ],
)
def test_what_holds_the_entries_must_be_as_documented(body: bytes) -> None:
    """And one of them readable: a key that is renamed in all of them is no news about any symbol."""
    with pytest.raises(msgspec.DecodeError):
        read(body)


def test_a_listing_of_thousands_is_read_quickly_with_a_bad_entry_in_it() -> None:
    """No exact figure: a slow machine is no fault. A reader that decodes the rest once for each bad entry, or
    measures the distance of each unlisted symbol to each name, needs far more."""
    entries: list[Any] = [{"name": f"N{n}B", "base": f"N{n}", "quote": "B"} for n in range(3000)]
    entries[1500:1500] = [{"name": f"BAD{n}"} for n in range(100)]
    body = json.dumps({"pairs": entries}).encode()
    began = time.process_time()
    found = make_listing(
        read(body), [*(f"N{n}/B" for n in range(200)), *(f"M{n}/B" for n in range(5))], RULES
    )
    assert time.process_time() - began < 2.0
    assert (len(found.instruments), len(found.missing), len(found.skipped)) == (200, 5, 100)


def in_turns(reader: EntryReader[Pair], body: bytes) -> Entries[Pair]:
    async def get(path: str, params: Any, *, decoder: Callable[[bytes], Any]) -> Any:
        return decoder(body)

    return asyncio.run(reader.ask(get, "/pairs"))


def test_a_listing_that_is_read_in_turns_is_the_same() -> None:
    entries: list[Any] = [{"name": f"N{n}B", "base": f"N{n}", "quote": "B"} for n in range(2 * TURN + 1)]
    entries[TURN] = {"name": "BAD"}
    body = json.dumps({"pairs": entries}).encode()
    assert in_turns(read, body) == read(body)
    by_name = EntryReader(ByName, Pair, at="result")
    body = json.dumps({"result": {each["name"]: each for each in entries}}).encode()
    assert in_turns(by_name, body) == by_name(body)
    assert in_turns(read, b'{"pairs":[]}') == Entries([], [])
    with pytest.raises(ParseError, match=r"/pairs: not one of 2 entries can be read: .*name"):
        in_turns(read, b'{"pairs":[{},{}]}')
    with pytest.raises(msgspec.DecodeError):
        in_turns(read, b'{"pairs":{}}')


# -- what is missing --------------------------------------------------------------------------------------
def test_each_symbol_that_cannot_be_carried_is_missing_with_its_reason() -> None:
    found = listing(
        *GOOD,
        {"name": "CB", "base": "C", "quote": "B", "decimals": 19},
        {"name": "DB", "base": "D", "quote": "B", "decimals": None},
        {"name": "DB2", "base": "OLD", "quote": "B", "decimals": None},
        {"name": "GHOST-EB", "base": "E", "quote": "B"},
        {"name": "FB", "base": "F", "quote": "B", "hidden": True},
        symbols=("C/B", "A/B", "D/B", "A/BB", "E/B", "F/B", "NEW/B", "A/B"),
    )
    assert [one.symbol for one in found.instruments] == ["A/B"]
    assert found.missing == {
        "C/B": "CB: 19 decimals",
        "D/B": "Test lists no 'D/B' that can be read: its entry DB: Expected `int`, got `null` - at "
        "`$.decimals`",
        "A/BB": "Test does not list 'A/BB' (nearest: A/B)",
        "E/B": "Test lists 'E/B' only as GHOST-EB: it is announced",
        "F/B": "Test does not list 'F/B' (nearest: E/B, C/B, A/B)",
        "NEW/B": "Test lists no 'NEW/B' that can be read: its entry DB2: Expected `int`, got `null` - at "
        "`$.decimals`",
    }
    with pytest.raises(UnknownInstrument, match=r"CB: 19 decimals; .*'D/B'.*'A/BB'.*GHOST-EB"):
        found.all_instruments()
    assert listing(*GOOD).all_instruments() == listing(*GOOD).instruments


def test_a_ghost_does_not_stand_for_an_entry_that_cannot_be_read() -> None:
    broken = {"name": "AB", "base": "A", "quote": "B", "decimals": "two"}
    for ghost in ("ABSETTLED", "GHOST-AB"):
        found = listing(broken, {"name": ghost, "base": "A", "quote": "B"}, symbols=("A/B",))
        assert found.instruments == []
        assert "its entry AB: Expected `int`, got `str`" in found.missing["A/B"]
    # A stranger that cannot be read changes nothing about an entry that can.
    [one] = listing(GOOD[0], broken | {"name": "ABSETTLED"}, symbols=("A/B",)).instruments
    assert one.venue_symbol == "AB"
    # The plain name may be that of another currency at the venue.
    old = {"name": "OLDB", "base": "OLD", "quote": "B"}
    [one] = listing(old, {"name": "NEWB", "base": "NEW"}, symbols=("NEW/B",)).instruments
    assert one.venue_symbol == "OLDB"


def test_a_status_that_is_not_known_is_halted_and_named() -> None:
    found = listing({**GOOD[0], "status": "paused"}, {**GOOD[1], "status": "?"}, symbols=("A/B",))
    assert [one.status for one in found.instruments] == [InstrumentStatus.HALTED]
    assert found.skipped == {"AB": "its status 'paused' is not known, so it counts as not tradable"}


# -- which one stands for the symbol ----------------------------------------------------------------------
@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"name": "AB-OTHER"}, {"name": "AB", "status": "off"}),  # it trades
        ({"name": "AB"}, {"name": "A"}),  # the plain name
        ({"name": "AB", "status": "off"}, {"name": "A", "status": "off"}),
        ({"name": "AB1"}, {"name": "AB-SETTLED"}),  # the shorter one
        ({"name": "AB1"}, {"name": "AB2"}),
        ({"name": "AB-OTHER", "status": "off"}, {"name": "GHOST-AB"}),  # what never stands for it
        ({"name": "AB", "decimals": 2}, {"name": "AB", "decimals": 3}),  # one name twice
        ({"name": "AB"}, {"name": "AB", "status": "paused"}),
    ],
)
def test_of_two_entries_of_a_symbol(better: dict[str, Any], worse: dict[str, Any]) -> None:
    for both in ((better, worse), (worse, better)):
        found = listing(*({"base": "A", "quote": "B", **each} for each in both), symbols=("A/B",))
        [one] = found.instruments
        assert (one.venue_symbol, one.price_exp) == (better["name"], better.get("decimals", 2))
        assert found.shadowed == {"A/B": [worse["name"]]}
        assert found.missing == found.skipped == {}


def test_two_symbols_of_one_name() -> None:
    """What comes under a venue symbol is of one symbol, or the other one's prices are wrong."""
    odd = {"name": "AB", "base": "ETH", "quote": "B"}
    for symbols in (("ETH/B", "A/B"), ("A/B", "ETH/B")):
        for entries in ((GOOD[0], odd), (odd, GOOD[0])):
            found = listing(*entries, symbols=symbols)
            assert [one.symbol for one in found.instruments] == ["A/B"]
            assert found.missing == {"ETH/B": "Test lists 'ETH/B' as AB, which is its name of 'A/B'"}


def test_what_a_listing_does_not_say() -> None:
    """Kind: silence taken for evidence. An empty listing delists nothing, and of a symbol that may be in
    what could not be read nobody knows whether it is listed."""
    with pytest.raises(ParseError, match="the listing is empty"):
        make_listing(read(b'{"pairs":[]}'), ("A/B",), RULES)
    assert listing(GOOD[0]).unsure == set()  # BTC/B is not listed
    broken = {"name": "BTCB", "base": "BTC", "quote": "B", "hidden": "no"}
    found = listing(GOOD[0], broken)
    assert (set(found.missing), found.unsure) == ({"BTC/B"}, {"BTC/B"})
    refused = dataclasses.replace(read(json.dumps({"pairs": [GOOD[0]]}).encode()), refused=["a part"])
    assert make_listing(refused, ("A/B", "BTC/B"), RULES).unsure == {"BTC/B"}


def test_one_entry_twice_is_one() -> None:
    found = listing(GOOD[0], GOOD[0], symbols=("A/B",))
    assert len(found.instruments) == 1
    assert found.shadowed == {}


codes = st.sampled_from(["A", "B", "XBT", "BTC", "OLD", "NEW", ""])
pairs = st.builds(
    Pair,
    name=st.sampled_from(["AB", "BA", "BTCB", "NEWB", "OLDB", "AB2", "GHOST-AB", "GHOST-BTCB", "Z"]),
    base=codes,
    quote=codes,
    status=st.sampled_from(["on", "off", "paused"]),
    decimals=st.sampled_from([0, 2, 19]),
    hidden=st.booleans(),
)
broken = st.sampled_from([{"name": "AB"}, {"name": "BTCB", "base": "XBT", "quote": "B", "decimals": None}, 5])
asked = st.lists(st.sampled_from(["A/B", "B/A", "BTC/B", "NEW/B", "A/A", "Q/Q", "x", ""]), max_size=6)


@given(st.lists(st.one_of(pairs.map(msgspec.to_builtins), broken), max_size=12), asked, st.randoms())
def test_the_order_of_the_listing_decides_nothing(
    entries: list[Any], symbols: list[str], chance: Any
) -> None:
    """And every symbol is carried or missing, with a slot of its own name that no excluded entry has."""
    found = listing(*entries, symbols=tuple(symbols))
    mixed = list(entries)
    chance.shuffle(mixed)
    again = listing(*mixed, symbols=tuple(symbols))
    assert found.instruments == again.instruments
    assert found.shadowed == again.shadowed
    assert found.missing.keys() == again.missing.keys()
    assert found.skipped.keys() == again.skipped.keys()

    carried = [one.symbol for one in found.instruments]
    assert sorted([*carried, *found.missing]) == sorted(set(symbols))
    assert carried == [symbol for symbol in dict.fromkeys(symbols) if symbol in carried]
    assert all(found.missing.values())
    assert len({one.venue_symbol for one in found.instruments}) == len(found.instruments)
    for one in found.instruments:
        assert not one.venue_symbol.startswith("GHOST")
        active = [
            pair for pair in entries if isinstance(pair, dict) and pair.get("status") == "on"
            and not pair["hidden"] and not pair["name"].startswith("GHOST") and pair["base"] and pair["quote"]
            and CURRENCIES.pair(pair["base"], pair["quote"]) == one.symbol
        ]  # fmt: skip
        assert (one.status is InstrumentStatus.ACTIVE) == bool(active)


# -- a listing in several answers -------------------------------------------------------------------------
def part(found: Entries[Entry] | Exception) -> Callable[[], Awaitable[Entries[Entry]]]:
    async def ask() -> Entries[Entry]:
        if isinstance(found, Exception):
            raise found
        return found

    return ask


def test_a_part_that_is_refused_costs_its_own_symbols() -> None:
    facts: dict[str, Any] = {"endpoint": "/pairs", "method": "GET"}
    one, other = (read(json.dumps({"pairs": [entry]}).encode()) for entry in GOOD)
    refused = BadRequest("no such type", **facts)
    found = asyncio.run(read_parts([part(one), part(refused)]))
    listing = make_listing(found, ["A/B", "BTC/B"], RULES)
    assert [each.symbol for each in listing.instruments] == ["A/B"]
    assert "a part of its listing was refused: " in listing.missing["BTC/B"]
    assert "no such type" in listing.missing["BTC/B"]
    both = asyncio.run(read_parts([part(other)], one))
    assert make_listing(both, ["A/B", "BTC/B"], RULES).missing == {}
    with pytest.raises(BadRequest):
        asyncio.run(read_parts([part(refused), part(refused)]))
    # What may be answered another time says nothing about a symbol.
    for error in (ServerError("busy", **facts), ParseError("<html>", **facts)):
        with pytest.raises(type(error)):
            asyncio.run(read_parts([part(one), part(error)]))


# -- a slot made before the venue has listed steps --------------------------------------------------------
def test_a_slot_from_before_the_steps_were_known_takes_them() -> None:
    early = Instrument(
        symbol="A/B", venue_symbol="AB", price_exp=8, size_exp=8, status=InstrumentStatus.HALTED
    )
    opened = Instrument(symbol="A/B", venue_symbol="AB", price_exp=4, size_exp=0, tick=1, lot=1)
    assert successor(early, opened) == opened
    assert successor(opened, opened) is None
    # Else decimals never become fewer.
    wider = successor(msgspec.structs.replace(early, tick=1, lot=1), opened)
    assert wider is not None
    assert (wider.price_exp, wider.size_exp) == (8, 8)


def test_an_entry_without_steps_takes_none_away() -> None:
    """A field that is missing says nothing: a tick of 0 would be what orders are rounded by."""
    slot = Instrument(symbol="A/B", venue_symbol="AB", price_exp=2, size_exp=3, tick=5, lot=10)
    assert successor(slot, msgspec.structs.replace(slot, price_exp=0, tick=0)) is None
    assert successor(slot, msgspec.structs.replace(slot, size_exp=0, lot=0)) is None
    finer = successor(slot, msgspec.structs.replace(slot, price_exp=4, tick=0, size_exp=4, lot=1))
    assert finer is not None
    assert (finer.price_exp, finer.tick, finer.size_exp, finer.lot) == (4, 500, 4, 1)


@pytest.mark.parametrize(
    "name", ["venues.entries", "venues.kraken.names", "venues.binance_futures.instruments"]
)
def test_examples(name: str) -> None:
    found = doctest.testmod(importlib.import_module(f"workers.{name}"))
    assert found.failed == 0 < found.attempted
