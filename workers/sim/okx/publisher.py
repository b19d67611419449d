"""Publishes a market in OKX's channels.

``seqId`` is the market's update id, shared by all channels of an instrument. Every change of a price level
uses one id, so that published ids have gaps between them, as the venue's do.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from workers.sim.book import Depth, Level
from workers.sim.funding import PERIOD_MS, Mark
from workers.sim.hub import Hub
from workers.sim.market import Trade
from workers.sim.okx import payloads
from workers.sim.okx.names import LEGACY, index_of
from workers.sim.okx.protocol import OkxProtocol
from workers.sim.okx.stats import ticker
from workers.sim.synthetic import MarketPublisher, Symbol
from workers.sim.transport import Peer

LEVELS = 400
"""Levels a side of ``books``: a level that leaves them is sent as removed, one that enters them as set."""
CROWDED = 300
"""From this many levels a side on, the published levels are kept and compared with the new ones."""
QUIET_NS = 60_000_000_000
"""After this long without a change the venue repeats the last ``seqId`` of ``books``, and ``bbo-tbt``."""
FUNDING_NS = 30_000_000_000
"""Between two pushes of the funding rate."""
RESET = 3
"""The first ``seqId`` after a reset, as in the documentation's example."""


class OkxPublisher(MarketPublisher):
    """See `synthetic.MarketPublisher`."""

    def __init__(self, symbol: Symbol, hub: Hub) -> None:
        self._symbol, self._market, self._hub = symbol, symbol.market, hub
        self._name = symbol.listing.venue_symbol
        self._index = index_of(self._name)
        self._changes = self._market.watch()
        self._last_id = self._market.matcher.last_id  # seqId of the last message of books
        self._last_change_at = self._top_at = self._funding_at = 0
        self._published: Depth | None = None  # the published levels, once there are many
        self._top_changed = self._traded = False
        self._last_trade = b""  # a message with the last trade alone

    def _stream(self, channel: str) -> str:
        return f"{channel}/{self._name}"

    def _has_subscribers(self, channel: str) -> bool:
        return self._hub.has_subscribers(self._stream(channel))

    @property
    def _protocol(self) -> OkxProtocol:
        assert isinstance(self._hub.protocol, OkxProtocol)
        return self._hub.protocol

    def _id(self) -> int:
        """The market's update id as ``seqId``."""
        return self._market.matcher.last_id + self._protocol.offsets.get(self._name, 0)

    # -- trades ---------------------------------------------------------------------------------------

    def on_trades(self, now_ns: int, trades: Sequence[Trade]) -> None:
        """``trades``: one entry for all trades of an order at one price, one message for the whole order."""
        self._traded = True
        market, entries = self._market, []
        for price, group in groupby(trades, key=lambda one: one.price):
            matches = list(group)
            size = market.size_text(sum(one.size for one in matches))
            entries.append(
                payloads.trade(
                    self._name, matches[-1].id, market.price_text(price), size, _side(matches[-1]),
                    now_ns // 1_000_000, len(matches), self._id(),
                )
            )  # fmt: skip
        arg = {"channel": "trades", "instId": self._name}
        self._last_trade = payloads.push(arg, entries[-1:])
        if self._has_subscribers("trades"):
            self._hub.publish(self._stream("trades"), payloads.push(arg, entries))

    def on_liquidation(self, now_ns: int, trade: Trade) -> None:
        """``liquidation-orders``"""
        if self._has_subscribers("liquidation-orders"):
            price, size = self._market.price_text(trade.price), self._market.size_text(trade.size)
            payload = payloads.liquidation(self._name, price, size, _side(trade), now_ns // 1_000_000)
            self._hub.publish(self._stream("liquidation-orders"), payload)

    # -- books ----------------------------------------------------------------------------------------

    def on_top_changed(self, now_ns: int) -> None:
        """Noted; published after the batch."""
        self._top_changed = True

    def after_batch(self, now_ns: int) -> None:
        """``bbo-tbt``, every 10 ms in which it has changed."""
        if self._top_changed:
            self._top_changed = False
            self._publish_top(now_ns)

    def _publish_top(self, now_ns: int) -> None:
        self._top_at = now_ns
        if self._has_subscribers("bbo-tbt"):
            self._hub.publish(self._stream("bbo-tbt"), self._best("bbo-tbt", 1, now_ns))

    def _best(self, channel: str, levels: int, now_ns: int) -> bytes:
        depth = self._market.depth(levels)
        return payloads.best(channel, self._name, depth, now_ns // 1_000_000, self._id())

    def every_100_ms(self, now_ns: int) -> None:
        """``books``, ``books5`` and ``tickers``, every 100 ms in which there was a change."""
        diff = self._market.take(self._changes)
        if diff is not None:
            bids, asks = self._within(diff.bids, diff.asks)
            self._publish_change(now_ns, bids, asks)
            if self._has_subscribers("books5"):
                self._hub.publish(self._stream("books5"), self._best("books5", 5, now_ns))
        if (diff is not None or self._traded) and self._has_subscribers("tickers"):
            self._hub.publish(self._stream("tickers"), ticker(self._symbol, now_ns // 1_000_000))
        self._traded = False

    def _within(self, bids: list[Level], asks: list[Level]) -> tuple[list[Level], list[Level]]:
        """Those of the book's changes that concern the best 400 levels."""
        matcher = self._market.matcher
        if self._published is None:
            if max(len(matcher.bids.prices), len(matcher.asks.prices)) > CROWDED:
                self._published = self._market.depth()
            return bids, asks
        before, self._published = self._published, self._market.depth(LEVELS)
        return _changed(before.bids, self._published.bids), _changed(before.asks, self._published.asks)

    def _publish_change(self, now_ns: int, bids: list[Level], asks: list[Level]) -> None:
        """Publish one change; ``prevSeqId`` is kept up to date also without subscribers."""
        stream, before, ms = self._stream("books"), self._last_id, now_ns // 1_000_000
        if self._hub.faults.active and self._hub.faults.take(
            ("reset_ids",), info=self._hub.stream_info(stream)
        ):
            self._protocol.offsets[self._name] = RESET - self._market.matcher.last_id
        self._last_id, self._last_change_at = self._id(), now_ns
        if self._hub.has_subscribers(stream):
            payload = payloads.book(self._name, "update", bids, asks, ms, (before, self._last_id))
            self._hub.publish(stream, payload)
        if self._has_subscribers(LEGACY):
            check = payloads.crc(self._market.depth(payloads.CHECKED))
            payload = payloads.book(self._name, "update", bids, asks, ms, None, check)
            self._hub.publish(self._stream(LEGACY), payload)

    def on_subscribed(self, peer: Peer, stream: str, now_ns: int) -> None:
        """The whole book; on other channels, except liquidations, the last state. ``trades`` repeats the last
        trade, as recorded."""
        channel, ms = stream.partition("/")[0], now_ns // 1_000_000
        if channel in ("books", LEGACY):
            self.every_100_ms(now_ns)
            depth = self._market.depth(LEVELS)
            legacy = channel == LEGACY
            ids = None if legacy else (-1, self._last_id)
            check = payloads.crc(depth) if legacy else 0
            payload = payloads.book(self._name, "snapshot", depth.bids, depth.asks, ms, ids, check)
        elif channel in ("bbo-tbt", "books5"):
            payload = self._best(channel, 1 if channel == "bbo-tbt" else 5, now_ns)
        elif channel == "tickers":
            payload = ticker(self._symbol, ms)
        elif channel == "trades" and self._last_trade:
            payload = self._last_trade
        elif self._symbol.funding is not None and channel in ("mark-price", "index-tickers", "funding-rate"):
            payload = self._marked(channel, self._symbol.funding.at(ms), ms)
        else:
            return
        self._hub.send(peer, stream, payload)

    # -- by the clock -----------------------------------------------------------------------------------

    def every_second(self, now_ns: int) -> None:
        """Mark and index prices, every 30 s the funding rate, and repeats on quiet channels."""
        if now_ns - self._last_change_at >= QUIET_NS:
            self._last_change_at = now_ns
            quiet = payloads.book(
                self._name, "update", [], [], now_ns // 1_000_000, (self._last_id, self._last_id)
            )
            self._hub.publish(self._stream("books"), quiet)
        if now_ns - self._top_at >= QUIET_NS:
            self._publish_top(now_ns)
        if self._symbol.funding is None:
            return
        ms = now_ns // 1_000_000
        mark = self._symbol.funding.at(ms)
        channels = ["mark-price", "index-tickers"]
        if now_ns - self._funding_at >= FUNDING_NS:
            self._funding_at = now_ns
            channels.append("funding-rate")
        for channel in channels:
            stream = f"{channel}/{self._index}" if channel == "index-tickers" else self._stream(channel)
            if self._hub.has_subscribers(stream):
                self._hub.publish(stream, self._marked(channel, mark, ms))

    def _marked(self, channel: str, mark: Mark, ms: int) -> bytes:
        price = self._market.price_text
        if channel == "mark-price":
            return payloads.mark(self._name, price(mark.mark), ms)
        if channel == "funding-rate":
            return payloads.funding(self._name, mark.rate_text, mark.next_ms, PERIOD_MS, ms)
        day = self._symbol.candles.day()
        return payloads.index(
            self._index, price(mark.spot), (price(day.high), price(day.low), price(day.open)), ms
        )


def _side(trade: Trade) -> str:
    """Of the taker."""
    return "sell" if trade.buyer_is_maker else "buy"


def _changed(before: list[Level], after: list[Level]) -> list[Level]:
    """The levels of `after` that are new or another size, and those that are gone, with size 0."""
    old, new = dict(before), dict(after)
    gone = [(price, "0") for price in old if price not in new]
    return gone + [level for level in after if old.get(level[0]) != level[1]]
