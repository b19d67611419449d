"""The worker's start and end, in this process: what it leaves behind when it cannot work."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shm import Scope
from tests.instances import mine
from workers.config.venue import VenueConfig, WorkerConfig
from workers.decode.normal import Scale
from workers.venues.binance_spot.venue import VENUE
from workers.worker.worker import Worker


def worker(**keys: Any) -> Worker:
    config = VenueConfig(
        ws_url="ws://127.0.0.1:1",
        rest_url="http://127.0.0.1:1",
        symbols=["BTC/USDT"],
        ring_slots=1024,
        **keys,
    )
    return Worker(WorkerConfig(instance=mine("life"), feed="binance_spot", venue=config), VENUE)


def left_behind() -> list[str]:
    return [path.name for path in Path("/dev/shm").glob(f"tickring.{mine('life')}*")]


def test_keys_that_cannot_work_are_one_error_and_leave_nothing() -> None:
    with pytest.raises(ValueError, match="snapshot_limit = 5 cannot fill a window of depth = 20"):
        asyncio.run(worker(snapshot_limit=5).run())
    assert left_behind() == []


def test_only_the_books_of_what_is_missed_are_void_and_only_the_silent_stream_is_refreshed() -> None:
    """The trades of a symbol whose top is silent are healthy: a new subscription would be a hole in them."""
    each = worker()
    void: list[list[int]] = []
    refreshed: list[tuple[object, ...]] = []
    instrument = SimpleNamespace(symbol="BTC/USDT")
    each.publisher = SimpleNamespace(  # type: ignore[assignment]
        invalidate_without_ids=void.append, top_from_book=lambda index: False
    )
    each.writer = SimpleNamespace(instrument={3: instrument}.__getitem__)  # type: ignore[assignment]
    each._manager = SimpleNamespace(refresh=lambda *what: refreshed.append(what))  # type: ignore[assignment]
    each._venue_symbols = {"BTC/USDT": "BTCUSDT", "ETH/USDT": "ETHUSDT"}
    each._scales = {"BTCUSDT": Scale(3, -2, -5), "ETHUSDT": Scale(4, -2, -5)}
    each._missed([("BTC/USDT", "book"), ("ETH/USDT", "trades"), ("NO/SUCH", "book")])
    assert void == [[3]]
    each._missed([("ETH/USDT", "top")])
    assert void == [[3]]
    each._silent(3, Scope.TOP)
    assert (void, refreshed) == ([[3]], [(["BTC/USDT"], ["top"])])
    each._silent(3, Scope.BOOK)
    assert (void, refreshed[1:]) == ([[3], [3]], [(["BTC/USDT"], ("book",))])
