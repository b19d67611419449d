"""OKX's REST API: routing, the limit of each endpoint, the envelope with its codes, and public data."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import msgspec

from workers.sim.book import Depth
from workers.sim.market import Listing, short_text
from workers.sim.okx import payloads
from workers.sim.okx.names import type_of
from workers.sim.okx.protocol import OkxProtocol
from workers.sim.okx.stats import BARS, candles, statistics
from workers.sim.replay import Replay
from workers.sim.rest import Answer, Request, Rest, RestContext

PREFIX = "/api/v5/"
WINDOW = 2.0
"""Length of every rate limit's window, in seconds."""
LIMITS: Mapping[str, int] = {
    "market/books": 40,
    "market/candles": 40,
    "market/tickers": 20,
    "public/instruments": 20,
    "public/time": 10,
}
"""Requests per window and IP address, by endpoint."""
MAX_DEPTH, MAX_CANDLES = 400, 300
Query = Mapping[str, str]


class _Refused(Exception):
    """A request is refused: HTTP status, the venue's error code and message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(code, message)
        self.answer = Answer(status, envelope(code, message, []))


class OkxRest(Rest):
    """Answers a request after applying faults and the rate limit."""

    def __init__(self, context: RestContext) -> None:
        self._context = context
        self._source = context.source
        self._seen: dict[str, deque[float]] = {}
        self.counters: dict[str, int] = {}

    def handle(self, request: Request) -> Answer:
        """Answer one request; see `rest.Rest`."""
        endpoint = request.path.removeprefix(PREFIX)
        self.counters[endpoint] = self.counters.get(endpoint, 0) + 1
        faults = self._context.faults
        fault = faults.take(("rest",), path=request.path) if faults.active else None
        if fault is not None:
            wait = {"Retry-After": str(fault.retry_after)} if fault.retry_after else {}
            return Answer(fault.status, _broken(fault.status), wait)
        try:
            if request.path == PREFIX + endpoint and endpoint in LIMITS and request.method == "GET":
                self._count(endpoint)
                return Answer(200, envelope("0", "", self._answer(endpoint, request.query)))
            return Answer(404, envelope("404", "Not Found", []))
        except _Refused as refused:
            return refused.answer

    def _count(self, endpoint: str) -> None:
        """Apply the rate limit, a sliding window; above it HTTP 429 without `Retry-After`."""
        now = self._context.clock()
        seen = self._seen.setdefault(endpoint, deque())
        while seen and now - seen[0] >= WINDOW:
            seen.popleft()
        if len(seen) >= (LIMITS[endpoint] if self._context.budget is None else self._context.budget):
            raise _Refused(429, "50011", "Too Many Requests")
        seen.append(now)

    def _answer(self, endpoint: str, query: Query) -> Any:
        match endpoint:
            case "public/time":
                return [{"ts": str(self._context.wall_ns() // 1_000_000)}]
            case "public/instruments":
                return self._instruments(query)
            case "market/books":
                return self._books(query)
            case "market/tickers":
                return self._tickers(query)
        return self._candles(query)

    def _instruments(self, query: Query) -> Any:
        kind = self._kind(query)
        recorded = self._source.recorded(f"instruments {kind}")
        if recorded is not None:
            return msgspec.json.decode(recorded)["data"]
        return [listed(one) for one in self._source.listings() if type_of(one.venue_symbol) == kind]

    def _books(self, query: Query) -> Any:
        symbol, limit = self._symbol(query), _number(query, "sz", 1, MAX_DEPTH)
        faults, hub = self._context.faults, self._context.hub
        stale = faults.active and faults.take(("stale_snapshot",), info=hub.stream_info(f"books/{symbol}"))
        try:
            depth = self._source.stale(symbol).cut(limit) if stale else self._source.snapshot(symbol, limit)
        except LookupError:
            raise _Refused(503, "50001", "Service temporarily unavailable. Try again later.") from None
        assert isinstance(depth, Depth)
        entry: dict[str, Any] = {"asks": payloads.rows(depth.asks), "bids": payloads.rows(depth.bids)}
        entry["ts"] = str(self._context.wall_ns() // 1_000_000)
        if depth.last_id:  # a capture of 2022 has none
            assert isinstance(hub.protocol, OkxProtocol)
            entry["seqId"] = max(0, depth.last_id + hub.protocol.offsets.get(symbol, 0))
        return [entry]

    def _tickers(self, query: Query) -> Any:
        """``tickers`` of an instrument type; in a replay the best prices alone."""
        kind, source, found = self._kind(query), self._source, []
        for symbol in source.symbols():
            if type_of(symbol) != kind:
                continue
            if isinstance(source, Replay):
                try:
                    depth = source.depth(symbol, 1)
                except LookupError:
                    continue
                (bid, bid_size), (ask, ask_size) = ((side or [("", "")])[0] for side in depth[1:])
                best = {"bidPx": bid, "bidSz": bid_size, "askPx": ask, "askSz": ask_size}
                found.append({"instType": kind, "instId": symbol, **best})
            else:
                found.append(statistics(source.symbol(symbol), source.now_ms()))
        return found

    @staticmethod
    def _kind(query: Query) -> str:
        kind = query.get("instType", "")
        if kind not in ("SPOT", "SWAP", "FUTURES"):
            raise _Refused(400, "51000", "Parameter instType error")
        return kind

    def _candles(self, query: Query) -> Any:
        symbol, bar = self._symbol(query), query.get("bar", "1m")
        limit = _number(query, "limit", 100, MAX_CANDLES)
        if isinstance(self._source, Replay):
            recorded = self._source.recorded(f"candles {symbol} {bar}")
            return [] if recorded is None else msgspec.json.decode(recorded)["data"]
        if bar not in BARS:
            raise _Refused(400, "51000", "Parameter bar error")
        return candles(self._source.symbol(symbol), BARS[bar], limit, self._source.now_ms())

    def _symbol(self, query: Query) -> str:
        symbol = query.get("instId", "")
        if not symbol:
            raise _Refused(400, "50014", "Parameter instId can not be empty.")
        if symbol not in self._source.symbols():
            raise _Refused(200, "51001", "Instrument ID does not exist.")
        return symbol


def _number(query: Query, name: str, default: int, most: int) -> int:
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= most):
        raise _Refused(400, "51000", f"Parameter {name} error")
    return int(text)


def envelope(code: str, message: str, data: Any) -> bytes:
    """The envelope of every answer."""
    return msgspec.json.encode({"code": code, "msg": message, "data": data})


def _broken(status: int) -> bytes:
    if status in (418, 429):
        return envelope("50011", "Too Many Requests", [])
    if status == 503:
        return envelope("50001", "Service temporarily unavailable. Try again later.", [])
    if status >= 500:
        return b"<html><head><title>%d</title></head></html>" % status  # a proxy's page, not JSON
    return envelope("51000", "Parameter error", [])


def listed(listing: Listing) -> dict[str, str]:
    """One entry of ``public/instruments``; fields that do not apply are ``""``."""
    contract = listing.is_swap
    settle = listing.settle.partition("-")[0]  # without a date
    linear = "linear" if settle == listing.quote else "inverse"
    index = f"{listing.base}-{listing.quote}"
    lot = short_text(1, listing.size_decimals)
    return {
        "alias": "", "baseCcy": "" if contract else listing.base, "category": "1",
        "ctMult": "1" if contract else "", "ctType": linear if contract else "",
        "ctVal": listing.contract if contract else "",
        "ctValCcy": (listing.base if linear == "linear" else listing.quote) if contract else "",
        "expTime": "", "instFamily": index if contract else "", "instId": listing.venue_symbol,
        "instType": type_of(listing.venue_symbol), "lever": "", "listTime": "1548133413000", "lotSz": lot,
        "maxLmtSz": "9999999999", "maxMktSz": "1000000", "minSz": lot, "optType": "",
        "quoteCcy": "" if contract else listing.quote, "settleCcy": settle,
        "state": listing.status or "live", "stk": "",
        "tickSz": short_text(listing.grid, listing.price_decimals), "uly": index if contract else "",
    }  # fmt: skip
