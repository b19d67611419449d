"""A worker of one venue on its simulated venue, on real sockets in this process: for the tests of what only
that venue does. What every venue must pass is in `tests/conformance`."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

import msgspec

from tests.conformance.live import FAST, Live, run, serving
from tests.instances import mine
from workers.config.venue import VenueConfig, WorkerConfig
from workers.sim import SimVenue
from workers.venues.venue import Venue
from workers.worker.worker import Worker

# On a busy machine a delay is no silence, and no frozen process.
PATIENT = {"heartbeat_limit": 5.0, "stale_after_min": 30.0, "stale_after_max": 30.0}
_count = itertools.count()


def async_test(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Runs an async test on the loop that workers use, for a minute at most."""

    def whole() -> None:
        run(test())

    whole.__name__, whole.__doc__ = test.__name__, test.__doc__
    return whole


@contextlib.asynccontextmanager
async def worker_on(
    sim: SimVenue, venue: Venue, symbols: Sequence[str], **config: Any
) -> AsyncIterator[Live]:
    """A worker of `venue` on a simulated venue that trades only when pumped, attached. `config`: fields of
    `VenueConfig`, over `FAST` and `PATIENT`."""
    async with sim:
        instance = mine(f"{venue.name.replace('_', '-')}-{next(_count)}")
        urls = {"ws_url": sim.ws_url, "rest_url": sim.rest_url, "symbols": list(symbols)}
        made = msgspec.convert({**FAST, **urls, **PATIENT, **config}, VenueConfig)
        worker = Worker(WorkerConfig(instance=instance, feed=venue.name, venue=made), venue)
        async with serving(sim, worker, 60.0) as live:
            yield live
