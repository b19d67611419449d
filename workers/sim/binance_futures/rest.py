"""Binance USD-M futures' REST API: weights, the listing, the account. Venue docs, "Market Data Endpoints"
(2026); the listing's shape as recorded in 2021."""

from __future__ import annotations

from typing import Any

import msgspec

from workers.sim.binance import futures_payloads
from workers.sim.binance.rest import RestSpec
from workers.sim.market import Listing, tick_text

BUDGET = 2400
ORDERS = (
    ("10S", 10, 300, "300 orders per 10 SECOND"),
    ("1M", 60, 1200, "1200 orders per 1 MINUTE"),
)


def exchange_info(listings: list[Listing], ms: int) -> bytes:
    """``/fapi/v1/exchangeInfo`` of these listings."""
    limits = [("REQUEST_WEIGHT", "MINUTE", 1, BUDGET), ("ORDERS", "MINUTE", 1, 1200)]
    limits.append(("ORDERS", "SECOND", 10, 300))
    names = ("rateLimitType", "interval", "intervalNum", "limit")
    margins = sorted({listing.quote for listing in listings})
    return msgspec.json.encode(
        {
            "timezone": "UTC",
            "serverTime": ms,
            "futuresType": "U_MARGINED",
            "rateLimits": [dict(zip(names, limit, strict=True)) for limit in limits],
            "exchangeFilters": [],
            "assets": [
                {"asset": asset, "marginAvailable": True, "autoAssetExchange": "-10000"} for asset in margins
            ],
            "symbols": [_listed(listing) for listing in listings],
        }
    )


def _listed(listing: Listing) -> dict[str, Any]:
    tick, lot = tick_text(listing.grid, listing.price_decimals), tick_text(1, listing.size_decimals)
    lots = {"stepSize": lot, "maxQty": tick_text(9_000 * listing.typical_size, listing.size_decimals)}
    return {
        "symbol": listing.venue_symbol, "pair": listing.venue_symbol, "contractType": "PERPETUAL",
        "deliveryDate": 4_133_404_800_000, "onboardDate": 1_569_398_400_000,
        "status": listing.status or "TRADING",
        "maintMarginPercent": "2.5000", "requiredMarginPercent": "5.0000",
        "baseAsset": listing.base, "quoteAsset": listing.quote, "marginAsset": listing.settle,
        "pricePrecision": listing.price_decimals, "quantityPrecision": listing.size_decimals,
        "baseAssetPrecision": 8, "quotePrecision": 8, "underlyingType": "COIN", "underlyingSubType": [],
        "settlePlan": 0, "triggerProtect": "0.0500", "liquidationFee": "0.012000", "marketTakeBound": "0.30",
        "filters": [
            {"minPrice": tick, "maxPrice": "1000000", "filterType": "PRICE_FILTER", "tickSize": tick},
            {**lots, "filterType": "LOT_SIZE", "minQty": lot},
            {**lots, "filterType": "MARKET_LOT_SIZE", "minQty": lot},
            {"limit": 200, "filterType": "MAX_NUM_ORDERS"},
            {"limit": 10, "filterType": "MAX_NUM_ALGO_ORDERS"},
            {"notional": listing.min_notional, "filterType": "MIN_NOTIONAL"},
            {"multiplierDown": "0.8500", "multiplierUp": "1.1500", "multiplierDecimal": "4",
             "filterType": "PERCENT_PRICE"},
        ],
        "orderTypes": ["LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET"],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
    }  # fmt: skip


def _balance(now_ms: int) -> bytes:
    return msgspec.json.encode(
        [
            {
                "accountAlias": "sim", "asset": "USDT", "balance": "100000.00000000",
                "crossWalletBalance": "100000.00000000", "crossUnPnl": "0.00000000",
                "availableBalance": "100000.00000000", "maxWithdrawAmount": "100000.00000000",
                "marginAvailable": True, "updateTime": now_ms,
            }
        ]
    )  # fmt: skip


REST_SPEC = RestSpec(
    prefix="/fapi/v1/",
    budget=BUDGET,
    depth=((50, 2), (100, 5), (500, 10), (1000, 20)),
    depth_limits=(5, 10, 20, 50, 100, 500, 1000),
    depth_default=500,
    klines=((99, 1), (499, 2), (1000, 5), (1500, 10)),
    weights={"ticker/24hr": (40, 1), "ticker/bookTicker": (5, 2), "premiumIndex": (10, 1)},
    private={
        ("GET", "/fapi/v3/balance"): (5, 5),
        ("GET", "/fapi/v1/openOrders"): (40, 1),
        ("POST", "/fapi/v1/order/test"): (1, 1),
    },
    accounts={"balance": _balance},
    orders=ORDERS,
    info=exchange_info,
    body=futures_payloads.rest_depth,
    top=False,
)
