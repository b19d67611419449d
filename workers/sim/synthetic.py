"""The synthetic source: seeded markets, told in Binance spot's payloads.

Everything comes from one matching engine a symbol, so update ids, tops, diffs, partial books, trades and
REST snapshots agree with each other. `step` and `flush_*` are pure in time (the caller gives it); only
`run` reads the clock.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from functools import partial
from itertools import groupby

from workers.sim import binance_spot as words
from workers.sim.binance_spot_stats import kline, mini_ticker, ticker
from workers.sim.book import Depth, Diff
from workers.sim.candles import Candles
from workers.sim.hub import Hub
from workers.sim.market import Listing, Market
from workers.sim.transport import Peer

FAST, SLOW = 0.1, 1.0
"""Seconds between depth diffs, ``@depth@100ms`` and ``@depth``."""


class Symbol:
    """One symbol's market and what its streams have told so far."""

    def __init__(self, listing: Listing, seed: int, levels: int, hub: Hub, now_ms: int) -> None:
        self.market = Market(listing, seed, levels)
        self.listing = listing
        self.candles = Candles(listing.price, listing.typical_size, now_ms, seed)
        self._hub = hub
        self._name = listing.venue_symbol
        self._prefix = listing.venue_symbol.lower()
        self._told = self._slow_told = self.market.matcher.last_id
        self._slow: tuple[dict[str, str], dict[str, str]] = ({}, {})
        self._aggregate = 0
        self._top = self.market.matcher.top()
        self._traded = True

    def _publish(self, channel: str, payload: Callable[[], bytes]) -> None:
        stream = f"{self._prefix}@{channel}"
        if self._hub.wanted(stream):
            self._hub.publish(stream, payload())

    def step(self, now_ms: int) -> None:
        """One action of the crowd, and the streams that tell of it at once."""
        market = self.market
        price_text, size_text = market.price_text, market.size_text
        trades = market.step()
        for match in trades:
            taker_buys = not match.buyer_is_maker
            self.candles.trade(now_ms, match.id, match.price, match.size, taker_buys)
            price, size = price_text(match.price), size_text(match.size)
            self._publish("trade", partial(words.trade, self._name, now_ms, match, price, size))
        for price_ticks, group in groupby(trades, key=lambda one: one.price):
            matches = list(group)
            self._aggregate += 1
            total = size_text(sum(one.size for one in matches))
            first, final, price = matches[0], matches[-1], price_text(price_ticks)
            self._publish(
                "aggTrade",
                partial(words.agg_trade, self._name, now_ms, self._aggregate, first, final, price, total),
            )
        self._traded = self._traded or bool(trades)
        top = market.matcher.top()
        if top != self._top:
            self._top = top
            self._publish("bookTicker", self.book_ticker)

    def book_ticker(self) -> bytes:
        """The top of the book now."""
        bid, bid_size, ask, ask_size = self.market.matcher.top()
        price, size = self.market.price_text, self.market.size_text
        update = self.market.matcher.last_id
        return words.book_ticker(self._name, update, price(bid), size(bid_size), price(ask), size(ask_size))

    def _partial(self, count: int) -> bytes:
        return words.partial_depth(self.market.depth(count))

    def flush_fast(self, now_ms: int) -> None:
        """The 100 ms streams: what changed since the last flush, and partial books; else silence."""
        last = self.market.matcher.last_id
        if last == self._told:
            return
        bids, asks = self.market.take_changes()
        diff = Diff(self._told + 1, last, bids, asks)
        self._told = last
        self._slow[0].update(bids)
        self._slow[1].update(asks)
        self._publish("depth@100ms", lambda: words.depth_update(self._name, now_ms, diff))
        for count in (5, 10, 20):
            self._publish(f"depth{count}@100ms", partial(self._partial, count))

    def flush_slow(self, now_ms: int) -> None:
        """The 1000 ms streams; call it right after `flush_fast`."""
        self.candles.roll(now_ms)
        last = self.market.matcher.last_id
        if last != self._slow_told:
            diff = Diff(self._slow_told + 1, last, list(self._slow[0].items()), list(self._slow[1].items()))
            self._slow_told = last
            self._slow[0].clear()
            self._slow[1].clear()
            self._publish("depth", lambda: words.depth_update(self._name, now_ms, diff))
            for count in (5, 10, 20):
                self._publish(f"depth{count}", partial(self._partial, count))
        if self._traded:
            self._traded = False
            self._publish("ticker", lambda: ticker(self, now_ms))
            self._publish("miniTicker", lambda: mini_ticker(self, now_ms))
            self._publish("kline_1m", lambda: kline(self, now_ms))


class Synthetic:
    """All symbols, and the clock that drives them.

    Args:
        listings: the symbols.
        seed: same seed, same markets.
        rate: actions of the crowd per second and symbol.
        levels: price levels a side that the crowd keeps up.
        hub: where the streams go.
        wall_ns: the venue's wall clock.
    """

    def __init__(
        self,
        listings: Iterable[Listing],
        seed: int,
        rate: float,
        levels: int,
        hub: Hub,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._wall_ns = wall_ns
        self._hub = hub
        self.rate = rate
        now = self.now_ms()
        self.symbols = {one.venue_symbol: Symbol(one, seed, levels, hub, now) for one in listings}
        self.actions = 0

    def now_ms(self) -> int:
        """The venue's time."""
        return self._wall_ns() // 1_000_000

    def subscribed(self, peer: Peer, stream: str) -> None:
        """A market streams changes; a new subscriber waits for the next one, as on the venue."""

    def disturbed(self, stream: str) -> None:
        """Later changes mend it, or show the gap."""

    def depth(self, symbol: str, limit: int | None = None) -> Depth:
        """The oracle: the book as it stands.

        Raises:
            KeyError: not listed.
        """
        return self.symbols[symbol].market.depth(limit)

    snapshot = depth

    def stale(self, symbol: str) -> Depth:
        """The book as it was when the venue started."""
        return self.symbols[symbol].market.started

    def step(self, count: int = 1) -> None:
        """So many actions of the crowd on every symbol."""
        now = self.now_ms()
        for symbol in self.symbols.values():
            for _ in range(count):
                symbol.step(now)
        self.actions += count * len(self.symbols)

    def flush_fast(self) -> None:
        """What the venue sends every 100 ms."""
        now = self.now_ms()
        for symbol in self.symbols.values():
            symbol.flush_fast(now)
        self._hub.flush()

    def flush_slow(self) -> None:
        """What the venue sends every second."""
        self.flush_fast()
        now = self.now_ms()
        for symbol in self.symbols.values():
            symbol.flush_slow(now)
        self._hub.flush()

    async def run(self) -> None:
        """Drive the markets at `rate` until cancelled; what the machine cannot keep up with is skipped."""
        clock = asyncio.get_running_loop().time
        last = clock()
        fast, slow, owed = last + FAST, last + SLOW, 0.0
        pause = 0.005 if self.rate > 100 else 0.01
        while True:
            await asyncio.sleep(pause)
            now = clock()
            owed += min(now - last, FAST) * self.rate
            last = now
            due, owed = int(owed), owed % 1.0
            if due:
                self.step(due)
            if now >= slow:
                slow = max(slow + SLOW, now)
                fast = now + FAST
                self.flush_slow()
            elif now >= fast:
                fast = max(fast + FAST, now)
                self.flush_fast()
            self._hub.flush()
