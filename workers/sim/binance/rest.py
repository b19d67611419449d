"""Binance's REST API: routing, weights, error bodies, and the public endpoints."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from workers.sim.binance.private import PrivateRest, Signed
from workers.sim.binance.stats import INTERVALS, rest_klines, rest_ticker
from workers.sim.book import Depth
from workers.sim.keys import Keys
from workers.sim.limits import Budget, Window
from workers.sim.market import Listing, decimal_text
from workers.sim.refusal import Refusal, illegal, missing
from workers.sim.replay import Replay
from workers.sim.rest import Answer, Request, Rest, RestContext

_SYMBOL = re.compile(r"\A[A-Z0-9\-_.]{1,20}\Z")
_DIGITS = re.compile(r"\A[0-9]{1,20}\Z")

Steps = tuple[tuple[int, int], ...]
"""Weights by the requested `limit`: (up to this limit, weight), ascending."""


@dataclass(frozen=True, kw_only=True)
class RestSpec:
    """What differs between the REST APIs of Binance's markets (spot, USD-M futures).

    Attributes:
        prefix: path prefix of the public endpoints.
        budget: request weight allowed per minute.
        depth, klines: weights of these endpoints by `limit`; the last step is the highest limit.
        depth_default: the limit of a depth request that names none.
        depth_limits: the only limits that depth accepts; empty: any up to the highest.
        weights: weights of other public endpoints: (without a symbol, with a symbol).
        private: signed endpoints, by (method, path), and their weights, as in `weights`.
        accounts: builders of the account endpoints' bodies, by the path's last part; given the time in ms.
        orders: limits of new orders, see `limits.OrderCount`.
        info: builds the body of ``exchangeInfo`` from (listings, time in ms).
        body: builds the body of ``depth`` from (book, time in ms).
        top: whether a 24 h ticker contains the best prices.
    """

    prefix: str
    budget: int
    depth: Steps
    depth_default: int
    klines: Steps
    weights: Mapping[str, tuple[int, int]]
    private: Mapping[tuple[str, str], tuple[int, int]]
    accounts: Mapping[str, Callable[[int], bytes]]
    orders: Sequence[Window]
    info: Callable[[list[Listing], int], bytes]
    body: Callable[[Depth, int], bytes]
    depth_limits: tuple[int, ...] = ()
    top: bool = True


Query = Mapping[str, str]


class BinanceRest(Rest):
    """Answers a request after applying faults and the weight limit.

    Raises:
        ValueError: an API key is not valid.
    """

    def __init__(self, context: RestContext, spec: RestSpec) -> None:
        self._spec = spec
        self._source, self._faults, self._hub = context.source, context.faults, context.hub
        self._wall_ns = context.wall_ns
        self._budget = Budget(context.clock, spec.budget if context.budget is None else context.budget)
        self._private = PrivateRest(
            Keys(context.keys),
            self._source.symbols,
            context.wall_ns,
            context.clock,
            spec.accounts,
            spec.orders,
        )
        self.counters: dict[str, int] = {}

    def handle(self, request: Request) -> Answer:
        """Answer one request; see `rest.Rest`."""
        method, path, query = request.method, request.path, request.query
        signed = Signed(request.headers.get("x-mbx-apikey", ""), request.raw_query, request.body)
        spec = self._spec
        endpoint = path.removeprefix(spec.prefix)
        self.counters[endpoint] = self.counters.get(endpoint, 0) + 1
        fault = self._faults.take(("rest",), path=path) if self._faults.active else None
        verdict = self._budget.spend(self._weight(method, path, endpoint, query))
        headers = {"X-MBX-USED-WEIGHT": str(verdict.used), "X-MBX-USED-WEIGHT-1M": str(verdict.used)}
        status, wait = verdict.status, verdict.retry_after
        if fault is not None:
            status, wait = fault.status, fault.retry_after
        if status != 200:
            if wait:
                headers["Retry-After"] = str(wait)
            until_ms = self._now_ms() + wait * 1000
            return Answer(status, _refused(status, until_ms, self._budget.limit), headers)
        try:
            if (method, path) in spec.private:
                name = path.split("/", 3)[3]  # "/api/v3/order/test"
                return Answer(200, self._private.answer(name, signed, headers), headers)
            if not path.startswith(spec.prefix) or method != "GET":
                return Answer(404 if method == "GET" else 405, b"", headers)
            return Answer(200, self._answer(endpoint, query), headers)
        except Refusal as refusal:
            return Answer(refusal.status, refusal.body, headers)

    @property
    def _known(self) -> list[str]:
        return self._source.symbols()

    def _now_ms(self) -> int:
        return self._wall_ns() // 1_000_000

    def _weight(self, method: str, path: str, endpoint: str, query: Query) -> int:
        spec = self._spec
        whole, one = spec.private.get((method, path)) or spec.weights.get(endpoint, (1, 1))
        if endpoint in ("depth", "klines"):
            steps = spec.depth if endpoint == "depth" else spec.klines
            text = query.get("limit", "")
            limit = int(text) if _DIGITS.match(text) else spec.depth_default
            return next((weight for most, weight in steps if limit <= most), steps[-1][1])
        return one if "symbol" in query else whole

    def _answer(self, endpoint: str, query: Query) -> bytes:
        match endpoint:
            case "ping":
                return b"{}"
            case "time":
                return b'{"serverTime":%d}' % self._now_ms()
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
            case "premiumIndex" if "premiumIndex" in self._spec.weights:
                return self._each(query, self._premium)
        raise Refusal(-1, "Not found", 404)

    def _exchange_info(self, query: Query) -> bytes:
        chosen = _symbols(query)
        if chosen is None:
            return self._whole_info()
        info = msgspec.json.decode(self._whole_info())
        rows = {row["symbol"]: row for row in info["symbols"]}
        if any(symbol not in rows for symbol in chosen):
            raise Refusal(-1121, "Invalid symbol.")
        return msgspec.json.encode({**info, "symbols": [rows[symbol] for symbol in chosen]})

    def _whole_info(self) -> bytes:
        """The recorded answer if there is one, else built from the listings."""
        recorded = self._source.recorded("exchangeInfo")
        if recorded is not None:
            return recorded
        now = self._wall_ns()
        if isinstance(self._source, Replay) and self._source.frames:
            now = self._source.frames[0].ts
        return self._spec.info(self._source.listings(), now // 1_000_000)

    def _depth(self, query: Query) -> bytes:
        symbol = self._symbol(query)
        spec = self._spec
        limit = _number(query, "limit", spec.depth_default, spec.depth[-1][0])
        if spec.depth_limits and (limit not in spec.depth_limits or int(query.get("limit", limit)) != limit):
            raise Refusal(-4021, f"{query['limit']} is not valid depth limit.")
        info = self._hub.stream_info(f"{symbol.lower()}@depth")
        try:
            if self._faults.active and self._faults.take(("stale_snapshot",), info=info) is not None:
                answer: Depth | bytes = self._source.stale(symbol).cut(limit)
            else:
                answer = self._source.snapshot(symbol, limit)
        except LookupError:
            raise Refusal(-1000, f"the capture has no depth snapshot of {symbol}", 503) from None
        return answer if isinstance(answer, bytes) else spec.body(answer, self._now_ms())

    def _klines(self, query: Query) -> bytes:
        symbol = self._symbol(query)
        if "interval" not in query:
            raise missing("interval")
        if query["interval"] not in INTERVALS:
            raise Refusal(-1120, "Invalid interval.")
        limit = _number(query, "limit", 500, self._spec.klines[-1][0])
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
        rows = []
        for symbol in symbols:
            try:
                rows.append(row(symbol))
            except LookupError:
                if chosen is not None:
                    text = "the capture has no depth snapshot of a symbol asked for"
                    raise Refusal(-1000, text, 503) from None
        return msgspec.json.encode(rows[0] if "symbol" in query else rows)

    def _day(self, symbol: str) -> dict[str, Any]:
        """The 24 h ticker; for a replay the recorded one, or only the best prices."""
        if not isinstance(self._source, Replay):
            return rest_ticker(self._source.symbol(symbol), self._now_ms(), self._spec.top)
        recorded = self._source.recorded(f"24hr {symbol}")
        if recorded is None:
            return self._book_ticker(symbol)
        row: dict[str, Any] = msgspec.json.decode(recorded)
        return row

    def _book_ticker(self, symbol: str) -> dict[str, Any]:
        return _top(symbol, self._source.depth(symbol, 1))

    def _premium(self, symbol: str) -> dict[str, Any]:
        """Mark price and funding; LookupError: a replay has none."""
        funding = None if isinstance(self._source, Replay) else self._source.symbol(symbol).funding
        if funding is None:
            raise LookupError(symbol)
        mark, places = funding.at(self._now_ms()), self._source_decimals(symbol)
        price, index = decimal_text(mark.mark, places), decimal_text(mark.spot, places)
        return {
            "symbol": symbol, "markPrice": price, "indexPrice": index, "estimatedSettlePrice": index,
            "lastFundingRate": mark.rate_text, "interestRate": "0.00010000",
            "nextFundingTime": mark.next_ms, "time": self._now_ms(),
        }  # fmt: skip

    def _source_decimals(self, symbol: str) -> int:
        return next(one.price_decimals for one in self._source.listings() if one.venue_symbol == symbol)

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
    """The requested `symbol` or `symbols`; None for all."""
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


def _refused(status: int, until_ms: int, limit: int) -> bytes:
    if status == 429:
        text = f"Too much request weight used; current limit is {limit} request weight per 1 MINUTE."
    elif status == 418:
        text = f"Way too much request weight used; IP banned until {until_ms}."
    else:
        return b"<html><head><title>%d</title></head></html>" % status  # a proxy's page, not JSON
    return msgspec.json.encode({"code": -1003, "msg": text})
