"""What REST lists, with entries that are not as documented among it."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from tests.conformance.fixture import Listed, Named, load
from tests.conformance.player import config
from tests.conformance.report import Case, row
from tests.workers.rest.rest_kit import Answer, virtual
from tests.workers.rest.rest_kit import Venue as Server
from workers.contract.errors import ParseError
from workers.rest import RestManager
from workers.venues import venue as venues
from workers.venues.entries import TURN
from workers.venues.listing import Listing

DELETED = object()
# Contracts with a date: canonical symbol, entry as the venues list it.
CONTRACTS: dict[str, tuple[str, Named]] = {
    "binance_futures": (
        "BTC/USDT:USDT-260925",
        load("binance_futures").listing.entry("BTC/USDT:USDT"),
    ),
    "okx": ("BTC/USD:BTC-260925", load("okx").listing.entry("BTC/USDT")),
}
CONTRACTS["binance_futures"][1][1].update(
    symbol="BTCUSDT_260925", contractType="CURRENT_QUARTER", deliveryDate=1790323200000
)
CONTRACTS["okx"][1][1].update(
    instType="FUTURES", instId="BTC-USD-260925", uly="BTC-USD", baseCcy="", quoteCcy="", settleCcy="BTC",
    ctVal="100", ctMult="1", tickSz="0.1", lotSz="1", minSz="1",
)  # fmt: skip
NONSENSE = (DELETED, None, "", "?", -1, 10**30, 0.5, True, [], [None], {}, {"x": 1})


def answered(case: Case, entries: Sequence[tuple[str, Any]], symbols: Sequence[str]) -> Listing:
    """What the venue makes of a listing of these entries."""
    server = Server()
    server.then = Answer(200, case.fixture.listing.body(entries))

    async def main() -> Listing:
        loop = asyncio.get_running_loop()
        rest = RestManager(
            case.venue.rest.strategies(config(case.fixture, rest_url="http://venue")),
            clients=server.client,
            clock=loop.time,
            sleep=asyncio.sleep,
            wall=lambda: 1.79e9 + loop.time(),
        )
        try:
            return await case.venue.listing.instruments(rest, symbols)
        finally:
            await rest.close()

    found: Listing = virtual(main())
    return found


def damaged(entry: Named) -> Iterator[tuple[str, Any]]:
    """An entry with each of its values replaced by what it should not be, and whole ones that are none."""
    name, facts = entry
    for whole in NONSENSE[1:]:
        yield name, whole
    for key in facts:
        for value in NONSENSE:
            changed = copy.deepcopy(facts)
            if value is DELETED:
                del changed[key]
            else:
                changed[key] = value
            yield name, changed


@row(23, "One bad entry in the listing, of every key: no other symbol is missing or other than before")
def test_a_bad_entry_costs_no_other_symbol(case: Case) -> None:
    """Kind: one entry takes others along."""
    listed = case.fixture.listing
    own, *others = case.fixture.symbols
    before = answered(case, [listed.entry(symbol) for symbol in case.fixture.symbols], case.fixture.symbols)
    assert [one.symbol for one in before.instruments] == list(case.fixture.symbols)
    assert {} == before.missing == before.skipped == before.shadowed
    wanted = {one.symbol: one for one in before.instruments if one.symbol != own}
    entries = list(damaged(listed.entry(own)))
    bad = 0
    for entry in entries:
        first, last = (listed.entry(symbol) for symbol in others)
        found = answered(case, [first, entry, last], case.fixture.symbols)
        carried = {one.symbol: one for one in found.instruments}
        assert {symbol: one for symbol, one in carried.items() if symbol != own} == wanted, entry
        assert (own in carried) != (own in found.missing), entry
        assert set(found.missing) <= {own}
        bad += own not in carried
    assert bad > 10
    case.figure = f"{len(entries):,}/{len(entries):,}"


# The values that a missing field has; a field that is there has its own.
LOST: tuple[Any, ...] = (DELETED, None, "", -1, [], {})


@pytest.mark.parametrize("feed", venues.names())
def test_an_entry_without_a_field_does_not_delist_its_symbol(feed: str) -> None:
    """Kind: a missing field taken for a delisting. Kraken's `wsname`, USD-M's `deliveryDate`, a name that is
    not there: such an entry was ignored, or was taken for another symbol's, and its symbol was delisted."""
    case = Case(load(feed), venues.load(feed))
    listed = case.fixture.listing
    own, *others = case.fixture.symbols
    first, last = (listed.entry(symbol) for symbol in others)
    wanted = [(own, listed.entry(own)), *([CONTRACTS[feed]] if feed in CONTRACTS else [])]
    for symbol, (name, facts) in wanted:
        for key in facts:
            for value in LOST:
                changed = {**facts, key: value}
                if value is DELETED:
                    del changed[key]
                found = answered(case, [first, (name, changed), last], [symbol, *others])
                carried = [one.symbol for one in found.instruments]
                assert symbol in (set(carried) | found.unsure), (key, value, found.missing)
                assert set(others) <= set(carried)


class Rest:
    """Answers with one body, at once."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    async def get(self, path: str, params: Any = None, *, decoder: Callable[[bytes], Any]) -> Any:
        return decoder(self.body)


@pytest.mark.parametrize("feed", venues.names())
def test_a_long_listing_does_not_hold_up_the_loop(feed: str) -> None:
    """Kind: megabytes decoded at once in the loop that receives market data. Thousands of entries are read in
    turns, in every venue; what is due in the loop comes in between."""
    fixture, venue = load(feed), venues.load(feed)
    own, *_ = fixture.symbols
    name, facts = fixture.listing.entry(own)
    strangers = [(f"{name}:{n}", facts) for n in range(10 * TURN)]  # of one name, but where the key is it
    body = fixture.listing.body([(name, facts), *strangers])
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def main() -> Listing:
        task = asyncio.ensure_future(others())
        found = await venue.listing.instruments(cast(RestManager, Rest(body)), [own])
        task.cancel()
        return found

    found = asyncio.run(main())
    assert [one.symbol for one in found.instruments] == [own]
    assert turns > 10


@row(24, "Two entries of one symbol: the one that trades under its plain name is chosen, in any order")
def test_one_of_two_entries_stands_for_the_symbol(case: Case) -> None:
    """Kind: the last of several things of one name wins."""
    symbol, plain, ghost = case.fixture.listing.twins
    [wanted] = answered(case, [plain], [symbol]).instruments
    for entries in ((plain, ghost), (ghost, plain)):
        found = answered(case, entries, [symbol])
        assert found.instruments == [wanted]
        assert found.shadowed == {symbol: [ghost[0]]}
        assert {} == found.missing == found.skipped
    assert ghost[0] != wanted.venue_symbol


# -- negative controls --------------------------------------------------------------------------------------
def test_a_listing_that_is_all_or_nothing_is_noticed() -> None:
    """Negative control of row 23: what holds the entries is damaged with one of them."""
    fixture = load("binance_spot")
    good = fixture.listing
    broken = Listed(lambda entries: good.body(entries)[:-2] + b"}}", good.entry, good.twins)
    case = Case(replace(fixture, listing=broken), venues.load("binance_spot"))
    with pytest.raises(ParseError):
        test_a_bad_entry_costs_no_other_symbol(case)
