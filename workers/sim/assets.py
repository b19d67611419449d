"""What assets cost in the simulated world: one price each, so that all venues look like one market."""

from __future__ import annotations

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
"""US dollars a unit, when a market starts."""
ORDER = Decimal(8000)
"""US dollars: a usual order."""


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
    """A listing at the assets' prices. KeyError: an asset that is not in `PRICES`.

    Args:
        price_decimals, size_decimals: of tick and lot. A swap's lot counts contracts.
        contract: a contract's size, in base units, of an inverse swap (settled in its base) in quote units.
        settle, spelled, min_notional: see `market.Listing`.
    """
    price = PRICES[base] / PRICES[quote]
    inverse = settle == base and bool(settle)
    unit = Decimal(contract) * (PRICES[quote] if inverse else PRICES[base])
    ticks = max(1, int(price.scaleb(price_decimals).to_integral_value()))
    lots = max(1, int((ORDER / unit).scaleb(size_decimals).to_integral_value()))
    return Listing(
        base, quote, price_decimals, size_decimals, ticks, lots, min_notional, settle, spelled, contract
    )
