"""exchangeInfo -> instruments: exponents with headroom, clear refusals, replacing slots."""

from __future__ import annotations

import asyncio
import gzip
import json
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from shm.instruments import Instrument
from shm.layout import InstrumentKind, InstrumentStatus
from workers.contract.errors import BadRequest
from workers.decode.decimals import INT64_MAX, Verdict, to_mantissa
from workers.rest import RestManager
from workers.venues.binance.names import CURRENCIES
from workers.venues.binance_spot import schema
from workers.venues.binance_spot.instruments import RULES, instrument, instruments, numbers, symbol_of
from workers.venues.binance_spot.venue import SHORT, VENUE
from workers.venues.entries import Entries
from workers.venues.listing import (
    HEADROOM,
    InstrumentError,
    PrecisionError,
    UnknownInstrument,
    level_numbers,
    needed,
    widen,
)

FULL = Path(__file__).resolve().parents[5] / "shared/captures/binance_spot/session.jsonl.gz"


def entry(
    price: tuple[str, str, str] = ("0.01000000", "1000000.00000000", "0.01000000"),
    size: tuple[str, str, str] = ("0.00001000", "9000.00000000", "0.00001000"),
    notional: dict[str, object] | None = None,
    status: str = "TRADING",
) -> schema.SymbolInfo:
    """A symbol in the venue's shape of 2026; (min, max, step)."""
    filters: list[dict[str, object]] = [
        {"filterType": "PRICE_FILTER", "minPrice": price[0], "maxPrice": price[1], "tickSize": price[2]},
        {"filterType": "LOT_SIZE", "minQty": size[0], "maxQty": size[1], "stepSize": size[2]},
        {"filterType": "ICEBERG_PARTS", "limit": 10},
        {"filterType": "MARKET_LOT_SIZE", "minQty": "0.00000000", "maxQty": "87.1", "stepSize": "0.00000000"},
        {"filterType": "TRAILING_DELTA", "minTrailingAboveDelta": 10, "maxTrailingAboveDelta": 2000},
        notional
        or {
            "filterType": "NOTIONAL",
            "minNotional": "5.00000000",
            "applyMinToMarket": True,
            "maxNotional": "9000000.00000000",
            "applyMaxToMarket": False,
            "avgPriceMins": 5,
        },
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
    ]
    shape = {
        "symbol": "BTCUSDT",
        "status": status,
        "baseAsset": "BTC",
        "quoteAsset": "USDT",
        "otoAllowed": True,
        "filters": filters,
        "permissions": [],
        "permissionSets": [["SPOT"]],
    }
    return msgspec.convert(shape, schema.SymbolInfo)


def test_shape_of_2026() -> None:
    assert instrument(entry()) == Instrument(
        symbol="BTC/USDT",
        venue_symbol="BTCUSDT",
        kind=InstrumentKind.SPOT,
        price_exp=2,
        size_exp=5,
        tick=1,
        lot=1,
        min_notional=5,
        notional_exp=0,
        status=InstrumentStatus.ACTIVE,
    )


def test_notional_of_2021_and_none_at_all() -> None:
    old = instrument(entry(notional={"filterType": "MIN_NOTIONAL", "minNotional": "0.00010000"}))
    assert (old.min_notional, old.notional_exp) == (1, 4)
    none = instrument(entry(notional={"filterType": "MAX_POSITION", "maxPosition": "1"}))
    assert (none.min_notional, none.notional_exp) == (0, 0)


@pytest.mark.parametrize("status", ["HALT", "BREAK", "CANCEL_ONLY", "END_OF_DAY", "something new"])
def test_instruments_that_do_not_trade_are_halted(status: str) -> None:
    assert instrument(entry(status=status)).status is InstrumentStatus.HALTED


def test_coarse_lots_get_few_decimals() -> None:
    # SHIB's filter: 4.6e10 with two decimals on the wire, of which the step uses none.
    shib = instrument(entry(size=("1.00", "46116860414.00", "1.00")))
    assert (shib.size_exp, shib.lot) == (0, 1)
    assert instrument(entry(price=("0.50", "1000", "0.50"))).tick == 5


def test_the_finer_of_step_and_smallest_value_counts() -> None:
    assert instrument(entry(price=("0.00100000", "1000.0", "0.01000000"))).price_exp == 3


def test_a_rule_switched_off_leaves_the_wires_decimals_or_fewer() -> None:
    off = "0.00000000"
    assert instrument(entry(price=(off, off, off))).price_exp == 8
    assert instrument(entry(size=(off, "9000.0", off))).size_exp == 8
    large = instrument(entry(size=(off, "92233720368.0", off)))
    assert (large.size_exp, large.lot) == (5, 0)
    assert 92233720368 * 10**large.size_exp * HEADROOM <= INT64_MAX


@pytest.mark.parametrize(
    "size",
    [
        ("0.00000001", "92141578.00000000", "0.00000001"),  # fits: 9.2e15 x 256 < 2^63
        ("0.00000001", "360287970.00000000", "0.00000001"),
    ],
)
def test_headroom_is_just_enough(size: tuple[str, str, str]) -> None:
    assert instrument(entry(size=size)).size_exp == 8


@pytest.mark.parametrize(
    "size",
    [
        ("0.00000001", "360287971.00000000", "0.00000001"),
        ("1", "9" * 30, "1"),
        ("0.1", "1000", "0." + "0" * 30 + "1"),
        ("1", "9000", "9" * 17),
        ("1", "9000", "1e-5"),
    ],
)
def test_numbers_that_do_not_fit_are_refused_with_a_reason(size: tuple[str, str, str]) -> None:
    with pytest.raises(PrecisionError, match="BTC/USDT") as caught:
        instrument(entry(size=size))
    assert isinstance(caught.value, InstrumentError)
    assert "\n" not in str(caught.value)


def test_unknown_symbols_name_the_nearest() -> None:
    info = Entries([("BTCUSDT", entry())], [])
    found = instruments(info, ["BTC/USDT", "BTC/USTD", "QQQ"])
    assert [made.symbol for made in found.instruments] == ["BTC/USDT"]
    assert found.missing == {
        "BTC/USTD": "Binance spot does not list 'BTC/USTD' (nearest: BTC/USDT)",
        "QQQ": "Binance spot does not list 'QQQ'",
    }
    with pytest.raises(UnknownInstrument, match=r"'BTC/USTD' \(nearest: BTC/USDT\); .* 'QQQ'"):
        found.all_instruments()
    assert "nearest: BTC/USDT" in instruments(info, ["btc/usdt"]).missing["btc/usdt"]


def test_the_whole_exchange_of_2021() -> None:
    if not FULL.exists():
        pytest.skip(f"{FULL} is not here")
    with gzip.open(FULL, "rt") as lines:
        info = schema.read_listing(json.loads(next(lines))["text"])
    found = instruments(info, [symbol_of(symbol) for symbol in info.entries])
    made = found.instruments
    assert len(made) == 1695
    assert {} == found.missing == found.skipped == found.shadowed
    by_symbol = {one.symbol: one for one in made}
    names = ("NKN/USDT", "BLZ/ETH", "LRC/BTC", "RUNE/EUR")
    exponents = {name: (by_symbol[name].price_exp, by_symbol[name].size_exp) for name in names}
    assert exponents == {"NKN/USDT": (4, 0), "BLZ/ETH": (8, 0), "LRC/BTC": (8, 0), "RUNE/EUR": (3, 1)}
    for symbol, one in zip(info.entries, made, strict=True):
        assert symbol.symbol == RULES.plain(one.symbol) or symbol.base in CURRENCIES.renamed
        lot, price = symbol.filter("LOT_SIZE"), symbol.filter("PRICE_FILTER")
        assert lot is not None
        assert price is not None
        for text, exponent in ((lot.max_size, one.size_exp), (price.max_price, one.price_exp)):
            assert Decimal(text) * 10**exponent * HEADROOM <= INT64_MAX
        assert to_mantissa(lot.step_size, one.size_exp) == (Verdict.EXACT, one.lot)
        assert to_mantissa(price.tick_size, one.price_exp) == (Verdict.EXACT, one.tick)
        assert one.tick > 0
        assert one.lot > 0
    assert sum(one.status is InstrumentStatus.HALTED for one in made) == 433


# -- replacing slots --------------------------------------------------------------------------------------
def top(bid: str = "1.00", bid_size: str = "1.0") -> schema.BookTicker:
    return schema.BookTicker(update_id=1, symbol="BTCUSDT", bid=bid, bid_size=bid_size, ask="2", ask_size="1")


def test_needed() -> None:
    level = [("0.1250", "1.50")]
    assert needed(numbers(top("1.12500000", "0.50000000"))) == (3, 1)
    assert needed(level_numbers(level, [("1", "0.00000001")])) == (3, 8)
    assert needed(numbers(schema.DepthUpdate(1, "BTCUSDT", 1, 2, level, []))) == (3, 1)
    assert needed(numbers(schema.Trade(1, "BTCUSDT", 1, "1.5", "2.25", 1, True))) == (1, 2)
    assert needed(numbers(schema.Response())) == (0, 0)


def test_widen_takes_what_the_number_needs() -> None:
    old = msgspec.structs.replace(instrument(entry()), index=3, status=InstrumentStatus.SUPERSEDED)
    new = widen(old, numbers(top("57211.12500000")))
    assert (new.price_exp, new.size_exp, new.tick, new.lot) == (3, 5, 10, 1)
    assert (new.index, new.status, new.symbol) == (0, InstrumentStatus.ACTIVE, "BTC/USDT")
    assert widen(old, numbers(top(bid_size="0.00000001"))).size_exp == 8


def test_widen_follows_a_fresh_listing_and_never_narrows() -> None:
    old = instrument(entry())
    finer = instrument(entry(price=("0.00010000", "1000000.0", "0.00010000")))
    assert (
        widen(old, numbers(top("1.125")), finer).price_exp,
        widen(old, numbers(top("1.125")), finer).tick,
    ) == (4, 1)
    coarser = instrument(entry(price=("1.0", "1000000.0", "1.0")))
    new = widen(old, numbers(top("1.125")), coarser)
    assert (new.price_exp, new.tick) == (3, 1000)


def test_widen_refuses_what_cannot_be() -> None:
    old = instrument(entry())
    with pytest.raises(PrecisionError, match=r"BTC/USDT: price 9{19}\.01 does not fit"):
        widen(old, numbers(top("9" * 19 + ".01")))
    with pytest.raises(PrecisionError, match="at most 18"):
        widen(old, numbers(top("0." + "0" * 18 + "1")))
    with pytest.raises(ValueError, match="everything fits"):
        widen(old, numbers(top()))
    with pytest.raises(ValueError, match="not a decimal"):
        widen(old, numbers(top("1e5")))


def test_the_listing_is_requested_without_unused_fields() -> None:
    """`permissionSets` has hundreds of words in each of thousands of entries; to skip them at once holds up
    the loop. A venue of this kind that does not know the parameter refuses it (-1104): asked without."""
    asked: list[Any] = []
    refused: list[str] = []
    body = msgspec.json.encode({"symbols": [msgspec.to_builtins(entry())]})

    async def get(path: str, params: Any = None, *, decoder: Any) -> Any:
        asked.append(params)
        if params and refused:
            raise BadRequest(refused[0], endpoint=path, method="GET")
        return decoder(body)

    rest = cast(RestManager, SimpleNamespace(get=get))
    for _ in range(2):
        found = asyncio.run(VENUE.listing.instruments(rest, ["BTC/USDT"]))
        assert [slot.symbol for slot in found.instruments] == ["BTC/USDT"]
        refused.append("-1104 Not all sent parameters were read")
    assert asked == [SHORT, SHORT, None]
