"""exchangeInfo -> instruments: contracts, exponents of prices, sizes and marks, clear refusals."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shm.instruments import Instrument
from shm.layout import InstrumentKind, InstrumentStatus
from workers.decode.decimals import Verdict, to_mantissa
from workers.venues.binance.instruments import numbers
from workers.venues.binance.parser import BinanceParser
from workers.venues.binance_futures import schema
from workers.venues.binance_futures.instruments import instrument, instruments, plain, symbol_of
from workers.venues.binance_futures.parser import DIALECT
from workers.venues.binance_futures.venue import VENUE
from workers.venues.entries import Entries
from workers.venues.listing import PrecisionError, needed

FULL = Path(__file__).resolve().parents[5] / "shared/captures/binance_futures/session.jsonl.gz"


def entry(
    contract: str = "PERPETUAL", price_most: str = "809484", tick: str = "0.10", **facts: Any
) -> schema.SymbolInfo:
    shape = {
        "symbol": "BTCUSDT",
        "pair": "BTCUSDT",
        "contractType": contract,
        "deliveryDate": 4133404800000,
        "status": "TRADING",
        "baseAsset": "BTC",
        "quoteAsset": "USDT",
        "marginAsset": "USDT",
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "261.10", "maxPrice": price_most, "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "1000", "stepSize": "0.001"},
            {"filterType": "MARKET_LOT_SIZE", "minQty": "0.001", "maxQty": "120", "stepSize": "0.001"},
            {"filterType": "MIN_NOTIONAL", "notional": "100"},
        ],
        **facts,
    }
    return msgspec.convert(shape, schema.SymbolInfo)


def listed(*entries: schema.SymbolInfo) -> Entries[schema.SymbolInfo]:
    return Entries([(each.symbol, each) for each in entries], [])


def test_a_settled_contract_is_not_chosen_for_the_symbol_that_trades() -> None:
    settled = entry(symbol="BTCUSDTSETTLED", status="CLOSE")
    for both in ([settled, entry()], [entry(), settled]):
        listing = instruments(listed(*both), ["BTC/USDT:USDT"])
        [found] = listing.instruments
        assert (found.venue_symbol, found.status) == ("BTCUSDT", InstrumentStatus.ACTIVE)
        assert listing.shadowed == {"BTC/USDT:USDT": ["BTCUSDTSETTLED"]}
    [alone] = instruments(listed(settled), ["BTC/USDT:USDT"]).instruments
    assert alone.status is InstrumentStatus.HALTED


def raw(**changes: Any) -> dict[str, Any]:
    return {**msgspec.to_builtins(entry()), **changes}


def test_an_entry_that_cannot_be_decoded_or_named_affects_no_other() -> None:
    """Kinds: one entry takes others along; an enum's new value is dropped in silence. The first is real."""
    entries = [
        raw(symbol="NEWUSDT", baseAsset="NEW", contractType=None),
        raw(symbol="WEEKUSDT", baseAsset="WEEK", contractType="CURRENT_WEEK"),
        raw(symbol="ODDUSDT", baseAsset="ODD", status=7),
        raw(symbol="BTCUSDT_LATE", contractType="NEXT_QUARTER", deliveryDate=10**18),
        raw(symbol="HALTUSDT", baseAsset="HALT", status="VOLATILITY_HALT"),
        raw(),
    ]
    wanted = [f"{base}/USDT:USDT" for base in ("BTC", "NEW", "WEEK", "ODD", "HALT", "NONE")]
    found = instruments(
        schema.read_listing(msgspec.json.encode({"timezone": "UTC", "symbols": entries})), wanted
    )
    assert [(one.symbol, one.status) for one in found.instruments] == [
        ("BTC/USDT:USDT", InstrumentStatus.ACTIVE), ("HALT/USDT:USDT", InstrumentStatus.HALTED),
    ]  # fmt: skip
    late = found.skipped.pop("BTCUSDT_LATE")
    assert "year" in late
    assert found.skipped == {
        "NEWUSDT": "Expected `str`, got `null` - at `$.contractType`",
        "WEEKUSDT": "contractType 'CURRENT_WEEK' is not known",
        "ODDUSDT": "Expected `str`, got `int` - at `$.status`",
        "HALTUSDT": "its status 'VOLATILITY_HALT' is not known, so it counts as not tradable",
    }
    for base, name in (("NEW", "NEWUSDT"), ("WEEK", "WEEKUSDT"), ("ODD", "ODDUSDT")):
        assert f"its entry {name}: {found.skipped[name]}" in found.missing[f"{base}/USDT:USDT"]
    assert "does not list 'NONE/USDT:USDT'" in found.missing["NONE/USDT:USDT"]


def test_a_perpetual() -> None:
    assert instrument(entry()) == Instrument(
        symbol="BTC/USDT:USDT",
        venue_symbol="BTCUSDT",
        kind=InstrumentKind.PERPETUAL,
        price_exp=1,
        size_exp=3,
        tick=1,
        lot=1,
        min_notional=100,
        notional_exp=0,
        multiplier=1,
        status=InstrumentStatus.ACTIVE,
    )


@pytest.mark.parametrize(
    ("contract", "delivery", "symbol", "kind"),
    [
        ("CURRENT_QUARTER", 1632470400000, "BTC/USDT:USDT-210924", InstrumentKind.FUTURE),
        ("NEXT_QUARTER", 1640332800000, "BTC/USDT:USDT-211224", InstrumentKind.FUTURE),
        ("TRADIFI_PERPETUAL", 4133404800000, "BTC/USDT:USDT", InstrumentKind.PERPETUAL),
    ],
)
def test_contracts(contract: str, delivery: int, symbol: str, kind: InstrumentKind) -> None:
    made = instrument(entry(contract, deliveryDate=delivery))
    assert (made.symbol, made.kind) == (symbol, kind)


def test_the_margin_names_what_is_settled_in() -> None:
    assert symbol_of(entry(quoteAsset="USDC", marginAsset="USDC")) == "BTC/USDC:USDC"


@pytest.mark.parametrize(
    "status", ["PENDING_TRADING", "PRE_DELIVERING", "SETTLING", "CLOSE", "something new"]
)
def test_instruments_that_do_not_trade_are_halted(status: str) -> None:
    assert instrument(entry(status=status)).status is InstrumentStatus.HALTED


def test_prices_have_the_decimals_of_the_tick_and_marks_their_own() -> None:
    made = instrument(entry())
    assert (made.price_exp, made.mark_exp) == (1, 8)
    assert to_mantissa("68005.80802899", made.mark_exp)[0] is Verdict.EXACT
    finer = instrument(entry(tick="0.0000000001", price_most="10"))
    assert (finer.price_exp, finer.tick, finer.mark_exp) == (10, 1, 12)
    # Orders of before the tick became coarser stay in the book.
    coarser = instrument(entry(pricePrecision=5))
    assert (coarser.price_exp, coarser.tick, coarser.mark_exp) == (5, 10_000, 8)
    large = instrument(entry(pricePrecision=5, price_most="900000000000000"))  # no room for five
    assert (large.price_exp, large.tick) == (1, 1)
    assert instrument(entry(pricePrecision=40)).price_exp == 1
    with pytest.raises(PrecisionError, match="BTC/USDT:USDT"):
        instrument(entry(price_most="9" * 18))


def test_unknown_symbols_name_the_nearest_and_what_is_announced_is_not_listed() -> None:
    info = listed(entry(), entry("", baseAsset="BTCST", symbol="BTCSTUSDT", status="PENDING_TRADING"))
    found = instruments(info, ["BTC/USDT:USDT", "BTC/USDT", "BTCST/USDT:USDT"])
    assert [made.symbol for made in found.instruments] == ["BTC/USDT:USDT"]
    venue = "Binance USD-M futures"
    assert found.missing == {
        "BTC/USDT": f"{venue} does not list 'BTC/USDT' (nearest: BTC/USDT:USDT, BTCST/USDT:USDT)",
        "BTCST/USDT:USDT": f"{venue} lists 'BTCST/USDT:USDT' only as BTCSTUSDT: it is announced only "
        "(PENDING_TRADING)",
    }
    assert found.skipped == {}


def test_the_whole_exchange_of_2021() -> None:
    if not FULL.exists():
        pytest.skip(f"{FULL} is not here")
    with gzip.open(FULL, "rt") as lines:
        info = schema.read_listing(json.loads(next(lines))["text"])
    wanted = [symbol_of(entry) for entry in info.entries if entry.contract]
    found = instruments(info, wanted)
    made = found.instruments
    assert {} == found.missing == found.skipped == found.shadowed
    assert all(one.venue_symbol == plain(one.symbol) for one in made)
    assert len(made) == len(set(wanted)) == 121
    assert {one.symbol for one in made if one.kind is InstrumentKind.FUTURE} == {
        "BTC/USDT:USDT-210924",
        "ETH/USDT:USDT-210924",
    }
    assert all(one.price_exp <= 7 and one.tick > 0 and one.lot > 0 for one in made)
    assert {one.min_notional for one in made} == {5}
    assert {one.multiplier for one in made} == {1}


def test_marks_and_liquidations_ask_for_no_new_slot() -> None:
    parse = BinanceParser({}, DIALECT).parse
    mark = b'{"e":"markPriceUpdate","E":1,"s":"BTCUSDT","p":"1.125","i":"1.5","r":"0.1","T":0}'
    force = b'{"e":"forceOrder","E":5,"o":{"s":"BTCUSDT","S":"BUY","ap":"1.25","z":"2.5"}}'
    for frame in (mark, force, b"{}"):
        assert numbers(parse(frame).data) == []
    trade = b'{"e":"aggTrade","E":1,"a":1,"s":"BTCUSDT","p":"1.125","q":"2.5","f":1,"l":1,"T":1,"m":true}'
    assert needed(numbers(parse(trade).data)) == (3, 1)
    wider = VENUE.listing.widen(instrument(entry()), trade, None)
    assert (wider.price_exp, wider.size_exp, wider.tick) == (3, 3, 100)
