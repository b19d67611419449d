"""The prices of assets that all simulated venues share, so that they show similar markets."""

from __future__ import annotations

import math
import zlib
from decimal import Decimal

from workers.sim.market import Listing

PRICES: dict[str, Decimal] = {
    asset: Decimal(price)
    for asset, price in {
        "USD": "1", "USDT": "1", "USDC": "1", "EUR": "1.08", "GBP": "1.27",
        "BTC": "94123.45", "ETH": "3210.98", "SOL": "187.65", "BNB": "912.34", "XRP": "2.3456",
        "ADA": "0.7654", "DOGE": "0.21987", "LTC": "104.32", "LINK": "18.76", "AVAX": "23.45",
    }.items()
}  # fmt: skip
"""Prices in US dollars, when a market starts."""
ORDER = Decimal(8000)
"""The value of a typical order, in US dollars."""


def listing(
    base: str,
    quote: str,
    price_decimals: int,
    size_decimals: int,
    *,
    settle: str = "",
    spelled: str = "",
    contract: str = "1",
    min_notional: str = "5.00000000",
) -> Listing:
    """A listing at the prices of its assets.

    Args:
        price_decimals, size_decimals: of tick and lot; a swap's lot is in contracts.
        contract: size of a contract, in base units; of an inverse swap (settled in its base) in quote units.
        settle, spelled, min_notional: see `market.Listing`.

    Raises:
        KeyError: an asset is not in `PRICES`.
    """
    price = PRICES[base] / PRICES[quote]
    inverse = settle == base and bool(settle)
    unit = Decimal(contract) * (PRICES[quote] if inverse else PRICES[base])
    ticks = max(1, int(price.scaleb(price_decimals).to_integral_value()))
    lots = max(1, int((ORDER / unit).scaleb(size_decimals).to_integral_value()))
    return Listing(
        base, quote, price_decimals, size_decimals, ticks, lots, min_notional, settle, spelled, contract
    )


STABLE = ("USD", "USDT", "USDC", "EUR", "GBP")
WAVES = ((600.0, 2e-4), (97.0, 4e-5))
"""Waves of an asset's price: period in seconds, and amplitude as a fraction of the price. They are so slow
that a market of some hundred actions per second keeps up."""


def drift(base: str, quote: str, now_ns: int) -> float:
    """The factor by which a pair's price differs from `PRICES` at this time.

    It depends on the time alone, so that venues in several processes agree without exchanging anything.
    """
    return _swing(base, now_ns) / _swing(quote, now_ns)


def _swing(asset: str, now_ns: int) -> float:
    if asset in STABLE:
        return 1.0
    turn = zlib.crc32(asset.encode()) / 2**32
    seconds = now_ns % 86_400_000_000_000 / 1e9
    return 1.0 + sum(
        far * math.sin(math.tau * (seconds / period + turn * number))
        for number, (period, far) in enumerate(WAVES, 1)
    )
