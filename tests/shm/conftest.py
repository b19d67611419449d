"""Fixtures of shared memory: a writer that needs no beating, and small rings that lap soon."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from shm.instruments import Instrument
from shm.layout import Geometry
from shm.segment import open_writer
from shm.writer import Writer

# The smallest ring: one update of depth 1 may be 6 records, so 16 slots.
TINY = Geometry(slots=16, instruments=4, depth=1, events=8)


@pytest.fixture
def tiny() -> Geometry:
    return TINY


@pytest.fixture
def make(instance: str) -> Iterator[Callable[..., Writer]]:
    """Opens writers of this test's instance; a heartbeat lasts an hour unless told otherwise."""
    made: list[Writer] = []

    def make(feed: str = "feed", geometry: Geometry = TINY, heartbeat_limit: float = 3600.0) -> Writer:
        writer = open_writer(instance, feed, geometry, heartbeat_limit)
        made.append(writer)
        return writer

    yield make
    for writer in made:
        writer.close()


@pytest.fixture
def instrument() -> Callable[..., Instrument]:
    def instrument(symbol: str = "BTC/USDT", **fields: Any) -> Instrument:
        return Instrument(
            **{"symbol": symbol, "venue_symbol": symbol.replace("/", ""), "price_exp": 2, "size_exp": 5}
            | fields
        )

    return instrument


@pytest.fixture
def writer(make: Callable[..., Writer], instrument: Callable[..., Instrument]) -> Writer:
    """A writer with BTC/USDT in slot 0 and ETH/USDT in slot 1."""
    writer = make()
    writer.add_instrument(instrument("BTC/USDT"))
    writer.add_instrument(instrument("ETH/USDT"))
    return writer
