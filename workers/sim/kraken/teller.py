"""What Kraken's streams tell of a market."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from workers.sim.book import Depth, Level
from workers.sim.candles import Candle
from workers.sim.hub import Hub
from workers.sim.kraken import payloads
from workers.sim.kraken.names import DEPTHS, book, parts
from workers.sim.market import Trade
from workers.sim.synthetic import Symbol, Teller
from workers.sim.transport import Peer

HISTORY = 50  # trades that a snapshot of them has
Side = dict[int, int]  # price -> size, best first


class KrakenTeller(Teller):
    """See `synthetic.Teller`. A book is told as it is seen from above: levels that fall out of the depth
    subscribed are not told, what moves into it is."""

    def __init__(self, symbol: Symbol, hub: Hub) -> None:
        self._symbol, self._market, self._hub = symbol, symbol.market, hub
        self._name = symbol.listing.venue_symbol
        self._ticker, self._bbo, self._trades = (f"{one}/{self._name}" for one in ("ticker", "bbo", "trade"))
        self._best: tuple[int, int] | None = None  # prices that the trigger bbo has told
        self._views: dict[int, tuple[Side, Side]] = {}  # depth -> what its subscribers have
        self._history: deque[tuple[bool, str, str, int, int]] = deque(maxlen=HISTORY)
        self._day = symbol.candles.day()

    # -- the book -------------------------------------------------------------------------------------
    def instant(self, now_ns: int) -> None:
        """``book``, of each depth that somebody listens to."""
        for depth in DEPTHS:
            stream = book(self._name, depth)
            if self._hub.has_subscribers(stream):
                self._tell(stream, depth, now_ns)
            else:
                self._views.pop(depth, None)

    def _tell(self, stream: str, depth: int, now_ns: int) -> None:
        before, now = self._views[depth], self._seen(depth)
        sides: list[list[Level]] = []
        matcher = self._market.matcher
        for old, new, whole in zip(before, now, (matcher.bids.totals, matcher.asks.totals), strict=True):
            gone = [(price, 0) for price in old if price not in whole]
            told = [(price, size) for price, size in new.items() if old.get(price) != size]
            sides.append(self._texts([*gone, *told]))
        if sides[0] or sides[1]:
            self._views[depth] = now
            frame = payloads.book("update", self._name, sides[0], sides[1], self._depth(now), now_ns)
            self._hub.publish(stream, frame)

    def _seen(self, depth: int) -> tuple[Side, Side]:
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
    def topped(self, now_ns: int) -> None:
        """``ticker`` with the trigger ``bbo``: when a best price is another; not for a size alone."""
        bid, _, ask, _ = self._market.matcher.top()
        if (bid, ask) != self._best:
            self._best = bid, ask
            if self._hub.has_subscribers(self._bbo):
                self._hub.publish(self._bbo, self._statistics("update", now_ns))

    def slow(self, now_ns: int) -> None:
        """The last 24 hours: trades are counted as they come, and once a second what is older is left out."""
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

    def traded(self, now_ns: int, trades: Sequence[Trade]) -> None:
        """``trade``: all trades of a taker in one message; ``ticker``, which they trigger."""
        price, size = self._market.price_text, self._market.size_text
        told = [(one.buyer_is_maker, price(one.price), size(one.size), one.id, now_ns) for one in trades]
        self._history.extend(told)
        for one in trades:
            self._day.add(
                Candle(0, one.price, one.price, one.price, one.price, one.size, one.price * one.size, 1)
            )
        if self._hub.has_subscribers(self._trades):
            self._hub.publish(self._trades, payloads.trade("update", self._name, told))
        if self._hub.has_subscribers(self._ticker):
            self._hub.publish(self._ticker, self._statistics("update", now_ns))

    # -- who comes ----------------------------------------------------------------------------------------
    def subscribed(self, peer: Peer, stream: str, now_ns: int) -> None:
        """What was asked for as a snapshot (`Peer.notes`); the others of a book get what is pending first."""
        channel, depth, _ = parts(stream)
        if channel == "book":
            if self._hub.has_subscribers(stream):
                self._tell(stream, depth, now_ns)
            else:
                self._views[depth] = self._seen(depth)
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
