"""Kraken's REST API: Time, AssetPairs, Depth, Ticker, OHLC. Errors come with status 200."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from workers.sim.book import Depth
from workers.sim.candles import Candle
from workers.sim.kraken.names import key, old
from workers.sim.market import Listing, short_text, tick_text
from workers.sim.rest import Answer, Request, Rest, RestContext
from workers.sim.synthetic import Synthetic

MOST_LEVELS, USUAL_LEVELS = 500, 100
MOST_CANDLES = 720
INTERVALS = (1, 5, 15, 30, 60, 240, 1440)
"""Candle intervals in minutes, as far as one day of one-minute candles can serve them."""
COUNTER, DECAY = 60.0, 1.0
"""Rate limit: requests at once, and requests regained per second. The venue does not publish its own."""
REST_ERROR = "rest_error"
PUBLIC = "/0/public/"
UNKNOWN = Candle(0, 0, 0, 0, 0)


class KrakenError(Exception):
    """A request is refused; the text is the entry of `error`."""


class KrakenRest(Rest):
    """See `rest.Rest`. Has a fault of its own: ``rest_error``, an error answered with status 200."""

    def __init__(self, context: RestContext) -> None:
        self._context = context
        self._most = COUNTER if context.budget is None else float(context.budget)
        self._counter, self._at = 0.0, context.clock()
        self.counters: dict[str, int] = {}
        self._routes: dict[str, Callable[[Mapping[str, str]], Any]] = {
            "Time": self._time,
            "AssetPairs": self._pairs,
            "Depth": self._depth,
            "Ticker": self._tickers,
            "OHLC": self._candles,
        }

    def handle(self, request: Request) -> Answer:
        """Answer one request; see `rest.Rest`."""
        context = self._context
        name = request.path.removeprefix(PUBLIC)
        self.counters[name] = self.counters.get(name, 0) + 1
        if (fault := context.faults.take(("rest",), path=request.path)) is not None:
            headers = {"Retry-After": str(fault.retry_after)} if fault.retry_after else {}
            error = "EAPI:Rate limit exceeded" if fault.status in (418, 429) else "EService:Unavailable"
            return Answer(fault.status, _body(errors=[error]), headers)
        if context.faults.take((REST_ERROR,), path=request.path) is not None:
            return Answer(200, _body(errors=["EService:Unavailable"]))
        if not self._permitted():
            return Answer(200, _body(errors=["EAPI:Rate limit exceeded"]))
        route = self._routes.get(name)
        if request.method != "GET" or not request.path.startswith(PUBLIC) or route is None:
            return Answer(404, _body(errors=["EGeneral:Unknown method"]))
        try:
            return Answer(200, _body(route(request.query)))
        except KrakenError as error:
            return Answer(200, _body(errors=[str(error)]))

    def _permitted(self) -> bool:
        now = self._context.clock()
        self._counter = max(0.0, self._counter - DECAY * (now - self._at))
        self._at = now
        if self._counter + 1.0 > self._most:
            return False
        self._counter += 1.0
        return True

    # -- routes -------------------------------------------------------------------------------------------
    def _time(self, query: Mapping[str, str]) -> Any:
        return {"unixtime": self._context.wall_ns() // 10**9, "rfc1123": "Thu, 06 Jul 23 18:50:48 +0000"}

    def _pairs(self, query: Mapping[str, str]) -> Any:
        listings = self._context.source.listings()
        if "pair" in query:
            listings = [self._listing(name) for name in query["pair"].split(",")]
        if query.get("aclass_base", "currency") != "currency":
            return {}  # no tokenized equities
        return {key(one.symbol): _pair(one) for one in listings}

    def _depth(self, query: Mapping[str, str]) -> Any:
        listing = self._listing(query.get("pair", ""))
        count = min(_number(query, "count", USUAL_LEVELS), MOST_LEVELS)
        source, symbol = self._context.source, listing.venue_symbol
        info = self._context.hub.stream_info(f"book/25/{symbol}")
        if self._context.faults.take(("stale_snapshot",), info=info) is not None:
            depth: Depth = source.stale(symbol).cut(count)
        else:
            depth = source.depth(symbol, count)
        now = self._context.wall_ns() // 10**9
        sides = {"asks": depth.asks, "bids": depth.bids}
        return {
            key(symbol): {
                name: [[price, size, now] for price, size in levels] for name, levels in sides.items()
            }
        }

    def _tickers(self, query: Mapping[str, str]) -> Any:
        """Tickers of the named pairs or of all. "Today" is the last minute; in a replay it is zeros."""
        source = self._context.source
        if query.get("asset_class", "currency") != "currency":
            return {}  # no tokenized equities
        if query.get("assetVersion", "1") != "1":
            raise KrakenError("EGeneral:Invalid arguments")
        listings = source.listings()
        if "pair" in query:
            listings = [self._listing(name) for name in query["pair"].split(",")]
        tickers = {}
        for one in listings:
            symbol = one.venue_symbol
            name = symbol if "assetVersion" in query else key(one.symbol)
            day = source.symbol(symbol).candles.minutes[-1] if isinstance(source, Synthetic) else UNKNOWN
            with contextlib.suppress(LookupError):  # no book of it in the capture
                tickers[name] = _ticker(one, source.depth(symbol, 1), day)
        return tickers

    def _candles(self, query: Mapping[str, str]) -> Any:
        listing = self._listing(query.get("pair", ""))
        minutes = _number(query, "interval", 1)
        source = self._context.source
        if minutes not in INTERVALS or not isinstance(source, Synthetic):
            raise KrakenError("EGeneral:Invalid arguments")
        candles = source.symbol(listing.venue_symbol).candles.grouped(minutes, MOST_CANDLES)
        last = candles[-2].start // 1000 if len(candles) > 1 else 0
        return {key(listing.symbol): [_candle(listing, one) for one in candles], "last": last}

    def _listing(self, pair: str) -> Listing:
        """The listing with this REST name, key or WebSocket v1 name."""
        for one in self._context.source.listings():
            base, quote = old(one.symbol)
            if pair in (base + quote, key(one.symbol), f"{base}/{quote}"):
                return one
        raise KrakenError("EQuery:Unknown asset pair")


def _pair(listing: Listing) -> dict[str, Any]:
    base, quote = old(listing.symbol)
    return {
        "altname": base + quote, "wsname": f"{base}/{quote}", "aclass_base": "currency", "base": base,
        "aclass_quote": "currency", "quote": quote, "lot": "unit", "cost_decimals": 5,
        "pair_decimals": listing.tick_decimals, "lot_decimals": listing.size_decimals, "lot_multiplier": 1,
        "leverage_buy": [2, 3], "leverage_sell": [2, 3], "fees": [[0, 0.4]], "fees_maker": [[0, 0.25]],
        "fee_volume_currency": "ZUSD", "margin_call": 80, "margin_stop": 40, "ordermin": "0.00005",
        "execution_venue": "international",
        "costmin": listing.min_notional, "tick_size": short_text(listing.grid, listing.price_decimals),
        "status": listing.status or "online",
    }  # fmt: skip


def _ticker(listing: Listing, depth: Depth, day: Candle) -> dict[str, Any]:
    """One pair of ``Ticker``, as recorded: prices have at least five decimals, sizes at the best prices are
    whole lots, an empty side is zeros. "Today" and "last 24 hours" are the same here."""

    def price(ticks: int) -> str:
        return _padded(tick_text(ticks, listing.price_decimals))

    sides = {}
    for name, levels in (("a", depth.asks), ("b", depth.bids)):
        best, lots = (_padded(levels[0][0]), _whole_lots(levels[0][1])) if levels else (price(0), 0)
        sides[name] = [best, str(lots), f"{lots}.000"]
    average = day.quote // day.base if day.base else day.close
    return sides | {
        "c": [price(day.close), tick_text(0, listing.size_decimals)],
        "v": [tick_text(day.base, listing.size_decimals)] * 2,
        "p": [price(average)] * 2,
        "t": [day.trades] * 2,
        "l": [price(day.low)] * 2,
        "h": [price(day.high)] * 2,
        "o": price(day.open),
    }


def _padded(price: str) -> str:
    whole, _, part = price.partition(".")
    return f"{whole}.{part:0<5}"


def _whole_lots(size: str) -> int:
    """A size rounded up to whole lots, as recorded: never 0 for an order."""
    whole, _, rest = size.partition(".")
    return int(whole) + bool(rest.strip("0"))


def _candle(listing: Listing, candle: Candle) -> list[Any]:
    prices = (candle.open, candle.high, candle.low, candle.close)
    average = candle.quote // candle.base if candle.base else candle.close
    texts = [tick_text(price, listing.price_decimals) for price in (*prices, average)]
    return [candle.start // 1000, *texts, tick_text(candle.base, listing.size_decimals), candle.trades]


def _number(query: Mapping[str, str], name: str, usual: int) -> int:
    text = query.get(name, str(usual))
    if not text.isdecimal() or not int(text):
        raise KrakenError("EGeneral:Invalid arguments")
    return int(text)


def _body(result: Any = None, errors: list[str] | None = None) -> bytes:
    body: dict[str, Any] = {"error": errors or []}
    if not errors:
        body["result"] = result
    return msgspec.json.encode(body)
