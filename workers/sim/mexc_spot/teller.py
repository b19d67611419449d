"""MEXC spot's streams from a synthetic market. What is aggregated is told every 100 ms and every 10 ms."""

from __future__ import annotations

from collections.abc import Sequence

from workers.sim.hub import Hub
from workers.sim.market import Changes, Trade, short_text
from workers.sim.mexc_spot import names, payloads
from workers.sim.synthetic import Symbol, Teller
from workers.sim.transport import Binary

TICKER_EVERY = 3
"""Seconds, or calls of `slow`, between mini tickers."""
FIRST_TRADE = 731_901_896_985_399_296
"""Trade ids are two numbers of such a size, as recorded."""


class Cadence:
    """One interval: what has happened since it was told last."""

    def __init__(self, interval: str, changes: Changes) -> None:
        self.interval = interval
        self.changes = changes
        self.topped = False
        self.trades: list[tuple[int, Trade]] = []


class MexcTeller(Teller):
    """See `synthetic.Teller`."""

    def __init__(self, symbol: Symbol, hub: Hub) -> None:
        self._symbol, self._market, self._hub = symbol, symbol.market, hub
        self._name = symbol.listing.venue_symbol
        self._slow, self._fast = (Cadence(interval, symbol.market.watch()) for interval in names.INTERVALS)
        self._seconds = 0

    def traded(self, now_ns: int, trades: Sequence[Trade]) -> None:
        """Kept until they are told together."""
        for cadence in (self._slow, self._fast):
            cadence.trades += [(now_ns // 1_000_000, trade) for trade in trades]

    def topped(self, now_ns: int) -> None:
        """Likewise; the last one is told."""
        self._slow.topped = self._fast.topped = True

    def instant(self, now_ns: int) -> None:
        """The topics ``@10ms``."""
        self._tell(self._fast, now_ns // 1_000_000)

    def fast(self, now_ns: int) -> None:
        """The topics ``@100ms``."""
        self._tell(self._slow, now_ns // 1_000_000)

    def _tell(self, cadence: Cadence, ms: int) -> None:
        diff = self._market.take(cadence.changes)
        if diff is not None:
            name = names.topic("depth", self._name, cadence.interval)
            if self._hub.has_subscribers(name):
                body = payloads.depths(
                    names.event(name), diff.first_id, diff.last_id, diff.bids, diff.asks, ms
                )
                self._publish(name, ms, payloads.DEPTHS, body)
        if cadence.topped:
            cadence.topped = False
            self._tell_top(names.topic("bookTicker", self._name, cadence.interval), ms)
        trades, cadence.trades = cadence.trades, []
        if trades:
            self._tell_trades(names.topic("deals", self._name, cadence.interval), ms, trades)

    def _tell_top(self, name: str, ms: int) -> None:
        """An emptied side is absent."""
        price, size = self._market.price_text, self._market.size_text
        bid, bids, ask, asks = self._market.matcher.top()
        best = [(price(at), size(much)) if much else ("", "") for at, much in ((bid, bids), (ask, asks))]
        body = payloads.book_ticker(best[0], best[1], self._market.matcher.last_id, ms)
        self._publish(name, ms, payloads.BOOK_TICKER, body)

    def _tell_trades(self, name: str, ms: int, trades: Sequence[tuple[int, Trade]]) -> None:
        price, size = self._market.price_text, self._market.size_text
        each = [
            payloads.deal(price(one.price), size(one.size), one.buyer_is_maker, at, trade_id(one.id))
            for at, one in trades
        ]
        self._publish(name, ms, payloads.DEALS, payloads.deals(names.event(name), each))

    def slow(self, now_ns: int) -> None:
        """The mini ticker, every third time."""
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
