"""Kraken's REST face: Time, AssetPairs, Depth, Ticker, OHLC. Errors come with status 200."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from workers.sim.book import Depth
from workers.sim.candles import Candle
from workers.sim.kraken.names import key, old
from workers.sim.market import Listing, short_text, tick_text
from workers.sim.rest import Answer, Desk, Request, Rest
from workers.sim.synthetic import Synthetic

MOST_LEVELS, USUAL_LEVELS = 500, 100
MOST_CANDLES = 720
INTERVALS = (1, 5, 15, 30, 60, 240, 1440)
"""Minutes that one day of minutes can serve."""
COUNTER, DECAY = 60.0, 1.0
"""Requests at once and a second; the venue's own numbers are not published."""
REST_ERROR = "rest_error"
PUBLIC = "/0/public/"
UNKNOWN = Candle(0, 0, 0, 0, 0)


class KrakenError(Exception):
    """An entry of `error`."""


class KrakenRest(Rest):
    """See `rest.Rest`. A fault of its own: ``rest_error``, an error with status 200."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._most = COUNTER if desk.budget is None else float(desk.budget)
        self._counter, self._at = 0.0, desk.clock()
        self.counters: dict[str, int] = {}
        self._routes: dict[str, Callable[[Mapping[str, str]], Any]] = {
            "Time": self._time,
            "AssetPairs": self._pairs,
            "Depth": self._depth,
            "Ticker": self._tickers,
            "OHLC": self._candles,
        }

    def handle(self, request: Request) -> Answer:
        """One request."""
        desk = self._desk
        name = request.path.removeprefix(PUBLIC)
        self.counters[name] = self.counters.get(name, 0) + 1
        if (fault := desk.faults.take(("rest",), path=request.path)) is not None:
            headers = {"Retry-After": str(fault.retry_after)} if fault.retry_after else {}
            error = "EAPI:Rate limit exceeded" if fault.status in (418, 429) else "EService:Unavailable"
            return Answer(fault.status, _body(errors=[error]), headers)
        if desk.faults.take((REST_ERROR,), path=request.path) is not None:
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
        now = self._desk.clock()
        self._counter = max(0.0, self._counter - DECAY * (now - self._at))
        self._at = now
        if self._counter + 1.0 > self._most:
            return False
        self._counter += 1.0
        return True

    # -- routes -------------------------------------------------------------------------------------------
    def _time(self, query: Mapping[str, str]) -> Any:
        return {"unixtime": self._desk.wall_ns() // 10**9, "rfc1123": "Thu, 06 Jul 23 18:50:48 +0000"}

    def _pairs(self, query: Mapping[str, str]) -> Any:
        listings = self._desk.source.listings()
        if "pair" in query:
            listings = [self._listing(name) for name in query["pair"].split(",")]
        if query.get("aclass_base", "currency") != "currency":
            return {}  # no tokenized equities
        return {key(one.symbol): _pair(one) for one in listings}

    def _depth(self, query: Mapping[str, str]) -> Any:
        listing = self._listing(query.get("pair", ""))
        count = min(_number(query, "count", USUAL_LEVELS), MOST_LEVELS)
        source, symbol = self._desk.source, listing.venue_symbol
        info = self._desk.hub.stream_info(f"book/25/{symbol}")
        if self._desk.faults.take(("stale_snapshot",), info=info) is not None:
            depth: Depth = source.stale(symbol).cut(count)
        else:
            depth = source.depth(symbol, count)
        now = self._desk.wall_ns() // 10**9
        sides = {"asks": depth.asks, "bids": depth.bids}
        return {
            key(symbol): {
                name: [[price, size, now] for price, size in levels] for name, levels in sides.items()
            }
        }

    def _tickers(self, query: Mapping[str, str]) -> Any:
        """Of all pairs, unless some are named. The day is its last minute, of a capture nothing is known."""
        source = self._desk.source
        if query.get("asset_class", "currency") != "currency":
            return {}  # no tokenized equities
        if query.get("assetVersion", "1") != "1":
            raise KrakenError("EGeneral:Invalid arguments")
        listings = source.listings()
        if "pair" in query:
            listings = [self._listing(name) for name in query["pair"].split(",")]
        told = {}
        for one in listings:
            symbol = one.venue_symbol
            name = symbol if "assetVersion" in query else key(one.symbol)
            day = source.symbol(symbol).candles.minutes[-1] if isinstance(source, Synthetic) else UNKNOWN
            with contextlib.suppress(LookupError):  # no book of it in the capture
                told[name] = _ticker(one, source.depth(symbol, 1), day)
        return told

    def _candles(self, query: Mapping[str, str]) -> Any:
        listing = self._listing(query.get("pair", ""))
        minutes = _number(query, "interval", 1)
        source = self._desk.source
        if minutes not in INTERVALS or not isinstance(source, Synthetic):
            raise KrakenError("EGeneral:Invalid arguments")
        candles = source.symbol(listing.venue_symbol).candles.grouped(minutes, MOST_CANDLES)
        last = candles[-2].start // 1000 if len(candles) > 1 else 0
        return {key(listing.symbol): [_candle(listing, one) for one in candles], "last": last}

    def _listing(self, pair: str) -> Listing:
        """By REST's name, its key or the v1 name."""
        for one in self._desk.source.listings():
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
    """As recorded: prices have five decimals at least, sizes of the best are whole lots, an empty side is
    zeros. Today is the last 24 hours here."""

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
    """Never 0 for an order, as recorded: rounded up."""
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
    told: dict[str, Any] = {"error": errors or []}
    if not errors:
        told["result"] = result
    return msgspec.json.encode(told)
