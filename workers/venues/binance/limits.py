"""Binance: request limits in every market: request weights and order counts in windows of time.

A worker's market data is requested with the priorities SNAPSHOT and BACKGROUND, which leave a reserve of each
window to queries, new orders and cancels (`workers.rest.ratelimit.SHARES`). Only the sweep of best prices,
one request in several seconds, has the priority of a query.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from workers.contract.protocols import HTTPMethod, Priority
from workers.rest.ratelimit import SHARES, Window, WindowLimiter

MINUTE, TEN_SECONDS, DAY = 60.0, 10.0, 86_400.0
# Requests do not all travel equally fast: two that are sent 10 s apart may arrive closer together.
MARGIN = 0.25  # seconds
# The venue's day begins at midnight UTC, so that its count of a day is not valid for a whole day.
DAY_TRUSTED = 3600.0
# Without Retry-After: a 429 ends with the minute; a ban (418) lasts two minutes at least.
COOLDOWN = 60.0
BAN = 120.0

Params = Mapping[str, Any]


def by_size(table: Sequence[tuple[int, int]], size: int) -> int:
    """The weight of a request for `size` entries, by a table of (up to, weight)."""
    return next((weight for up_to, weight in table if size <= up_to), table[-1][1])


def given(name: str, weight: int, otherwise: int) -> Callable[[Params], int]:
    """A function of the parameters: `weight` where `name` is among them, else `otherwise`."""
    return lambda params: weight if name in params else otherwise


@dataclass(frozen=True)
class Costs:
    """The weights and order counts of one market's requests.

    Attributes:
        weights: (method, endpoint) -> weight.
        weighed: (method, endpoint) -> function of the parameters, where the weight depends on them.
        unknown: the weight of a request that is in neither.
        orders: (method, endpoint) -> how many new orders it places.
    """

    weights: Mapping[tuple[str, str], int]
    weighed: Mapping[tuple[str, str], Callable[[Params], int]]
    unknown: int
    orders: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def count_orders(self, method: HTTPMethod, endpoint: str, params: Params | None) -> int:
        """How many new orders a request places."""
        return self.orders.get((method.value, endpoint), 0)


def order_window(
    costs: Costs, name: str, per: float, limit: int, header: str, trusted_for: float | None = None
) -> Window:
    """A limit of new orders. `trusted_for`: see `Window`; such a window is long, and needs no margin."""
    window = Window(name=name, per=per, limit=limit, weigh=costs.count_orders, used_header=header)
    if trusted_for is None:
        return msgspec.structs.replace(window, margin=MARGIN)
    return msgspec.structs.replace(window, trusted_for=trusted_for)


def limiter(
    costs: Costs,
    weight_per_minute: int,
    weight_limit: int,
    orders: Sequence[Window],
    *,
    weights: Mapping[tuple[str, str], int] | None = None,
    shares: Mapping[Priority, float] = SHARES,
) -> WindowLimiter:
    """The limiter of one worker.

    `weight_per_minute`: what this worker may spend; `weight_limit`: what the venue allows the address;
    `weights`: (method, endpoint) -> weight, over those of `costs`; `orders`: the account's windows; `shares`:
    what each priority may fill of each.
    """
    table = {**costs.weights, **(weights or {})}

    def weigh(method: HTTPMethod, endpoint: str, params: Params | None) -> int:
        key = (method.value, endpoint)
        weight = table.get(key)
        if weight is not None:
            return weight
        by_parameters = costs.weighed.get(key)
        return costs.unknown if by_parameters is None else by_parameters(params or {})

    weight = Window(
        name="weight a minute",
        per=MINUTE,
        limit=weight_limit,
        budget=weight_per_minute,
        weigh=weigh,
        used_header="X-MBX-USED-WEIGHT-1M",
        margin=MARGIN,
    )
    return WindowLimiter((weight, *orders), cooldown=COOLDOWN, ban=BAN, shares=shares)
