"""OKX: REST limits, each endpoint's own, and the limiter made of them.

A worker's market data is requested with the priorities SNAPSHOT and BACKGROUND, which leave a reserve of each
window to queries, new orders and cancels (`workers.rest.ratelimit.SHARES`). Only the sweep of best prices,
one request in several seconds, has the priority of a query.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workers.books.tiers import SnapshotTiers
from workers.contract.protocols import HTTPMethod, Priority
from workers.rest.ratelimit import SHARES, Weigh, Window, WindowLimiter
from workers.venues.market import ServerLimit
from workers.venues.okx.connection import BUDGET

PER = 2.0  # seconds of every window below
# Venue docs, "Get order book": `sz` up to 400, any is taken; every request counts as one.
DEPTH_TIERS = SnapshotTiers(((400, 1),))
# Venue docs, each endpoint's "Rate Limit" (2026-07): by address for public data, by account for the rest.
# Those of orders hold for each instrument; counted for all together, our count errs on the safe side. So it
# does with the listing, whose limit holds for each instrument type.
ENDPOINTS: Mapping[tuple[str, str], int] = {
    ("GET", "/api/v5/market/books"): 40,
    ("GET", "/api/v5/market/candles"): 40,
    ("GET", "/api/v5/market/tickers"): 20,
    ("GET", "/api/v5/market/history-candles"): 20,
    ("GET", "/api/v5/public/instruments"): 20,
    ("GET", "/api/v5/public/time"): 10,
    ("POST", "/api/v5/trade/order"): 60,
    ("POST", "/api/v5/trade/cancel-order"): 60,
    ("GET", "/api/v5/trade/order"): 60,
    ("GET", "/api/v5/trade/orders-pending"): 60,
    ("GET", "/api/v5/account/balance"): 10,
}
# The venue's tickers may lag 10 to 30 s behind its books, and have no id that would show it. So as many quiet
# books as these limits allow easily are each compared with a snapshot, which has one; more than that with a
# sweep. A wrong proof by it is bounded by that lag, and by rule 5 of `workers/books/freshness.py`.
SWEEP_INSTEAD_OF = 60
# The smallest of those: an endpoint that is not named shares it with all others that are not.
UNKNOWN = 10
# Requests do not all travel equally fast: two that are sent 2 s apart may arrive closer together.
MARGIN = 0.25  # seconds
COOLDOWN = PER  # after a 429 (code 50011): it has no Retry-After, and the window is as long
MINUTE = 60.0


def _only(method: str, endpoint: str) -> Weigh:
    def weigh(asked: HTTPMethod, path: str, params: Mapping[str, Any] | None) -> int:
        return int(asked.value == method and path == endpoint)

    return weigh


def _unknown(method: HTTPMethod, endpoint: str, params: Mapping[str, Any] | None) -> int:
    return int((method.value, endpoint) not in ENDPOINTS)


def limits(requests_per_minute: int = 3000, *, shares: Mapping[Priority, float] = SHARES) -> WindowLimiter:
    """The limiter of one worker. `requests_per_minute`: what it may spend in all; the venue has no such
    limit."""
    own = [
        Window(
            name=f"{method} {endpoint}", per=PER, limit=limit, weigh=_only(method, endpoint), margin=MARGIN
        )
        for (method, endpoint), limit in ENDPOINTS.items()
    ]
    return WindowLimiter(
        (
            *own,
            Window(name="other endpoints", per=PER, limit=UNKNOWN, weigh=_unknown, margin=MARGIN),
            Window(name="requests a minute", per=MINUTE, limit=requests_per_minute),
        ),
        cooldown=COOLDOWN,
        shares=shares,
    )


def server_limits() -> list[ServerLimit]:
    """The venue's limits as documented; its answers do not have them."""
    return [
        *(
            ServerLimit(f"{method} {endpoint}", limit, PER, False)
            for (method, endpoint), limit in ENDPOINTS.items()
        ),
        ServerLimit("connections", BUDGET.connects, BUDGET.connects_per, False),
        ServerLimit("subscriptions", BUDGET.messages, BUDGET.per, False),
    ]
