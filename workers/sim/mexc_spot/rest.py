"""MEXC spot's REST API: its public endpoints, its limits and its error bodies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from workers.sim.book import Depth
from workers.sim.market import Listing, short_text
from workers.sim.mexc_spot import names
from workers.sim.refusal import Refusal
from workers.sim.replay import Replay
from workers.sim.rest import Answer, Request, Rest, RestContext

PREFIX = "/api/v3/"
LIMIT, WINDOW = 500, 10.0
"""Docs, "General Info": weight per 10 s and IP address, for each endpoint by itself."""
WEIGHTS = {"exchangeInfo": 10}
INTERVALS = {"1m": 1, "5m": 5, "15m": 15, "30m": 30, "60m": 60, "4h": 240}
"""Kline intervals in minutes, as far as one day of one-minute candles can serve them."""
MAX_DEPTH, MAX_KLINES = 5000, 1000

Query = Mapping[str, str]


class Limits:
    """Weight by endpoint, in fixed windows of `WINDOW` seconds."""

    def __init__(self, clock: Callable[[], float], limit: int) -> None:
        self._clock, self._limit = clock, limit
        self._window = -1
        self._used: dict[str, int] = {}

    def spend(self, endpoint: str, weight: int) -> int:
        """Count a request; the seconds to wait if it exceeds the limit, else 0."""
        now = self._clock()
        if int(now // WINDOW) != self._window:
            self._window = int(now // WINDOW)
            self._used.clear()
        self._used[endpoint] = self._used.get(endpoint, 0) + weight
        if self._used[endpoint] <= self._limit:
            return 0
        return max(1, int((self._window + 1) * WINDOW - now))


class MexcRest(Rest):
    """Answers a request after applying faults and the rate limit."""

    def __init__(self, context: RestContext) -> None:
        self._source, self._faults, self._hub = context.source, context.faults, context.hub
        self._wall_ns = context.wall_ns
        self._limits = Limits(context.clock, LIMIT if context.budget is None else context.budget)
        self.counters: dict[str, int] = {}

    def handle(self, request: Request) -> Answer:
        """Answer one request; see `rest.Rest`."""
        endpoint = request.path.removeprefix(PREFIX)
        self.counters[endpoint] = self.counters.get(endpoint, 0) + 1
        fault = self._faults.take(("rest",), path=request.path) if self._faults.active else None
        wait = self._limits.spend(endpoint, WEIGHTS.get(endpoint, 1))
        status = 429 if wait else 200
        if fault is not None:
            status, wait = fault.status, fault.retry_after
        if status != 200:
            return Answer(status, _refused(status), {"Retry-After": str(wait)} if wait else {})
        if not request.path.startswith(PREFIX):
            return Answer(404, b"")
        if request.method != "GET":
            return Answer(400, _error(400, "api key required"))
        try:
            return Answer(200, self._answer(endpoint, request.query))
        except Refusal as refusal:
            return Answer(refusal.status, refusal.body)

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
            case "ticker/bookTicker":
                return self._tops(query)
        raise Refusal(404, "Not found", 404)

    def _exchange_info(self, query: Query) -> bytes:
        recorded = self._source.recorded("exchangeInfo")
        if recorded is not None:
            return recorded
        named = [query["symbol"]] if "symbol" in query else query.get("symbols", "").split(",")
        wanted = set(filter(None, named))
        rows = [listed(one) for one in self._source.listings() if not wanted or one.venue_symbol in wanted]
        return msgspec.json.encode(
            {
                "timezone": "CST",
                "serverTime": self._wall_ns() // 1_000_000,
                "rateLimits": [],
                "exchangeFilters": [],
                "symbols": rows,
            }
        )

    def _depth(self, query: Query) -> bytes:
        symbol = self._known(query)
        limit = _number(query, "limit", 100, MAX_DEPTH)
        info = self._hub.stream_info(names.topic("depth", symbol))
        try:
            if self._faults.active and self._faults.take(("stale_snapshot",), info=info) is not None:
                answer: Depth | bytes = self._source.stale(symbol).cut(limit)
            else:
                answer = self._source.snapshot(symbol, limit)
        except LookupError:
            raise Refusal(500, f"the capture has no depth snapshot of {symbol}", 503) from None
        if isinstance(answer, bytes):
            return answer
        body = {"lastUpdateId": answer.last_id, "bids": answer.bids, "asks": answer.asks}
        return msgspec.json.encode({**body, "timestamp": self._wall_ns() // 1_000_000})

    def _tops(self, query: Query) -> bytes:
        """``ticker/bookTicker`` of one symbol or of all that have a book; an empty side is ``""``."""
        rows = []
        for symbol in [self._known(query)] if "symbol" in query else self._source.symbols():
            try:
                depth = self._source.depth(symbol, 1)
            except LookupError:
                continue
            bid, ask = ((side or [("", "")])[0] for side in (depth.bids, depth.asks))
            best = {"bidPrice": bid[0], "bidQty": bid[1], "askPrice": ask[0], "askQty": ask[1]}
            rows.append({"symbol": symbol, **best})
        if "symbol" in query:
            if not rows:
                raise Refusal(500, f"the capture has no depth snapshot of {query['symbol']}", 503)
            return msgspec.json.encode(rows[0])
        return msgspec.json.encode(rows)

    def _klines(self, query: Query) -> bytes:
        symbol = self._known(query)
        interval = query.get("interval", "")
        if interval not in INTERVALS:
            raise Refusal(-1121, "Invalid interval.")
        limit = _number(query, "limit", 500, MAX_KLINES)
        if isinstance(self._source, Replay):
            return self._source.recorded(f"klines {symbol}") or b"[]"
        one = self._source.symbol(symbol)
        price, size = one.market.price_text, one.market.size_text
        places = one.listing.price_decimals + one.listing.size_decimals
        length = INTERVALS[interval] * 60_000
        rows = [
            [
                each.start, price(each.open), price(each.high), price(each.low), price(each.close),
                size(each.base), each.start + length, short_text(each.quote, places),
            ]
            for each in one.candles.grouped(INTERVALS[interval], limit)
        ]  # fmt: skip
        return msgspec.json.encode(rows)

    def _known(self, query: Query) -> str:
        symbol = query.get("symbol", "")
        if symbol not in self._source.symbols():
            raise Refusal(-1121, "Invalid symbol.")
        return symbol


def _number(query: Query, name: str, default: int, most: int) -> int:
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Refusal(700008, f"Illegal characters found in parameter '{name}'.")
    return max(1, min(int(text), most))


def _refused(status: int) -> bytes:
    if status == 429:
        return _error(429, "Too Many Requests")
    if status == 403:  # the firewall's page
        return b"<HTML><HEAD><TITLE>Access Denied</TITLE></HEAD></HTML>"
    return _error(status, "Internal error")


def _error(code: int, text: str) -> bytes:
    return msgspec.json.encode({"msg": text, "code": code})


def listed(listing: Listing) -> dict[str, Any]:
    """One symbol of ``exchangeInfo``; `baseSizePrecision` is the minimum quantity of an order."""
    return {
        "symbol": listing.venue_symbol, "status": listing.status or "1",
        "baseAsset": listing.base, "baseAssetPrecision": listing.size_decimals,
        "quoteAsset": listing.quote, "quotePrecision": listing.tick_decimals,
        "quoteAssetPrecision": listing.tick_decimals,
        "baseCommissionPrecision": listing.size_decimals,
        "quoteCommissionPrecision": listing.price_decimals,
        "orderTypes": ["LIMIT", "MARKET", "LIMIT_MAKER"],
        "isSpotTradingAllowed": True, "isMarginTradingAllowed": False,
        "quoteAmountPrecision": listing.min_notional,
        "baseSizePrecision": short_text(1, listing.size_decimals),
        "permissions": ["SPOT"], "filters": [],
        "maxQuoteAmount": "2000000", "makerCommission": "0", "takerCommission": "0.0005",
        "quoteAmountPrecisionMarket": listing.min_notional, "maxQuoteAmountMarket": "100000",
        "fullName": listing.base, "tradeSideType": 1, "contractAddress": "", "st": False,
    }  # fmt: skip
