"""What a perpetual swap has beside its book: mark price, index price, funding rate and the next funding."""

from __future__ import annotations

from typing import NamedTuple

from workers.sim.market import Market

PERIOD_MS = 8 * 3_600_000
"""Between two fundings; they are due at 0, 8 and 16 h UTC."""
BASE_RATE = 10_000
"""Units of 1e-8: 0.01 % a period, the usual rate of a swap that trades at its index."""
LIMIT = 300_000
"""Units of 1e-8: 0.3 %, the most in either direction."""


class Mark(NamedTuple):
    """`mark` and `spot` (the index price) in ticks, `rate` in units of 1e-8, `next_ms` the next funding."""

    mark: int
    spot: int
    rate: int
    next_ms: int

    @property
    def rate_text(self) -> str:
        """``0.00010000``"""
        sign, (whole, part) = "-" if self.rate < 0 else "", divmod(abs(self.rate), 10**8)
        return f"{sign}{whole}.{part:08d}"


class Funding:
    """Of one market: a pure function of its book and the time.

    The index follows the middle of the book, an eighth of the way each time it is asked for (other venues'
    prices move less than one book); the mark lies between index and middle; the rate is the base rate and
    a tenth of the premium.
    """

    def __init__(self, market: Market) -> None:
        self._market = market
        self._index = float(market.listing.price)

    def at(self, now_ms: int) -> Mark:
        """As it is now."""
        bid, _, ask, _ = self._market.matcher.top()
        middle = (bid + ask) / 2 if bid and ask else self._index
        self._index += (middle - self._index) / 8
        premium = (middle - self._index) / self._index
        rate = max(-LIMIT, min(LIMIT, BASE_RATE + round(premium * 1e7)))
        mark = max(1, round((middle + self._index) / 2))
        return Mark(mark, max(1, round(self._index)), rate, (now_ms // PERIOD_MS + 1) * PERIOD_MS)
