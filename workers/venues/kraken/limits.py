"""Kraken spot: REST limits. The venue sends none in its answers and documents few, so all are options
(`workers/venues/kraken/options.py`)."""

from __future__ import annotations

from workers.contract.protocols import RateLimitContext
from workers.rest.ratelimit import BucketLimiter
from workers.venues.kraken.options import KrakenOptions
from workers.venues.market import ServerLimit

# Books are compared with a sweep however few are due: there are no snapshots by REST.
SWEEP_INSTEAD_OF = 0


def limits(options: KrakenOptions) -> BucketLimiter:
    """The limiter of one worker: a counter up to `rest_burst` that decays by `rest_per_second`."""
    return BucketLimiter(
        RateLimitContext(
            requests_per_second=options.rest_per_second,
            burst_capacity=options.rest_burst,
            cooldown_period=options.rest_cooldown,
        )
    )


def server_limits(options: KrakenOptions) -> list[ServerLimit]:
    """The limits that a worker with these options keeps to; the venue reports none."""
    return [
        ServerLimit(
            "requests", options.rest_burst, options.rest_burst / options.rest_per_second, reported=False
        ),
        ServerLimit("connections", options.connects_per_10_minutes, 600.0, reported=False),
        ServerLimit("messages", options.messages_per_second, 1.0, reported=False),
    ]
