"""Publishes a market in Kraken's streams: book, ticker and trade."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from workers.sim.book import Depth, Level
from workers.sim.candles import Candle
from workers.sim.hub import Hub
from workers.sim.kraken import payloads
from workers.sim.kraken.names import DEPTHS, book, parts
from workers.sim.market import Trade
from workers.sim.synthetic import MarketPublisher, Symbol
from workers.sim.transport import Peer

HISTORY = 50  # trades that a snapshot of them has
Side = dict[int, int]  # price -> size, best first


class KrakenPublisher(MarketPublisher):
    """See `synthetic.MarketPublisher`. A book stream covers the subscribed depth only: a level that moves out
    of it is not reported as removed, a level that moves into it is reported as set."""

    def __init__(self, symbol: Symbol, hub: Hub) -> None:
        self._symbol, self._market, self._hub = symbol, symbol.market, hub
        self._name = symbol.listing.venue_symbol
        self._ticker, self._bbo, self._trades = (f"{one}/{self._name}" for one in ("ticker", "bbo", "trade"))
        self._best: tuple[int, int] | None = None  # prices last published with the trigger bbo
        self._views: dict[int, tuple[Side, Side]] = {}  # depth -> the book that its subscribers have
        self._history: deque[tuple[bool, str, str, int, int]] = deque(maxlen=HISTORY)
        self._day = symbol.candles.day()

    # -- the book -------------------------------------------------------------------------------------
    def after_batch(self, now_ns: int) -> None:
        """``book``, for each depth that has subscribers."""
        for depth in DEPTHS:
            stream = book(self._name, depth)
            if self._hub.has_subscribers(stream):
                self._publish_changes(stream, depth, now_ns)
            else:
                self._views.pop(depth, None)

    def _publish_changes(self, stream: str, depth: int, now_ns: int) -> None:
        before, now = self._views[depth], self._top_levels(depth)
        sides: list[list[Level]] = []
        matcher = self._market.matcher
        for old, new, whole in zip(before, now, (matcher.bids.totals, matcher.asks.totals), strict=True):
            gone = [(price, 0) for price in old if price not in whole]
            entries = [(price, size) for price, size in new.items() if old.get(price) != size]
            sides.append(self._texts([*gone, *entries]))
        if sides[0] or sides[1]:
            self._views[depth] = now
            frame = payloads.book("update", self._name, sides[0], sides[1], self._depth(now), now_ns)
            self._hub.publish(stream, frame)

    def _top_levels(self, depth: int) -> tuple[Side, Side]:
        bids, asks = self._market.matcher.bids, self._market.matcher.asks
        return (
            {price: bids.totals[price] for price in bids.prices[: -depth - 1 : -1]},
            {price: asks.totals[price] for price in asks.prices[:depth]},
        )

    def _texts(self, levels: Sequence[tuple[int, int]]) -> list[Level]:
        price, size = self._market.price_text, self._market.size_text
        return [(price(p), size(s)) for p, s in levels]

    def _depth(self, view: tuple[Side, Side]) -> Depth:
        bids, asks = (self._texts([*side.items()]) for side in view)
        return Depth(0, bids, asks)

    # -- ticker and trades ------------------------------------------------------------------------------
    def on_top_changed(self, now_ns: int) -> None:
        """``ticker`` with the trigger ``bbo``: when a best price has changed, not when only a size has."""
        bid, _, ask, _ = self._market.matcher.top()
        if (bid, ask) != self._best:
            self._best = bid, ask
            if self._hub.has_subscribers(self._bbo):
                self._hub.publish(self._bbo, self._statistics("update", now_ns))

    def every_second(self, now_ns: int) -> None:
        """Recompute the 24 h statistics; `on_trades` only adds to them."""
        self._day = self._symbol.candles.day()

    def _statistics(self, kind: str, now_ns: int) -> bytes:
        day, price, size = self._day, self._market.price_text, self._market.size_text
        bid, bid_size, ask, ask_size = self._market.matcher.top()
        change = day.close - day.open
        average = day.quote // day.base if day.base else day.close
        return (
            f'{{"channel":"ticker","type":"{kind}","data":[{{"symbol":"{self._name}","bid":{price(bid)},'
            f'"bid_qty":{size(bid_size)},"ask":{price(ask)},"ask_qty":{size(ask_size)},"last":{price(day.close)},'
            f'"volume":{size(day.base)},"vwap":{price(average)},"low":{price(day.low)},"high":{price(day.high)},'
            f'"change":{"-" if change < 0 else ""}{price(abs(change))},'
            f'"change_pct":{change * 100 / day.open:.2f},"trades":{day.trades},'
            f'"timestamp":"{payloads.timestamp(now_ns)}"}}]}}'
        ).encode()

    def on_trades(self, now_ns: int, trades: Sequence[Trade]) -> None:
        """``trade``: all trades of one order in one message; ``ticker``, which trades trigger."""
        price, size = self._market.price_text, self._market.size_text
        entries = [(one.buyer_is_maker, price(one.price), size(one.size), one.id, now_ns) for one in trades]
        self._history.extend(entries)
        for one in trades:
            self._day.add(
                Candle(0, one.price, one.price, one.price, one.price, one.size, one.price * one.size, 1)
            )
        if self._hub.has_subscribers(self._trades):
            self._hub.publish(self._trades, payloads.trade("update", self._name, entries))
        if self._hub.has_subscribers(self._ticker):
            self._hub.publish(self._ticker, self._statistics("update", now_ns))

    # -- new subscribers ----------------------------------------------------------------------------------
    def on_subscribed(self, peer: Peer, stream: str, now_ns: int) -> None:
        """The snapshot, if the client asked for one (`Peer.notes`). Earlier subscribers of a book first get
        the pending changes."""
        channel, depth, _ = parts(stream)
        if channel == "book":
            if self._hub.has_subscribers(stream):
                self._publish_changes(stream, depth, now_ns)
            else:
                self._views[depth] = self._top_levels(depth)
        if stream not in peer.notes.get("snapshots", ()):
            return
        if channel == "book":
            whole = self._depth(self._views[depth])
            frame = payloads.book("snapshot", self._name, whole.bids, whole.asks, whole, now_ns)
        elif channel in ("ticker", "bbo"):
            frame = self._statistics("snapshot", now_ns)
        elif self._history:
            frame = payloads.trade("snapshot", self._name, self._history)
        else:
            return
        self._hub.send(peer, stream, frame)
