"""Binance: the machinery of its limits in every market: request weights and order counts in windows.

Market data of a worker is asked for with the priorities SNAPSHOT and BACKGROUND, which leave a reserve of
each window to queries, new orders and cancels (`workers.rest.ratelimit.SHARES`).
But for a sweep of best prices, one request in several seconds, which is a query.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from workers.contract.protocols import HTTPMethod, Priority
from workers.rest.ratelimit import SHARES, Window, WindowLimiter

MINUTE, TEN_SECONDS, DAY = 60.0, 10.0, 86_400.0
# Requests do not all travel equally fast: what we book 10 s apart may arrive closer together.
MARGIN = 0.25  # seconds
# The venue's day begins at midnight UTC; its count of the day before is not believed for a whole day.
DAY_TRUSTED = 3600.0
# Without Retry-After: a 429 ends with the minute; a ban (418) lasts two minutes at least.
COOLDOWN = 60.0
BAN = 120.0

Params = Mapping[str, Any]


def by_size(table: Sequence[tuple[int, int]], size: int) -> int:
    """The weight of what is `size` long, by a table of (up to, weight)."""
    return next((weight for up_to, weight in table if size <= up_to), table[-1][1])


def given(name: str, weight: int, otherwise: int) -> Callable[[Params], int]:
    """The weight of a request that names `name`, and of one that does not."""
    return lambda params: weight if name in params else otherwise


@dataclass(frozen=True)
class Costs:
    """What requests cost in one market.

    Attributes:
        weights: (method, endpoint) -> weight.
        weighed: those whose weight depends on their parameters.
        unknown: of a request that stands in neither.
        orders: (method, endpoint) -> new orders that it places.
    """

    weights: Mapping[tuple[str, str], int]
    weighed: Mapping[tuple[str, str], Callable[[Params], int]]
    unknown: int
    orders: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def count_orders(self, method: HTTPMethod, endpoint: str, params: Params | None) -> int:
        """New orders that a request places."""
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
