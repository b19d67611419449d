"""Mark price, index price and funding of a perpetual swap."""

from __future__ import annotations

from typing import NamedTuple

from workers.sim.market import Market

PERIOD_MS = 8 * 3_600_000
"""Milliseconds between fundings, at 0:00, 8:00 and 16:00 UTC."""
BASE_RATE = 10_000
"""The funding rate of a swap that trades at its index, in units of 1e-8: 0.01 % per period."""
LIMIT = 300_000
"""The highest funding rate in either direction, in units of 1e-8: 0.3 %."""


class Mark(NamedTuple):
    """`mark` price and `spot` (index) price in ticks, funding `rate` in units of 1e-8, next funding in ms."""

    mark: int
    spot: int
    rate: int
    next_ms: int

    @property
    def rate_text(self) -> str:
        """The funding rate as text: ``0.00010000``."""
        sign, (whole, part) = "-" if self.rate < 0 else "", divmod(abs(self.rate), 10**8)
        return f"{sign}{whole}.{part:08d}"


class Funding:
    """Mark price and funding of one market, computed from its book.

    Each call moves the index price an eighth of the way to the middle of the book, since an index of several
    venues moves less than one book. The mark price is the mean of index and middle; the funding rate is the
    base rate plus a tenth of the premium.
    """

    def __init__(self, market: Market) -> None:
        self._market = market
        self._index = float(market.listing.price)

    def at(self, now_ms: int) -> Mark:
        """Mark price and funding at this time; also moves the index price."""
        bid, _, ask, _ = self._market.matcher.top()
        middle = (bid + ask) / 2 if bid and ask else self._index
        self._index += (middle - self._index) / 8
        premium = (middle - self._index) / self._index
        rate = max(-LIMIT, min(LIMIT, BASE_RATE + round(premium * 1e7)))
        mark = max(1, round((middle + self._index) / 2))
        return Mark(mark, max(1, round(self._index)), rate, (now_ms // PERIOD_MS + 1) * PERIOD_MS)
