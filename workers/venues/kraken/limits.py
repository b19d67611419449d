"""Kraken spot: REST limits. The venue tells none in its answers and few in its documents, so all are options
(`workers/venues/kraken/options.py`)."""

from __future__ import annotations

from workers.contract.protocols import RateLimitContext
from workers.rest.ratelimit import BucketLimiter
from workers.venues.kraken.options import KrakenOptions
from workers.venues.market import ServerLimit

# Books are compared with a sweep however few are due: there are no snapshots to ask for.
SWEEP_INSTEAD_OF = 0


def limits(options: KrakenOptions) -> BucketLimiter:
    """The limiter of one worker: a counter that takes `rest_burst` and forgets `rest_per_second`."""
    return BucketLimiter(
        RateLimitContext(
            requests_per_second=options.rest_per_second,
            burst_capacity=options.rest_burst,
            cooldown_period=options.rest_cooldown,
        )
    )


def server_limits(options: KrakenOptions) -> list[ServerLimit]:
    """What a worker with these options holds itself to; none of it is told by the server."""
    return [
        ServerLimit(
            "requests", options.rest_burst, options.rest_burst / options.rest_per_second, reported=False
        ),
        ServerLimit("connections", options.connects_per_10_minutes, 600.0, reported=False),
        ServerLimit("messages", options.messages_per_second, 1.0, reported=False),
    ]
