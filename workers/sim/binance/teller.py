"""What Binance's streams tell of a market."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby

from workers.sim.binance import payloads
from workers.sim.binance.stats import kline, mini_ticker, ticker
from workers.sim.hub import Hub
from workers.sim.market import Trade
from workers.sim.synthetic import Symbol, Teller


class SpotTeller(Teller):
    """See `synthetic.Teller`."""

    def __init__(self, symbol: Symbol, hub: Hub) -> None:
        self._symbol, self._market, self._hub = symbol, symbol.market, hub
        self._name = symbol.listing.venue_symbol
        self._prefix = self._name.lower()
        self._fast, self._slow = self._market.watch(), self._market.watch()
        self._aggregate = 0
        self._traded = True

    def _publish(self, channel: str, payload: Callable[[], bytes]) -> None:
        stream = f"{self._prefix}@{channel}"
        if self._hub.wanted(stream):
            self._hub.publish(stream, payload())

    def traded(self, now_ns: int, trades: Sequence[Trade]) -> None:
        """``@trade`` each match, ``@aggTrade`` what a taker matched at one price."""
        now_ms = now_ns // 1_000_000
        price_text, size_text = self._market.price_text, self._market.size_text
        for match in trades:
            price, size = price_text(match.price), size_text(match.size)
            self._publish("trade", partial(payloads.trade, self._name, now_ms, match, price, size))
        for price_ticks, group in groupby(trades, key=lambda one: one.price):
            matches = list(group)
            self._aggregate += 1
            total = size_text(sum(one.size for one in matches))
            first, final, price = matches[0], matches[-1], price_text(price_ticks)
            self._publish(
                "aggTrade",
                partial(payloads.agg_trade, self._name, now_ms, self._aggregate, first, final, price, total),
            )
        self._traded = True

    def topped(self, now_ns: int) -> None:
        """``@bookTicker``"""
        self._publish("bookTicker", self._book_ticker)

    def _book_ticker(self) -> bytes:
        bid, bid_size, ask, ask_size = self._market.matcher.top()
        price, size = self._market.price_text, self._market.size_text
        update = self._market.matcher.last_id
        return payloads.book_ticker(
            self._name, update, price(bid), size(bid_size), price(ask), size(ask_size)
        )

    def _partials(self, suffix: str) -> None:
        for count in (5, 10, 20):
            self._publish(f"depth{count}{suffix}", partial(self._partial, count))

    def _partial(self, count: int) -> bytes:
        return payloads.partial_depth(self._market.depth(count))

    def fast(self, now_ns: int) -> None:
        """``@depth@100ms`` and partial books; silence when nothing changed."""
        diff = self._market.take(self._fast)
        if diff is not None:
            self._publish("depth@100ms", lambda: payloads.depth_update(self._name, now_ns // 1_000_000, diff))
            self._partials("@100ms")

    def slow(self, now_ns: int) -> None:
        """``@depth``, partial books, tickers, candles."""
        now_ms = now_ns // 1_000_000
        diff = self._market.take(self._slow)
        if diff is not None:
            self._publish("depth", lambda: payloads.depth_update(self._name, now_ms, diff))
            self._partials("")
        if self._traded:
            self._traded = False
            self._publish("ticker", lambda: ticker(self._symbol, now_ms))
            self._publish("miniTicker", lambda: mini_ticker(self._symbol, now_ms))
            self._publish("kline_1m", lambda: kline(self._symbol, now_ms))
