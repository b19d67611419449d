"""Publishes a market in Binance's streams: trades, best prices, depth, tickers and klines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Protocol

from workers.sim.binance.stats import kline, mini_ticker, ticker
from workers.sim.book import Depth, Diff
from workers.sim.hub import Hub
from workers.sim.market import Changes, Trade
from workers.sim.synthetic import MarketPublisher, Symbol


class Payloads(Protocol):
    """The payloads that spot and futures write differently; implemented by the modules `*_payloads`."""

    def book_ticker(
        self, symbol: str, ms: int, update: int, bid: str, bid_size: str, ask: str, ask_size: str, /
    ) -> bytes: ...

    def depth_update(self, symbol: str, ms: int, diff: Diff, previous: int, /) -> bytes: ...

    def partial_depth(self, symbol: str, ms: int, depth: Depth, diff: Diff, previous: int, /) -> bytes: ...

    def trade(self, symbol: str, ms: int, match: Trade, price: str, size: str, /) -> bytes: ...

    def agg_trade(
        self, symbol: str, ms: int, number: int, first: Trade, last: Trade, price: str, size: str, /
    ) -> bytes: ...


class Cadence:
    """One update speed of the depth streams.

    `suffix` ends the streams' names (``@100ms``); `every` is the interval in units of 100 ms, 0 for once a
    second; `previous` is the last update id that was published."""

    def __init__(self, suffix: str, every: int, changes: Changes, previous: int) -> None:
        self.suffix, self.every, self.changes, self.previous = suffix, every, changes, previous


class BinancePublisher(MarketPublisher):
    """See `synthetic.MarketPublisher`.

    Args:
        payloads: this market's payload builders.
        cadences: suffixes of the depth streams, and their intervals in units of 100 ms (see `Cadence`).
        top: whether the 24 h ticker contains the best prices.
    """

    def __init__(
        self, symbol: Symbol, hub: Hub, payloads: Payloads, cadences: Mapping[str, int], top: bool
    ) -> None:
        self._symbol, self._market, self._hub = symbol, symbol.market, hub
        self._payloads, self._top = payloads, top
        self._name = symbol.listing.venue_symbol
        self._prefix = self._name.lower()
        last = self._market.matcher.last_id
        self._cadences = [
            Cadence(suffix, every, self._market.watch(), last) for suffix, every in cadences.items()
        ]
        self._flushes = 0
        self._aggregate = 0
        self._traded = True

    def publish(self, channel: str, payload: Callable[[], bytes]) -> None:
        """Publish a payload on one of the symbol's channels; it is built only if there are subscribers."""
        stream = f"{self._prefix}@{channel}"
        if self._hub.has_subscribers(stream):
            self._hub.publish(stream, payload())

    def on_trades(self, now_ns: int, trades: Sequence[Trade]) -> None:
        """``@trade`` for each trade, ``@aggTrade`` for all trades of one order at one price."""
        now_ms, payloads = now_ns // 1_000_000, self._payloads
        price_text, size_text = self._market.price_text, self._market.size_text
        for match in trades:
            price, size = price_text(match.price), size_text(match.size)
            self.publish("trade", partial(payloads.trade, self._name, now_ms, match, price, size))
        for price_ticks, group in groupby(trades, key=lambda one: one.price):
            matches = list(group)
            self._aggregate += 1
            total = size_text(sum(one.size for one in matches))
            first, final, price = matches[0], matches[-1], price_text(price_ticks)
            self.publish(
                "aggTrade",
                partial(payloads.agg_trade, self._name, now_ms, self._aggregate, first, final, price, total),
            )
        self._traded = True

    def on_top_changed(self, now_ns: int) -> None:
        """``@bookTicker``"""
        self.publish("bookTicker", partial(self._book_ticker, now_ns // 1_000_000))

    def _book_ticker(self, now_ms: int) -> bytes:
        bid, bid_size, ask, ask_size = self._market.matcher.top()
        price, size = self._market.price_text, self._market.size_text
        return self._payloads.book_ticker(
            self._name, now_ms, self._market.matcher.last_id,
            price(bid), size(bid_size), price(ask), size(ask_size),
        )  # fmt: skip

    def _depth(self, cadence: Cadence, now_ms: int) -> None:
        """Changes and partial books of one update speed; nothing when nothing has changed."""
        diff = self._market.take(cadence.changes)
        if diff is None:
            return
        before, cadence.previous = cadence.previous, diff.last_id
        payloads = self._payloads
        self.publish(
            f"depth{cadence.suffix}", partial(payloads.depth_update, self._name, now_ms, diff, before)
        )
        for count in (5, 10, 20):
            stream = f"depth{count}{cadence.suffix}"
            if self._hub.has_subscribers(f"{self._prefix}@{stream}"):
                best = self._market.depth(count)
                self.publish(stream, partial(payloads.partial_depth, self._name, now_ms, best, diff, before))

    def every_100_ms(self, now_ns: int) -> None:
        """The depth streams that are due."""
        self._flushes += 1
        for cadence in self._cadences:
            if cadence.every and self._flushes % cadence.every == 0:
                self._depth(cadence, now_ns // 1_000_000)

    def every_second(self, now_ns: int) -> None:
        """Depth once a second, tickers, candles."""
        now_ms = now_ns // 1_000_000
        for cadence in self._cadences:
            if not cadence.every:
                self._depth(cadence, now_ms)
        if self._traded:
            self._traded = False
            self.publish("ticker", lambda: ticker(self._symbol, now_ms, self._top))
            self.publish("miniTicker", lambda: mini_ticker(self._symbol, now_ms))
            self.publish("kline_1m", lambda: kline(self._symbol, now_ms))
