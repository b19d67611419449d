"""OKX's listing as instrument slots, from the captured listings and from invented ones."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from okx_kit import BOOKS5, FRAMES, SYMBOLS, TICKER, TRADES, UPDATE, rows

from shm.instruments import Instrument
from shm.layout import InstrumentKind, InstrumentStatus
from workers.books.sync import Snapshot
from workers.contract.errors import BadRequest
from workers.venues.entries import Entries
from workers.venues.listing import PrecisionError, successor
from workers.venues.okx import schema
from workers.venues.okx.instruments import instrument, instruments, numbers, types_of
from workers.venues.okx.parser import OkxParser
from workers.venues.okx.venue import VENUE

PARSER = OkxParser(SYMBOLS)


def listing() -> list[schema.InstrumentInfo]:
    found: dict[str, schema.InstrumentInfo] = {}
    for row in rows():
        if row["kind"] == "http":
            for entry in schema.read_listing(row["text"]).entries:
                found[entry.symbol] = entry
    return list(found.values())


def named(*entries: schema.InstrumentInfo) -> Entries[schema.InstrumentInfo]:
    return Entries([(each.symbol, each) for each in entries], [])


def test_the_captured_listings() -> None:
    wanted = ["BTC/USDT", "BTC/USDT:USDT", "BTC/USD:BTC", "BTC/USD:BTC-220527", "UNI/USD:UNI"]
    spot, linear, inverse, dated, uni = instruments(named(*listing()), wanted).instruments
    assert spot == Instrument(
        symbol="BTC/USDT", venue_symbol="BTC-USDT", price_exp=1, size_exp=8, tick=1, lot=1
    )
    assert linear == Instrument(
        symbol="BTC/USDT:USDT",
        venue_symbol="BTC-USDT-SWAP",
        kind=InstrumentKind.PERPETUAL,
        price_exp=1,
        size_exp=0,
        tick=1,
        lot=1,
        multiplier=1,  # 0.01 BTC
        multiplier_exp=2,
    )
    assert (inverse.venue_symbol, inverse.multiplier, inverse.multiplier_exp) == ("BTC-USD-SWAP", 100, 0)
    assert (dated.venue_symbol, dated.kind) == ("BTC-USD-220527", InstrumentKind.FUTURE)
    assert (uni.venue_symbol, uni.price_exp, uni.multiplier) == ("UNI-USD-SWAP", 3, 10)


def test_all_that_is_listed_can_be_carried() -> None:
    made = [instrument(entry) for entry in listing() if entry.type != "OPTION"]
    assert len(made) > 700
    assert len({one.symbol for one in made}) == len(made)
    assert all(one.tick > 0 < one.lot for one in made)


def test_only_the_types_asked_for_are_fetched() -> None:
    assert types_of(["BTC/USDT", "ETH/USDT"]) == ["SPOT"]
    assert types_of(["BTC/USD:BTC", "BTC/USDT", "BTC/USD:BTC-220527"]) == ["FUTURES", "SPOT", "SWAP"]


# A perpetual as it is listed today.
TODAY = msgspec.json.decode(
    b'{"baseCcy":"","ctMult":"1","ctType":"linear","ctVal":"0.01","ctValCcy":"BTC","instFamily":"BTC-USDT",'
    b'"instId":"BTC-USDT-SWAP","instIdCode":10459,"instType":"SWAP","lotSz":"0.01","maxLmtSz":"100000000",'
    b'"minSz":"0.01","quoteCcy":"","settleCcy":"USDT","state":"live","tickSz":"0.1","uly":"BTC-USDT"}',
    type=schema.InstrumentInfo,
)


def test_a_listing_of_today() -> None:
    one = instrument(TODAY)
    assert (one.symbol, one.size_exp, one.lot, one.status) == (
        "BTC/USDT:USDT",
        2,
        1,
        InstrumentStatus.ACTIVE,
    )
    assert instrument(msgspec.structs.replace(TODAY, state="suspend")).status is InstrumentStatus.HALTED
    finer = instrument(
        msgspec.structs.replace(TODAY, least="0.001", contract="10", contract_multiplier="0.1")
    )
    assert (finer.size_exp, finer.lot, finer.multiplier, finer.multiplier_exp) == (3, 10, 1, 0)
    # "" is not listed: the usual decimals of messages.
    bare = instrument(msgspec.structs.replace(TODAY, tick="", lot="", least=""))
    assert (bare.price_exp, bare.size_exp, bare.tick) == (8, 8, 0)


# Rows of instruments that have not opened (2026): any field but type, name and state may be empty.
EMPTY = {"baseCcy": "", "quoteCcy": "", "settleCcy": "", "uly": "", "tickSz": "", "lotSz": "", "minSz": ""}
TRADED = {"instType": "SPOT", "instId": "SLX-USDT", "baseCcy": "SLX", "quoteCcy": "USDT", "tickSz": "0.0001",
          "lotSz": "0.01", "minSz": "1", "state": "live"}  # fmt: skip


def body(*rows: dict[str, str]) -> bytes:
    return msgspec.json.encode({"code": "0", "msg": "", "data": rows})


def test_an_instrument_that_has_not_opened_is_identified_by_its_name_and_not_tradable() -> None:
    """Kind: an empty field becomes part of a name, or a number."""
    spot = {"instType": "SPOT", "instId": "NEW-USDT", "state": "preopen", **EMPTY}
    swap = {"instType": "SWAP", "instId": "NEW-USDT-SWAP", "state": "preopen", "ctVal": "10", **EMPTY}
    future = {"instType": "FUTURES", "instId": "NEW-USD-261225", "state": "preopen", "ctVal": "10", **EMPTY,
              "settleCcy": "NEW"}  # fmt: skip
    symbols = ["NEW/USDT", "NEW/USDT:USDT", "NEW/USD:NEW-261225", "BTC/USDT"]
    btc = TRADED | {"instId": "BTC-USDT", "baseCcy": "BTC"}
    found = instruments(schema.read_listing(body(spot, swap, future, btc)), symbols)
    assert [one.symbol for one in found.instruments] == symbols
    assert [one.venue_symbol for one in found.instruments[:2]] == ["NEW-USDT", "NEW-USDT-SWAP"]
    assert {one.status for one in found.instruments[:3]} == {InstrumentStatus.HALTED}
    assert [one.tick for one in found.instruments] == [0, 0, 0, 1]
    assert {} == found.missing == found.skipped
    # When it opens, its slot takes the steps that it has then.
    opened = instruments(
        schema.read_listing(body(TRADED | {"instId": "NEW-USDT", "baseCcy": "NEW"})), symbols
    )
    new = successor(found.instruments[0], opened.instruments[0])
    assert new is not None
    assert (new.price_exp, new.tick, new.size_exp, new.lot, new.status) == (
        4, 1, 2, 1, InstrumentStatus.ACTIVE,
    )  # fmt: skip


def test_an_entry_without_symbol_and_contract_is_not_listed() -> None:
    family = {"instType": "SWAP", "instId": "ETH-USD_UM-SWAP", "state": "preopen", **EMPTY}
    bare = {"instType": "SWAP", "instId": "NEW-USDT-SWAP", "state": "preopen", "ctVal": "", **EMPTY}
    kind = TRADED | {"instType": "WARRANT", "instId": "WAR-USDT"}
    found = instruments(
        schema.read_listing(body(family, bare, kind, TRADED)), ["ETH/USD:ETH", "NEW/USDT:USDT", "SLX/USDT"]
    )
    assert [one.symbol for one in found.instruments] == ["SLX/USDT"]
    assert found.skipped == {
        "ETH-USD_UM-SWAP": "'ETH-USD_UM-SWAP' has no settlement currency in its fields or its name",
        "WAR-USDT": "instType 'WARRANT' is not known",
    }
    assert found.missing["NEW/USDT:USDT"] == (
        "OKX lists 'NEW/USDT:USDT' only as NEW-USDT-SWAP: the value of a contract is not listed yet "
        "(state 'preopen')"
    )


def test_an_announced_instrument_is_not_chosen_for_the_symbol_that_trades() -> None:
    """Kind: the last of two entries of one symbol wins: the ghost's exponents, tick and HALTED were
    published, and its name subscribed."""
    ghost = TRADED | {"instId": "LISTING-SPOT-SLX-USDT", "tickSz": "0.1", "state": "preopen"}
    for both in ((ghost, TRADED), (TRADED, ghost)):
        found = instruments(schema.read_listing(body(*both)), ["SLX/USDT"])
        [one] = found.instruments
        assert (one.venue_symbol, one.price_exp, one.status) == ("SLX-USDT", 4, InstrumentStatus.ACTIVE)
        assert found.shadowed == {"SLX/USDT": ["LISTING-SPOT-SLX-USDT"]}
    found = instruments(schema.read_listing(body(ghost)), ["SLX/USDT"])
    assert "only as LISTING-SPOT-SLX-USDT" in found.missing["SLX/USDT"]
    empty = ghost | EMPTY
    found = instruments(schema.read_listing(body(empty, TRADED)), ["SLX/USDT"])
    assert [one.venue_symbol for one in found.instruments] == ["SLX-USDT"]
    assert [*found.skipped] == ["LISTING-SPOT-SLX-USDT"]


def test_a_state_that_is_not_known_is_not_tradable() -> None:
    found = instruments(schema.read_listing(body(TRADED | {"state": "post_only"})), ["SLX/USDT"])
    assert [one.status for one in found.instruments] == [InstrumentStatus.HALTED]
    assert found.skipped == {"SLX-USDT": "its status 'post_only' is not known, so it counts as not tradable"}


def test_a_refused_instrument_type_affects_only_its_symbols() -> None:
    """Kind: of several requests for one listing, one that is refused takes the others along."""

    class Rest:
        async def get(self, endpoint: str, params: Any, *, decoder: Any) -> Any:
            if params["instType"] == "FUTURES":
                raise BadRequest("refused: 51000 Parameter instType error", endpoint=endpoint, method="GET")
            return decoder(body(TRADED))

    rest: Any = Rest()
    found = asyncio.run(VENUE.listing.instruments(rest, ["SLX/USDT", "SLX/USD:SLX-261225"]))
    assert [one.symbol for one in found.instruments] == ["SLX/USDT"]
    assert "51000 Parameter instType error" in found.missing["SLX/USD:SLX-261225"]


def test_instruments_that_cannot_be_carried() -> None:
    [text] = instruments(named(TODAY), ["BTC/USDX:USDT"]).missing.values()
    assert text == "OKX does not list 'BTC/USDX:USDT' (nearest: BTC/USDT:USDT)"
    for changes in ({"tick": "x"}, {"contract": "-1"}, {"contract": "0"}, {"lot": "99999999999999999999"}):
        with pytest.raises(PrecisionError, match="BTC"):
            instrument(msgspec.structs.replace(TODAY, **changes))


def test_the_numbers_of_an_event() -> None:
    assert numbers(PARSER.parse(UPDATE).data) == [
        ("price", "120.66"), ("size", "0"), ("price", "120.67"), ("size", "60.475897"),
    ]  # fmt: skip
    assert [text for _, text in numbers(PARSER.parse(TRADES).data)] == ["42219.9", "12", "42220", "1.5"]
    assert ("size", "7715.62528481") in numbers(PARSER.parse(TICKER).data)
    assert numbers(None) == []
    numbers_of = {name: numbers(PARSER.parse(frame).data) for name, frame in FRAMES.items()}
    assert {name for name, found in numbers_of.items() if not found} == {
        *("alive", "funding", "mark", "index", "liquidation")
    }  # fmt: skip


def test_a_number_that_does_not_fit_widens_the_slot() -> None:
    old = Instrument(
        symbol="BTC/USDT:USDT", venue_symbol="BTC-USDT-SWAP", price_exp=1, size_exp=0, tick=1, lot=1
    )
    new = VENUE.listing.widen(old, BOOKS5, None)  # a size of 57745.25
    assert (new.price_exp, new.size_exp, new.lot) == (1, 2, 100)
    assert VENUE.listing.widen(old, Snapshot(1, [("111.25", "1")], []), None).price_exp == 2
