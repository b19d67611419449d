"""The worker's start and end, in this process: what it leaves behind when it cannot work."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.instances import mine
from workers.config.venue import VenueConfig, WorkerConfig
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
