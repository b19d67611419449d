"""Binance spot's REST API: weights, the listing, the account. Venue docs, "REST API", 2026-07."""

from __future__ import annotations

from typing import Any

import msgspec

from workers.sim.binance import spot_payloads
from workers.sim.binance.rest import RestSpec
from workers.sim.limits import OrderCount
from workers.sim.market import Listing, decimal_text

BALANCES = {"USDT": "100000.00000000", "BTC": "1.00000000", "ETH": "10.00000000"}


def exchange_info(listings: list[Listing], ms: int) -> bytes:
    """``/api/v3/exchangeInfo`` of these listings."""
    limits = [("REQUEST_WEIGHT", "MINUTE", 1, 6000), ("ORDERS", "SECOND", 10, 100)]
    limits += [("ORDERS", "DAY", 1, 200_000), ("RAW_REQUESTS", "MINUTE", 5, 61_000)]
    names = ("rateLimitType", "interval", "intervalNum", "limit")
    return msgspec.json.encode(
        {
            "timezone": "UTC",
            "serverTime": ms,
            "rateLimits": [dict(zip(names, limit, strict=True)) for limit in limits],
            "exchangeFilters": [],
            "symbols": [_listed(listing) for listing in listings],
        }
    )


def _listed(listing: Listing) -> dict[str, Any]:
    tick, lot = decimal_text(listing.grid, listing.price_decimals), decimal_text(1, listing.size_decimals)
    most = decimal_text(9_000 * listing.typical_size, listing.size_decimals)
    bounds = {"minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick}
    market = {"minQty": "0.00000000", "maxQty": most, "stepSize": "0.00000000"}
    return {
        "symbol": listing.venue_symbol, "status": listing.status or "TRADING",
        "baseAsset": listing.base, "baseAssetPrecision": 8,
        "quoteAsset": listing.quote, "quotePrecision": 8, "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8, "quoteCommissionPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
        "icebergAllowed": True, "ocoAllowed": True, "quoteOrderQtyMarketAllowed": True,
        "isSpotTradingAllowed": True, "isMarginTradingAllowed": False,
        "filters": [
            {"filterType": "PRICE_FILTER", **bounds},
            {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": most, "stepSize": lot},
            {"filterType": "MARKET_LOT_SIZE", **market},
            {"filterType": "NOTIONAL", "minNotional": listing.min_notional, "applyMinToMarket": True,
             "maxNotional": "9000000.00000000", "applyMaxToMarket": False, "avgPriceMins": 5},
            {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
        ],
        "permissions": [], "permissionSets": [["SPOT"]], "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"],
    }  # fmt: skip


def _account(now_ms: int) -> bytes:
    rates = dict.fromkeys(("maker", "taker", "buyer", "seller"), "0.00000000")
    body: dict[str, Any] = {
        "makerCommission": 0, "takerCommission": 0, "buyerCommission": 0, "sellerCommission": 0,
        "commissionRates": rates, "canTrade": True, "canWithdraw": False, "canDeposit": False,
        "brokered": False, "requireSelfTradePrevention": False, "preventSor": False,
        "updateTime": now_ms, "accountType": "SPOT",
        "balances": [
            {"asset": asset, "free": free, "locked": "0.00000000"} for asset, free in BALANCES.items()
        ],
        "permissions": ["SPOT"], "uid": 1,
    }  # fmt: skip
    return msgspec.json.encode(body)


REST_SPEC = RestSpec(
    prefix="/api/v3/",
    budget=6000,
    depth=((100, 5), (500, 25), (1000, 50), (5000, 250)),
    depth_default=100,
    klines=((1000, 2),),
    weights={"exchangeInfo": (20, 20), "ticker/24hr": (80, 2), "ticker/bookTicker": (4, 2)},
    private={
        ("GET", "/api/v3/account"): (20, 20),
        ("GET", "/api/v3/openOrders"): (80, 6),
        ("POST", "/api/v3/order/test"): (1, 1),
    },
    accounts={"account": _account},
    orders=OrderCount.SPOT,
    info=exchange_info,
    body=spot_payloads.rest_depth,
)
