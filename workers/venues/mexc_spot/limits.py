"""MEXC spot: REST weights and the limiter made of them.

A worker's market data is requested with the priorities SNAPSHOT and BACKGROUND, which leave a reserve of the
window to queries, new orders and cancels (`workers.rest.ratelimit.SHARES`). Only the sweep of best prices,
one request in several seconds, has the priority of a query.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workers.books.tiers import SnapshotTiers
from workers.contract.protocols import HTTPMethod, Priority
from workers.rest.ratelimit import SHARES, Window, WindowLimiter
from workers.venues.market import ServerLimit

# Venue docs, "General Info" (2026-04): each endpoint by itself may be asked 500 times in 10 s, by address or
# by account. [U] A list of third parties (2026-06) has a weight of 300 in 10 s for all of an address. All
# endpoints are counted together here, and the smaller number is kept to.
TEN_SECONDS = 10.0
DOCUMENTED = 500
WEIGHT_LIMIT = 300
# Requests do not all travel equally fast: two that are sent 10 s apart may arrive closer together.
MARGIN = 0.25  # seconds

# Venue docs, each endpoint's "Weight" (2026-04); a snapshot weighs 1 at any depth.
WEIGHTS: Mapping[tuple[str, str], int] = {
    ("GET", "/api/v3/ping"): 1,
    ("GET", "/api/v3/time"): 1,
    ("GET", "/api/v3/defaultSymbols"): 1,
    ("GET", "/api/v3/exchangeInfo"): 10,
    ("GET", "/api/v3/depth"): 1,
    ("GET", "/api/v3/trades"): 5,
    ("GET", "/api/v3/aggTrades"): 1,
    ("GET", "/api/v3/klines"): 1,
    ("GET", "/api/v3/avgPrice"): 1,
    ("GET", "/api/v3/ticker/bookTicker"): 1,
    ("POST", "/api/v3/order"): 1,
    ("DELETE", "/api/v3/order"): 1,
    ("GET", "/api/v3/order"): 2,
    ("GET", "/api/v3/openOrders"): 3,
    ("GET", "/api/v3/account"): 10,
    ("POST", "/api/v3/userDataStream"): 1,
    ("PUT", "/api/v3/userDataStream"): 1,
}
# Venue docs, "Order Book": `limit` up to 5000, any is taken.
DEPTH_TIERS = SnapshotTiers(((5000, WEIGHTS["GET", "/api/v3/depth"]),))
# The venue's REST answers lag behind its stream. A snapshot's version shows whether it is older than the
# book; the best prices have none. So as many quiet books as our share of the limits allows easily are each
# compared with a snapshot; more than that with a sweep. A wrong proof by it is bounded by rule 5 of
# `workers/books/freshness.py`.
SWEEP_INSTEAD_OF = 30
# Without a symbol the statistics of all weigh 40; no other endpoint weighs more.
STATISTICS = ("GET", "/api/v3/ticker/24hr")
UNKNOWN_WEIGHT = 40

# Without Retry-After: a 429 ends with the window. Docs: bans "scale in duration, from 2 minutes to 3 days".
COOLDOWN = 10.0
BAN = 120.0


class MexcSpotLimiter(WindowLimiter):
    """A window limiter for which 403 (the venue's firewall) is a ban, as 418 is elsewhere."""

    def observe(self, status: int, headers: Mapping[str, str], now: float, sent: float | None = None) -> None:
        super().observe(418 if status == 403 else status, headers, now, sent)


def limits(
    weight_per_minute: int = 3 * WEIGHT_LIMIT,
    *,
    weight_limit: int = WEIGHT_LIMIT,
    shares: Mapping[Priority, float] = SHARES,
) -> MexcSpotLimiter:
    """The limiter of one worker.

    `weight_per_minute`: what this worker may spend, a sixth of it in 10 s; `weight_limit`: what the venue
    allows the address in 10 s; `shares`: what each priority may fill of that.
    """

    def weigh(method: HTTPMethod, endpoint: str, params: Mapping[str, Any] | None) -> int:
        key = (method.value, endpoint)
        if key == STATISTICS and "symbol" in (params or {}):
            return 1
        return WEIGHTS.get(key, UNKNOWN_WEIGHT)

    return MexcSpotLimiter(
        (
            Window(
                name="weight in 10 s",
                per=TEN_SECONDS,
                limit=weight_limit,
                budget=min(weight_limit, max(UNKNOWN_WEIGHT, weight_per_minute // 6)),
                weigh=weigh,
                margin=MARGIN,
            ),
        ),
        cooldown=COOLDOWN,
        ban=BAN,
        shares=shares,
    )


def server_limits() -> list[ServerLimit]:
    """The documented limits: the venue's answers have no such headers, and `rateLimits` of exchangeInfo is
    empty."""
    return [ServerLimit("weight", DOCUMENTED, TEN_SECONDS, reported=False)]
