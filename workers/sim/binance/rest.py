"""Binance's REST face: routing, weights, error bodies, and the public endpoints."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from workers.sim.binance.payloads import partial_depth
from workers.sim.binance.private import ENDPOINTS, PrivateRest, Signed
from workers.sim.binance.stats import INTERVALS, rest_klines, rest_ticker
from workers.sim.book import Depth
from workers.sim.keys import Keys
from workers.sim.limits import Budget
from workers.sim.market import Listing, decimal_text
from workers.sim.refusal import Refusal, illegal, missing
from workers.sim.replay import Replay
from workers.sim.rest import Answer, Desk, Request, Rest

PREFIX = "/api/v3/"
DEPTH_WEIGHTS = ((100, 5), (500, 25), (1000, 50), (5000, 250))
WEIGHTS = {"ping": 1, "time": 1, "exchangeInfo": 20, "klines": 2}
BUDGET = 6000
"""Weight a minute."""
MAX_DEPTH, MAX_KLINES = 5000, 1000
_SYMBOL = re.compile(r"\A[A-Z0-9\-_.]{1,20}\Z")
_DIGITS = re.compile(r"\A[0-9]{1,20}\Z")

Query = Mapping[str, str]


class BinanceRest(Rest):
    """Routes a request: fault, weight, budget, answer. ValueError for a key that is none."""

    def __init__(self, desk: Desk) -> None:
        self._source, self._faults, self._hub = desk.source, desk.faults, desk.hub
        self._wall_ns = desk.wall_ns
        self._budget = Budget(desk.clock, BUDGET if desk.budget is None else desk.budget)
        self._known = frozenset(self._source.symbols())
        self._private = PrivateRest(Keys(desk.keys), self._known, desk.wall_ns, desk.clock)
        self._info: dict[str, Any] | None = None
        self.counters: dict[str, int] = {}

    def handle(self, request: Request) -> Answer:
        """One request; never raises for what a client sent."""
        method, path, query = request.method, request.path, request.query
        signed = Signed(request.headers.get("x-mbx-apikey", ""), request.raw_query, request.body)
        endpoint = path.removeprefix(PREFIX)
        self.counters[endpoint] = self.counters.get(endpoint, 0) + 1
        fault = self._faults.take(("rest",), path=path) if self._faults.active else None
        verdict = self._budget.spend(self._weight(method, endpoint, query))
        headers = {"X-MBX-USED-WEIGHT": str(verdict.used), "X-MBX-USED-WEIGHT-1M": str(verdict.used)}
        status, wait = verdict.status, verdict.retry_after
        if fault is not None:
            status, wait = fault.status, fault.retry_after
        if status != 200:
            if wait:
                headers["Retry-After"] = str(wait)
            return Answer(status, _refused(status, self._wall_ns() // 1_000_000 + wait * 1000), headers)
        try:
            if path.startswith(PREFIX) and (method, endpoint) in ENDPOINTS:
                return Answer(200, self._private.answer(endpoint, signed, headers), headers)
            if not path.startswith(PREFIX) or method != "GET":
                return Answer(404 if method == "GET" else 405, b"", headers)
            return Answer(200, self._answer(endpoint, query), headers)
        except Refusal as refusal:
            return Answer(refusal.status, refusal.body, headers)

    def _weight(self, method: str, endpoint: str, query: Query) -> int:
        if (method, endpoint) in ENDPOINTS:
            one = endpoint == "openOrders" and "symbol" in query
            return 6 if one else ENDPOINTS[method, endpoint]
        if endpoint == "depth":
            text = query.get("limit", "100")
            limit = int(text) if _DIGITS.match(text) else 100
            return next((weight for most, weight in DEPTH_WEIGHTS if limit <= most), 250)
        if endpoint == "ticker/24hr":
            return 2 if "symbol" in query else 80
        if endpoint == "ticker/bookTicker":
            return 2 if "symbol" in query else 4
        return WEIGHTS.get(endpoint, 1)

    def _answer(self, endpoint: str, query: Query) -> bytes:
        match endpoint:
            case "ping":
                return b"{}"
            case "time":
                return b'{"serverTime":%d}' % (self._wall_ns() // 1_000_000)
            case "exchangeInfo":
                return self._exchange_info(query)
            case "depth":
                return self._depth(query)
            case "klines":
                return self._klines(query)
            case "ticker/24hr":
                return self._each(query, self._day)
            case "ticker/bookTicker":
                return self._each(query, self._book_ticker)
        raise Refusal(-1, "Not found", 404)

    def _exchange_info(self, query: Query) -> bytes:
        chosen = _symbols(query)
        if chosen is None:
            return self._whole_info()
        if self._info is None:
            self._info = msgspec.json.decode(self._whole_info())
        rows = {row["symbol"]: row for row in self._info["symbols"]}
        if any(symbol not in rows for symbol in chosen):
            raise Refusal(-1121, "Invalid symbol.")
        return msgspec.json.encode({**self._info, "symbols": [rows[symbol] for symbol in chosen]})

    def _whole_info(self) -> bytes:
        """As recorded; else the listings."""
        recorded = self._source.recorded("exchangeInfo")
        if recorded is not None:
            return recorded
        now = self._wall_ns()
        if isinstance(self._source, Replay) and self._source.frames:
            now = self._source.frames[0].ts
        return exchange_info(self._source.listings(), now // 1_000_000)

    def _depth(self, query: Query) -> bytes:
        symbol = self._symbol(query)
        limit = _number(query, "limit", 100, MAX_DEPTH)
        about = self._hub.about(f"{symbol.lower()}@depth")
        try:
            if self._faults.active and self._faults.take(("stale_snapshot",), about=about) is not None:
                answer: Depth | bytes = self._source.stale(symbol).cut(limit)
            else:
                answer = self._source.snapshot(symbol, limit)
        except LookupError:
            raise Refusal(-1000, f"the capture has no depth snapshot of {symbol}", 503) from None
        return answer if isinstance(answer, bytes) else partial_depth(answer)

    def _klines(self, query: Query) -> bytes:
        symbol = self._symbol(query)
        if "interval" not in query:
            raise missing("interval")
        if query["interval"] not in INTERVALS:
            raise Refusal(-1120, "Invalid interval.")
        limit = _number(query, "limit", 500, MAX_KLINES)
        if isinstance(self._source, Replay):
            return self._source.recorded(f"klines {symbol}") or b"[]"
        return msgspec.json.encode(
            rest_klines(self._source.symbol(symbol), INTERVALS[query["interval"]], limit)
        )

    def _each(self, query: Query, row: Callable[[str], dict[str, Any]]) -> bytes:
        chosen = _symbols(query)
        symbols = sorted(self._known) if chosen is None else chosen
        if any(symbol not in self._known for symbol in symbols):
            raise Refusal(-1121, "Invalid symbol.")
        try:
            rows = [row(symbol) for symbol in symbols]
        except LookupError:
            raise Refusal(-1000, "the capture has no depth snapshot of a symbol asked for", 503) from None
        return msgspec.json.encode(rows[0] if "symbol" in query else rows)

    def _day(self, symbol: str) -> dict[str, Any]:
        """The last 24 h; of a capture as recorded, else the book's top."""
        if not isinstance(self._source, Replay):
            return rest_ticker(self._source.symbol(symbol), self._source.now_ms())
        recorded = self._source.recorded(f"24hr {symbol}")
        if recorded is None:
            return self._book_ticker(symbol)
        row: dict[str, Any] = msgspec.json.decode(recorded)
        return row

    def _book_ticker(self, symbol: str) -> dict[str, Any]:
        return _top(symbol, self._source.depth(symbol))

    def _symbol(self, query: Query) -> str:
        chosen = _symbols(query) if "symbol" in query else None
        if not chosen:
            raise missing("symbol")
        if chosen[0] not in self._known:
            raise Refusal(-1121, "Invalid symbol.")
        return chosen[0]


def _top(symbol: str, depth: Depth) -> dict[str, Any]:
    zero = ("0.00000000", "0.00000000")
    bid, ask = (depth.bids or [zero])[0], (depth.asks or [zero])[0]
    return {"symbol": symbol, "bidPrice": bid[0], "bidQty": bid[1], "askPrice": ask[0], "askQty": ask[1]}


def _symbols(query: Query) -> list[str] | None:
    """The `symbol` or `symbols` asked for; None for all."""
    if "symbol" in query and "symbols" in query:
        raise Refusal(-1128, "Combination of optional parameters invalid.")
    if "symbol" in query:
        chosen = [query["symbol"]]
    elif "symbols" in query:
        try:
            chosen = msgspec.json.decode(query["symbols"], type=list[str])
        except msgspec.MsgspecError:
            raise illegal("symbols", r'^\[("[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}"){0,}){0,1}\]$') from None
    else:
        return None
    if not chosen or not chosen[0]:
        raise missing("symbol")
    if not all(_SYMBOL.match(symbol) for symbol in chosen):
        raise illegal("symbol", "^[A-Z0-9-_.]{1,20}$")
    return chosen


def _number(query: Query, name: str, default: int, most: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not _DIGITS.match(text):
        raise illegal(name, "^[0-9]{1,20}$")
    if int(text) < 1:
        raise Refusal(-1130, f"Data sent for parameter '{name}' is not valid.")
    return min(int(text), most)


def _refused(status: int, until_ms: int) -> bytes:
    if status == 429:
        text = "Too much request weight used; current limit is 6000 request weight per 1 MINUTE."
    elif status == 418:
        text = f"Way too much request weight used; IP banned until {until_ms}."
    else:
        return b"<html><head><title>%d</title></head></html>" % status  # a proxy's page, not JSON
    return msgspec.json.encode({"code": -1003, "msg": text})


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
    tick, lot = decimal_text(1, listing.price_decimals), decimal_text(1, listing.size_decimals)
    most = decimal_text(9_000 * listing.typical_size, listing.size_decimals)
    bounds = {"minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick}
    market = {"minQty": "0.00000000", "maxQty": most, "stepSize": "0.00000000"}
    return {
        "symbol": listing.venue_symbol, "status": "TRADING",
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
