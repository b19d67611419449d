"""Binance spot: REST weights and the limiter made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workers.ratelimit import WeightLimiter
from workers.strategies import HTTPMethod

# Venue docs, changelog: 6000 weight a minute and address; this worker's share of it is configured.
WEIGHT_LIMIT = 6000
WINDOW = 60.0  # seconds
USED_HEADER = "X-MBX-USED-WEIGHT-1M"

# Venue docs, GET /api/v3/depth: weight by the `limit` asked for (up to, weight).
DEPTH_WEIGHTS = ((100, 5), (500, 25), (1000, 50), (5000, 250))
DEPTH_DEFAULT = 100

# Not confirmed by a document at hand: defaults, each can be replaced (argument `weights`).
ASSUMED_WEIGHTS: Mapping[tuple[str, str], int] = {
    ("GET", "/api/v3/exchangeInfo"): 20,
    ("GET", "/api/v3/klines"): 2,
    ("GET", "/api/v3/time"): 1,
    ("GET", "/api/v3/account"): 20,
    ("GET", "/api/v3/openOrders"): 80,
}
# Dearer than any unknown read is likely to be: an overestimate only slows, an underestimate bans.
UNKNOWN_WEIGHT = 20

# Without Retry-After: a 429 ends with the minute; a ban (418) lasts two minutes at least.
COOLDOWN = 60.0
BAN = 120.0


def depth_weight(limit: int) -> int:
    """Weight of a depth snapshot of `limit` levels a side."""
    for up_to, weight in DEPTH_WEIGHTS:
        if limit <= up_to:
            return weight
    return DEPTH_WEIGHTS[-1][1]


def limits(
    weight_per_minute: int = WEIGHT_LIMIT // 2,
    *,
    weights: Mapping[tuple[str, str], int] | None = None,
    weight_limit: int = WEIGHT_LIMIT,
) -> WeightLimiter:
    """The limiter of one worker.

    `weight_per_minute`: what this worker may spend; `weight_limit`: what the venue allows the address;
    `weights`: (method, endpoint) -> weight, over the defaults.
    """
    table = {**ASSUMED_WEIGHTS, **(weights or {})}

    def weigh(method: HTTPMethod, endpoint: str, params: Mapping[str, Any] | None) -> int:
        key = (method.value, endpoint)
        if endpoint == "/api/v3/depth" and key not in table:
            return depth_weight(int((params or {}).get("limit", DEPTH_DEFAULT)))
        return table.get(key, UNKNOWN_WEIGHT)

    return WeightLimiter(
        weight_per_minute,
        weigh,
        limit=weight_limit,
        per=WINDOW,
        used_header=USED_HEADER,
        cooldown=COOLDOWN,
        ban=BAN,
    )
