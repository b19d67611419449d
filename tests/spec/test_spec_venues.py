"""SPEC 5, venues: an exchange is made in the words of the specification, for every venue that there is.

row                                                     | test
--------------------------------------------------------+--------------------------------------------
create_public_exchange(exchange_name, symbols), awaited | test_5_an_awaited_public_exchange_is_open
... as a context                                        | test_5_a_public_exchange_is_a_context
symbols are Symbol(base, quote)                         | test_5_an_awaited_public_exchange_is_open
"""

from __future__ import annotations

import asyncio
import sys

import pytest
from spec_kit import check_table

from workers.contract.protocols import Symbol
from workers.exchange.factory import TransportFactory
from workers.sim import SimVenue
from workers.sim.dialects import dialect
from workers.venues.venue import names

VENUES = sorted(names())


def test_the_table_is_complete() -> None:
    check_table(sys.modules[__name__], "5")


@pytest.mark.parametrize("venue", VENUES)
def test_5_an_awaited_public_exchange_is_open(venue: str) -> None:
    async def use() -> None:
        symbol = dialect(venue).default_symbols[0]
        async with SimVenue(venue) as sim:
            urls = {"ws_url": sim.ws_url, "rest_url": sim.rest_url}
            exchange = await TransportFactory.create_public_exchange(
                exchange_name=venue, symbols=[Symbol.parse(symbol)], **urls
            )
            try:
                assert [made.symbol for made in await exchange.instruments()] == [symbol]
            finally:
                await exchange.close()

    asyncio.run(use())


@pytest.mark.parametrize("venue", VENUES)
def test_5_a_public_exchange_is_a_context(venue: str) -> None:
    async def use() -> None:
        symbol = dialect(venue).default_symbols[0]
        async with SimVenue(venue) as sim:
            made = TransportFactory.create_public_exchange(
                exchange_name=venue, symbols=[symbol], ws_url=sim.ws_url, rest_url=sim.rest_url
            )
            async with made as exchange:
                assert [listed.symbol for listed in await exchange.instruments()] == [symbol]

    asyncio.run(use())
