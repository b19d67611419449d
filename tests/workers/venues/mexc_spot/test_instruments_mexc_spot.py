"""exchangeInfo -> slots; the numbers of events; when a slot needs a successor."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shm.layout import InstrumentKind, InstrumentStatus
from workers.books.sync import Snapshot
from workers.sim.mexc_spot import payloads
from workers.venues.entries import Entries
from workers.venues.mexc_spot import schema
from workers.venues.mexc_spot.instruments import instrument, instruments, numbers, power
from workers.venues.mexc_spot.names import CURRENCIES
from workers.venues.mexc_spot.venue import VENUE

# The entry of the venue's docs (2026-04), word for word but for the symbol.
DOCUMENTED = {
    "symbol": "METALUSDT", "status": "1", "baseAsset": "METAL", "baseAssetPrecision": 2,
    "quoteAsset": "USDT", "quotePrecision": 5, "quoteAssetPrecision": 5, "baseCommissionPrecision": 2,
    "quoteCommissionPrecision": 5, "orderTypes": ["LIMIT", "MARKET", "LIMIT_MAKER"],
    "isSpotTradingAllowed": True, "isMarginTradingAllowed": False, "quoteAmountPrecision": "1",
    "baseSizePrecision": "0.1", "permissions": ["SPOT"],
    "filters": [{"filterType": "PERCENT_PRICE_BY_SIDE", "bidMultiplierUp": "5", "askMultiplierDown": "0.2"}],
    "maxQuoteAmount": "2000000", "makerCommission": "0", "takerCommission": "0.0005",
    "quoteAmountPrecisionMarket": "1", "maxQuoteAmountMarket": "100000", "fullName": "Metal Blockchain",
    "tradeSideType": "1", "contractAddress": "xtokens", "st": False,
}  # fmt: skip


def info(*changes: dict[str, Any]) -> Entries[schema.SymbolInfo]:
    body = {"timezone": "CST", "symbols": [{**DOCUMENTED, **each} for each in changes]}
    return schema.read_listing(json.dumps(body).encode())


def test_the_documented_entry() -> None:
    [slot] = instruments(info({}), ["METAL/USDT"]).instruments
    assert (slot.symbol, slot.venue_symbol, slot.kind) == ("METAL/USDT", "METALUSDT", InstrumentKind.SPOT)
    assert (slot.price_exp, slot.size_exp) == (5, 2)
    assert (slot.tick, slot.lot) == (1, 1)  # 0.00001, 0.01; 0.1 is the smallest order
    assert (slot.min_notional, slot.notional_exp) == (1, 0)
    assert slot.status is InstrumentStatus.ACTIVE


def test_sizes() -> None:
    """The step of sizes is that of their decimals; `baseSizePrecision` is the smallest order. BTC trades with
    eight decimals, and is ordered from 0.000001 on; ALEPH from 5.00 on, in steps of 0.01. Kind: a limit of
    orders taken for a step. (Binance and OKX list both, and Kraken's `ordermin` is not read.)"""
    aleph = instrument(info({"baseAssetPrecision": 2, "baseSizePrecision": "5.00"}).entries[0])
    assert (aleph.size_exp, aleph.lot) == (2, 1)
    btc = instrument(info({"baseAssetPrecision": 8, "baseSizePrecision": "0.000001"}).entries[0])
    assert (btc.size_exp, btc.lot) == (8, 1)
    finer = instrument(info({"baseAssetPrecision": 0, "baseSizePrecision": "0.001"}).entries[0])
    assert (finer.size_exp, finer.lot) == (3, 1000)
    free = instrument(info({"baseSizePrecision": "0"}).entries[0])
    assert (free.size_exp, free.lot) == (2, 1)
    assert (power(0), power(1), power(12)) == ("1", "0.1", "0.000000000001")


def test_a_venue_name_of_two_symbols_belongs_to_the_one_with_that_plain_name() -> None:
    """BIFI is called BIFIF elsewhere: were there a BIFIF too, its prices would be another asset's."""
    aliased = {"symbol": "BIFIUSDT", "baseAsset": "BIFI"}
    plain = {"symbol": "BIFIFUSDT", "baseAsset": "BIFIF"}
    for both in ((aliased, plain), (plain, aliased)):
        found = instruments(info(*both, {}), ["BIFIF/USDT", "METAL/USDT"])
        assert [slot.venue_symbol for slot in found.instruments] == ["BIFIFUSDT", "METALUSDT"]
        assert found.shadowed == {"BIFIF/USDT": ["BIFIUSDT"]}
    for ended, traded in ((aliased, plain), (plain, aliased)):
        for both in ((ended | {"status": "3"}, traded), (traded, ended | {"status": "3"})):
            [slot] = instruments(info(*both), ["BIFIF/USDT"]).instruments
            assert slot.venue_symbol == traded["symbol"]


def test_states() -> None:
    for status, ours in (
        ("1", InstrumentStatus.ACTIVE),
        (1, InstrumentStatus.ACTIVE),
        ("ENABLED", InstrumentStatus.ACTIVE),
        ("2", InstrumentStatus.HALTED),
        ("3", InstrumentStatus.HALTED),
    ):
        assert instrument(info({"status": status}).entries[0]).status is ours


@pytest.mark.parametrize(
    ("facts", "trades"),
    [
        ({"isSpotTradingAllowed": False}, False),
        ({"isSpotTradingAllowed": "false"}, False),
        ({"isSpotTradingAllowed": False, "status": "ENABLED"}, False),  # BTCUSDT in 2023
        ({"tradeSideType": 4}, False),
        ({"tradeSideType": "4"}, False),
        ({"isSpotTradingAllowed": True, "status": "2"}, False),
        ({"isSpotTradingAllowed": False, "status": "auction"}, False),
        ({"tradeSideType": "2"}, True),  # orders are matched
        ({"isSpotTradingAllowed": None, "tradeSideType": None}, True),
    ],
)
def test_symbols_that_the_api_does_not_trade_are_halted(facts: dict[str, Any], trades: bool) -> None:
    """Kind: one field of several that forbid orders is read. The venue refuses them with 10007, with a status
    of 1 and streams that go on: delivered and not tradable, which is HALTED."""
    found = instruments(info(facts), ["METAL/USDT"])
    [slot] = found.instruments
    assert slot.status is (InstrumentStatus.ACTIVE if trades else InstrumentStatus.HALTED)
    assert bool(found.skipped) is (facts.get("status") == "auction"), "known, but for an unknown status"


def test_without_the_fields_the_status_decides() -> None:
    less = {
        key: value
        for key, value in DOCUMENTED.items()
        if key not in ("isSpotTradingAllowed", "tradeSideType")
    }
    [entry] = schema.read_listing(json.dumps({"symbols": [less]}).encode()).entries
    assert instrument(entry).status is InstrumentStatus.ACTIVE


def test_an_entry_with_other_types_or_missing_fields_affects_no_other() -> None:
    """Docs have `tradeSideType` as text and as a number; the listing is one answer for all symbols."""
    odd = {"symbol": "ODDUSDT", "baseAsset": "ODD", "quotePrecision": "3", "baseSizePrecision": None}
    slots = instruments(info({}, odd), ["METAL/USDT", "ODD/USDT"]).instruments
    assert [(slot.price_exp, slot.size_exp, slot.lot) for slot in slots] == [(5, 2, 1), (3, 2, 1)]


def test_assets_with_other_codes_at_the_venue() -> None:
    """``GAS`` there is GASDAO, and what others call GAS is ``GASNEO``; two may have changed places."""
    pairs = {"GAS": "GASDAO", "GASNEO": "GAS", "FLUX": "FLUX1", "FLUX1": "FLUX", "STEPN": "GMT"}
    listed = info(*({"symbol": f"{base}USDT", "baseAsset": base} for base in pairs))
    wanted = [f"{ours}/USDT" for ours in pairs.values()]
    slots = instruments(listed, wanted).instruments
    assert [slot.venue_symbol for slot in slots] == [f"{base}USDT" for base in pairs]
    assert [slot.symbol for slot in slots] == wanted
    assert len(set(CURRENCIES.renamed.values())) == len(CURRENCIES.renamed)


def test_symbols_that_are_not_listed() -> None:
    assert instruments(info({}), ["METAL/USD"]).missing == {
        "METAL/USD": "MEXC spot does not list 'METAL/USD' (nearest: METAL/USDT)"
    }


@pytest.mark.parametrize(
    "change",
    [
        {"quotePrecision": 19},
        {"baseAssetPrecision": 40},
        {"baseSizePrecision": "1e-8"},
        {"quoteAmountPrecision": "-1"},
    ],
)
def test_numbers_that_fit_no_slot(change: dict[str, Any]) -> None:
    found = instruments(info(change, {"symbol": "XUSDT", "baseAsset": "X"}), ["METAL/USDT", "X/USDT"])
    assert [slot.symbol for slot in found.instruments] == ["X/USDT"]
    assert found.missing["METAL/USDT"].startswith("METAL/USDT: ")


def test_a_number_that_is_finer_than_listed_widens_the_slot() -> None:
    [slot] = instruments(info({}), ["METAL/USDT"]).instruments
    each = [payloads.deal("1", "1", False, 1, "a"), payloads.deal("1.0000001", "2.1234", True, 1, "b")]
    for body, number, exponents in (
        (payloads.deals("", each), payloads.DEALS, (7, 4)),
        (payloads.book_ticker(("", ""), ("1.0000001", "1"), 1), payloads.BOOK_TICKER, (7, 2)),
        (payloads.depths("", 1, 1, [("1", "2.123")], []), payloads.DEPTHS, (5, 3)),
        (payloads.mini_ticker("", "1", "", "1.000001", "", "0.1", "2.12345"), payloads.MINI_TICKER, (6, 5)),
    ):
        frame = payloads.wrapper("", "METALUSDT", 1, number, body)
        wider = VENUE.listing.widen(slot, frame, None)
        assert (wider.price_exp, wider.size_exp) == exponents
        assert wider.lot * 10**-wider.size_exp == pytest.approx(0.01)
    wider = VENUE.listing.widen(slot, Snapshot(1, [("1.123456", "1")], []), None)
    assert (wider.price_exp, wider.size_exp) == (6, 2)


def test_numbers_of_what_has_none() -> None:
    assert numbers(None) == numbers(schema.Malformed("x")) == numbers([]) == []
