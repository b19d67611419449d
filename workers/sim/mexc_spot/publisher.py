"""Publishes a market in MEXC spot's streams; aggregated topics exist at 100 ms and at 10 ms."""

from __future__ import annotations

from collections.abc import Sequence

from workers.sim.hub import Hub
from workers.sim.market import Changes, Trade, short_text
from workers.sim.mexc_spot import names, payloads
from workers.sim.synthetic import MarketPublisher, Symbol
from workers.sim.transport import Binary

TICKER_EVERY = 3
"""Seconds between mini tickers."""
FIRST_TRADE = 731_901_896_985_399_296
"""Trade ids are texts of two numbers of this size, as recorded."""


class Cadence:
    """One update interval (``100ms``, ``10ms``): what has happened since it was last published."""

    def __init__(self, interval: str, changes: Changes) -> None:
        self.interval = interval
        self.changes = changes
        self.top_changed = False
        self.trades: list[tuple[int, Trade]] = []


class MexcPublisher(MarketPublisher):
    """See `synthetic.MarketPublisher`."""

    def __init__(self, symbol: Symbol, hub: Hub) -> None:
        self._symbol, self._market, self._hub = symbol, symbol.market, hub
        self._name = symbol.listing.venue_symbol
        self._100_ms, self._10_ms = (Cadence(interval, symbol.market.watch()) for interval in names.INTERVALS)
        self._seconds = 0

    def on_trades(self, now_ns: int, trades: Sequence[Trade]) -> None:
        """Kept until the interval ends; a message has all trades of an interval."""
        for cadence in (self._100_ms, self._10_ms):
            cadence.trades += [(now_ns // 1_000_000, trade) for trade in trades]

    def on_top_changed(self, now_ns: int) -> None:
        """Noted until the interval ends; the best prices at its end are published."""
        self._100_ms.top_changed = self._10_ms.top_changed = True

    def after_batch(self, now_ns: int) -> None:
        """The topics ``@10ms``."""
        self._publish_interval(self._10_ms, now_ns // 1_000_000)

    def every_100_ms(self, now_ns: int) -> None:
        """The topics ``@100ms``."""
        self._publish_interval(self._100_ms, now_ns // 1_000_000)

    def _publish_interval(self, cadence: Cadence, ms: int) -> None:
        diff = self._market.take(cadence.changes)
        if diff is not None:
            name = names.topic("depth", self._name, cadence.interval)
            if self._hub.has_subscribers(name):
                body = payloads.depths(
                    names.event(name), diff.first_id, diff.last_id, diff.bids, diff.asks, ms
                )
                self._publish(name, ms, payloads.DEPTHS, body)
        if cadence.top_changed:
            cadence.top_changed = False
            self._publish_top(names.topic("bookTicker", self._name, cadence.interval), ms)
        trades, cadence.trades = cadence.trades, []
        if trades:
            self._publish_trades(names.topic("deals", self._name, cadence.interval), ms, trades)

    def _publish_top(self, name: str, ms: int) -> None:
        """The best prices; a side without orders is left out."""
        price, size = self._market.price_text, self._market.size_text
        bid, bids, ask, asks = self._market.matcher.top()
        best = [(price(at), size(much)) if much else ("", "") for at, much in ((bid, bids), (ask, asks))]
        body = payloads.book_ticker(best[0], best[1], self._market.matcher.last_id, ms)
        self._publish(name, ms, payloads.BOOK_TICKER, body)

    def _publish_trades(self, name: str, ms: int, trades: Sequence[tuple[int, Trade]]) -> None:
        price, size = self._market.price_text, self._market.size_text
        each = [
            payloads.deal(price(one.price), size(one.size), one.buyer_is_maker, at, trade_id(one.id))
            for at, one in trades
        ]
        self._publish(name, ms, payloads.DEALS, payloads.deals(names.event(name), each))

    def every_second(self, now_ns: int) -> None:
        """The mini ticker, every third second."""
        self._seconds += 1
        if self._seconds % TICKER_EVERY:
            return
        day, listing = self._symbol.candles.day(), self._symbol.listing
        price = self._market.price_text
        body = payloads.mini_ticker(
            self._name,
            price(day.close),
            f"{(day.close - day.open) / day.open:.4f}",
            price(day.high),
            price(day.low),
            short_text(day.quote, listing.price_decimals + listing.size_decimals),
            self._market.size_text(day.base),
        )
        self._publish(names.ticker(self._name), now_ns // 1_000_000, payloads.MINI_TICKER, body)

    def _publish(self, name: str, ms: int, number: int, body: bytes) -> None:
        if self._hub.has_subscribers(name):
            self._hub.publish(name, Binary(payloads.wrapper(name, self._name, ms, number, body)))


def trade_id(number: int) -> str:
    """``731901896985399296X0_731901896985399297X0``"""
    first = FIRST_TRADE + 2 * number
    return f"{first}X0_{first + 1}X0"
