"""Binance spot's REST face: routing, weights, error bodies, and the public endpoints."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import msgspec

from workers.sim.binance_spot import partial_depth
from workers.sim.binance_spot_private import ENDPOINTS, PrivateRest, Signed
from workers.sim.binance_spot_stats import INTERVALS, rest_klines, rest_ticker
from workers.sim.book import Depth
from workers.sim.faults import Faults
from workers.sim.limits import Budget
from workers.sim.market import Listing, decimal_text
from workers.sim.refusal import Refusal, illegal, missing
from workers.sim.replay import Replay
from workers.sim.synthetic import Synthetic

PREFIX = "/api/v3/"
DEPTH_WEIGHTS = ((100, 5), (500, 25), (1000, 50), (5000, 250))
WEIGHTS = {"ping": 1, "time": 1, "exchangeInfo": 20, "klines": 2}
MAX_DEPTH, MAX_KLINES = 5000, 1000
_SYMBOL = re.compile(r"\A[A-Z0-9\-_.]{1,20}\Z")
_DIGITS = re.compile(r"\A[0-9]{1,20}\Z")

Query = Mapping[str, str]


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    body: bytes
    headers: dict[str, str]


class Facts(Protocol):
    """What differs between a synthetic and a replayed venue."""

    def exchange_info(self) -> bytes:
        """The whole ``exchangeInfo`` body."""

    def symbols(self) -> list[str]:
        """Venue symbols that have a book."""

    def snapshot(self, symbol: str, limit: int) -> Depth | bytes:
        """The answer to a depth request."""

    def stale(self, symbol: str) -> Depth:
        """A snapshot too old for any buffer."""

    def depth(self, symbol: str) -> Depth:
        """The book now."""

    def klines(self, symbol: str, interval: str, limit: int) -> bytes:
        """The body of ``klines``."""

    def ticker(self, symbol: str) -> dict[str, Any]:
        """One row of ``ticker/24hr``."""


class SyntheticFacts:
    """`Facts` of seeded markets."""

    def __init__(self, source: Synthetic) -> None:
        self._source = source
        self.snapshot: Callable[[str, int], Depth] = source.snapshot
        self.stale = source.stale
        self.depth: Callable[[str], Depth] = source.depth

    def exchange_info(self) -> bytes:
        """Our listings, with the venue's filters."""
        listings = [symbol.listing for symbol in self._source.symbols.values()]
        return exchange_info(listings, self._source.now_ms())

    def symbols(self) -> list[str]:
        """All listed."""
        return list(self._source.symbols)

    def klines(self, symbol: str, interval: str, limit: int) -> bytes:
        """Of the invented day and what was traded since."""
        return msgspec.json.encode(rest_klines(self._source.symbols[symbol], INTERVALS[interval], limit))

    def ticker(self, symbol: str) -> dict[str, Any]:
        """Of the last 24 h."""
        return rest_ticker(self._source.symbols[symbol], self._source.now_ms())


class ReplayFacts:
    """`Facts` of a capture; what it did not record is answered with what its books and frames say."""

    def __init__(self, source: Replay) -> None:
        self._source = source
        self.snapshot: Callable[[str, int], Depth | bytes] = source.snapshot
        self.stale = source.stale
        self.depth: Callable[[str], Depth] = source.depth

    def exchange_info(self) -> bytes:
        """As recorded; else the symbols seen, with the decimals that their books use."""
        recorded = self._source.answers.get("exchangeInfo")
        if recorded is not None:
            return recorded[1]
        listings = [self._listing(symbol) for symbol in self.symbols()]
        first = self._source.frames[0].ts if self._source.frames else 0
        return exchange_info(listings, first // 1_000_000)

    def _listing(self, symbol: str) -> Listing:
        tape = self._source.tapes[symbol]
        books = [snapshot.depth for snapshot in tape.snapshots] + tape.diffs
        levels = [level for book in books for side in (book.bids, book.asks) for level in side]
        prices = max((_decimals(price) for price, _ in levels), default=8)
        sizes = max((_decimals(size) for _, size in levels), default=8)
        return Listing(*_split(symbol), prices, sizes, 1, 1000 * 10**sizes, "0.00000001")

    def symbols(self) -> list[str]:
        """All that have a frame or a snapshot."""
        return sorted(self._source.tapes)

    def klines(self, symbol: str, interval: str, limit: int) -> bytes:
        """As recorded for the symbol, else none."""
        recorded = self._source.answers.get(f"klines {symbol}")
        return recorded[1] if recorded is not None else b"[]"

    def ticker(self, symbol: str) -> dict[str, Any]:
        """As recorded for the symbol, else the book's top."""
        recorded = self._source.answers.get(f"24hr {symbol}")
        if recorded is not None:
            row: dict[str, Any] = msgspec.json.decode(recorded[1])
            return row
        return _top(symbol, self._source.depth(symbol))


class SpotRest:
    """Routes a request: fault, weight, budget, answer.

    Args:
        facts: the data.
        faults: orders about REST.
        budget: the weight of this IP (loopback: everybody's).
        private: the signed endpoints.
        wall_ns: the venue's wall clock.
    """

    def __init__(
        self,
        facts: Facts,
        faults: Faults,
        budget: Budget,
        private: PrivateRest,
        wall_ns: Callable[[], int],
    ) -> None:
        self._facts, self._faults, self._budget, self._wall_ns = facts, faults, budget, wall_ns
        self._private = private
        self._known = frozenset(facts.symbols())
        self._info: dict[str, Any] | None = None
        self.counters: dict[str, int] = {}

    def handle(self, method: str, path: str, query: Query, signed: Signed) -> Answer:
        """One request; never raises for what a client sent."""
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
                return self._each(query, self._facts.ticker)
            case "ticker/bookTicker":
                return self._each(query, self._book_ticker)
        raise Refusal(-1, "Not found", 404)

    def _exchange_info(self, query: Query) -> bytes:
        chosen = _symbols(query)
        if chosen is None:
            return self._facts.exchange_info()
        if self._info is None:
            self._info = msgspec.json.decode(self._facts.exchange_info())
        rows = {row["symbol"]: row for row in self._info["symbols"]}
        if any(symbol not in rows for symbol in chosen):
            raise Refusal(-1121, "Invalid symbol.")
        return msgspec.json.encode({**self._info, "symbols": [rows[symbol] for symbol in chosen]})

    def _depth(self, query: Query) -> bytes:
        symbol = self._symbol(query)
        limit = _number(query, "limit", 100, MAX_DEPTH)
        stream = f"{symbol.lower()}@depth"
        try:
            if self._faults.active and self._faults.take(("stale_snapshot",), stream) is not None:
                answer: Depth | bytes = self._facts.stale(symbol).cut(limit)
            else:
                answer = self._facts.snapshot(symbol, limit)
        except LookupError:
            raise Refusal(-1000, f"the capture has no depth snapshot of {symbol}", 503) from None
        return answer if isinstance(answer, bytes) else partial_depth(answer)

    def _klines(self, query: Query) -> bytes:
        symbol = self._symbol(query)
        if "interval" not in query:
            raise missing("interval")
        if query["interval"] not in INTERVALS:
            raise Refusal(-1120, "Invalid interval.")
        return self._facts.klines(symbol, query["interval"], _number(query, "limit", 500, MAX_KLINES))

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

    def _book_ticker(self, symbol: str) -> dict[str, Any]:
        return _top(symbol, self._facts.depth(symbol))

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


def _decimals(text: str) -> int:
    return len(text.partition(".")[2].rstrip("0"))


def _split(symbol: str) -> tuple[str, str]:
    """Base and quote of a venue symbol, by the quotes that venues use."""
    for quote in ("USDT", "USDC", "FDUSD", "TUSD", "BUSD", "EUR", "TRY", "BTC", "ETH", "BNB"):
        if symbol.endswith(quote) and len(symbol) > len(quote):
            return symbol[: -len(quote)], quote
    return symbol[:-3], symbol[-3:]


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
