"""A venue's codes of currencies are ccxt's, for its unified symbols are what ours promise to be.

Kind: a currency that the venue calls otherwise than ccxt does is carried under a name that is another
currency's elsewhere. Kraken's LUNA (ccxt's LUNC) was one; so were YOYO at Binance, AE at OKX, and what each
of them calls BCHSV or XBT.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import pytest

from workers.venues.entries import Entries
from workers.venues.kraken import schema as kraken
from workers.venues.kraken.instruments import instruments
from workers.venues.kraken.names import unified
from workers.venues.venue import names

THEIRS = {
    "binance_futures": "binanceusdm",
    "binance_spot": "binance",
    "kraken": "kraken",
    "mexc_spot": "mexc",
    "okx": "okx",
}
PLAIN = ("BTC", "ETH", "USDT", "USD", "EUR", "DOGE", "LUNC", "SOL", "1INCH", "1000SHIB", "REPV1", "aaplx")


@pytest.fixture(scope="module")
def ccxt() -> ModuleType:
    try:
        return importlib.import_module("ccxt")
    except ImportError as error:
        pytest.skip(f"ccxt cannot be imported here, so its codes cannot be compared: {error}")


def rules_of(venue: str) -> Any:
    return importlib.import_module(f"workers.venues.{venue}.instruments").RULES


def renamed(venue: str) -> dict[str, str]:
    folder = "binance" if venue.startswith("binance") else venue
    found: dict[str, str] = importlib.import_module(f"workers.venues.{folder}.names").CURRENCIES.renamed
    return found


def test_every_venue_is_compared() -> None:
    assert sorted(THEIRS) == names()


@pytest.mark.parametrize("venue", THEIRS)
def test_the_codes_are_ccxts(venue: str, ccxt: ModuleType) -> None:
    theirs = getattr(ccxt, THEIRS[venue])()
    differing = {code: name for code, name in theirs.commonCurrencies.items() if code != name}
    if venue == "kraken":
        # What AssetPairs has as `base` and `quote` (XXBT, ZUSD) never stands in a pair's `wsname`.
        differing = {
            code: name for code, name in differing.items() if code[0] not in "XZ" or code in ("XBT", "XDG")
        }
    assert renamed(venue) == differing
    for code in (*differing, *differing.values(), *PLAIN):
        assert rules_of(venue).unified(code) == theirs.safe_currency_code(code), code


def test_dots_in_kraken_s_codes(ccxt: ModuleType) -> None:
    theirs = ccxt.kraken()
    for code in ("BRK.Bx", "XBT.M", "LUNA.S", "ETH2.S"):
        assert unified(code) == theirs.safe_currency_code(code)


@pytest.mark.parametrize("venue", THEIRS)
def test_no_two_codes_become_one(venue: str) -> None:
    """But for the older spellings of one asset, which no venue lists beside the new one."""
    found = renamed(venue)
    assert len(set(found.values())) == len(found)


@pytest.mark.parametrize(
    ("wsname", "canonical", "stream"),
    [
        ("LUNA/EUR", "LUNC/EUR", "LUNA/EUR"),
        ("LUNA2/EUR", "LUNA/EUR", "LUNA2/EUR"),
        ("REPV2/XBT", "REP/BTC", "REPV2/BTC"),
        ("XBT/UST", "BTC/USTC", "BTC/UST"),
        ("AAPLx/USD", "AAPLX/USD", "AAPLx/USD"),
    ],
)
def test_subscriptions_have_the_venues_name(wsname: str, canonical: str, stream: str) -> None:
    pairs = {
        name: kraken.Pair(pair_decimals=4 if name == wsname else 1, lot_decimals=8, wsname=name)
        for name in ("LUNA/EUR", "LUNA2/EUR", "REP/XBT", wsname)
    }
    [slot] = instruments(Entries([*pairs.items()], []), [canonical]).instruments
    assert (slot.symbol, slot.venue_symbol, slot.price_exp) == (canonical, stream, 4)
