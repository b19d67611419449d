"""A small exchange for one symbol: price-time priority, and a seeded crowd that trades on it.

Prices and sizes are integers (ticks and lots). Every change of one price level is one update id, so the
ids are dense and a diff, a top and a snapshot can be told to be of the same moment.
"""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from workers.sim.book import Depth, Level


class Listing(NamedTuple):
    """A symbol and its rules: `tick` and `lot` as powers of ten (decimals), a start price in ticks."""

    base: str
    quote: str
    price_decimals: int
    size_decimals: int
    price: int
    typical_size: int
    min_notional: str = "5.00000000"

    @property
    def symbol(self) -> str:
        """Canonical: ``BTC/USDT``."""
        return f"{self.base}/{self.quote}"

    @property
    def venue_symbol(self) -> str:
        """The venue's: ``BTCUSDT``."""
        return self.base + self.quote


class Trade(NamedTuple):
    """One match; `order` numbers the taker's order, `buyer_is_maker` as venues say it."""

    id: int
    order: int
    price: int
    size: int
    buyer_is_maker: bool


class Order:
    """A resting order; size 0 is gone (cancelled or filled) and awaits removal from its queue."""

    __slots__ = ("bid", "number", "price", "size")

    def __init__(self, number: int, bid: bool, price: int, size: int) -> None:
        self.number, self.bid, self.price, self.size = number, bid, price, size


class Side:
    """One side of the book: queues by price, prices in order, totals by price."""

    def __init__(self) -> None:
        self.queues: dict[int, deque[Order]] = {}
        self.totals: dict[int, int] = {}
        self.prices: list[int] = []

    def add(self, order: Order) -> None:
        """Queue an order at its price."""
        if order.price not in self.totals:
            insort(self.prices, order.price)
            self.queues[order.price] = deque()
            self.totals[order.price] = 0
        self.queues[order.price].append(order)
        self.totals[order.price] += order.size

    def reduce(self, price: int, size: int) -> None:
        """Take size away from a price; an emptied price goes."""
        self.totals[price] -= size
        if not self.totals[price]:
            del self.totals[price], self.queues[price]
            del self.prices[bisect_left(self.prices, price)]


class Matcher:
    """The matching engine and its full book.

    `last_id` is the book's update id; `touched` collects the levels changed since it was last cleared.
    """

    def __init__(self, first_id: int = 1) -> None:
        self.bids, self.asks = Side(), Side()
        self.last_id = first_id
        self.trade_id = 0
        self._number = 0
        self.touched: dict[tuple[bool, int], None] = {}

    def top(self) -> tuple[int, int, int, int]:
        """Bid, its size, ask, its size; zeros for an empty side."""
        bids, asks = self.bids, self.asks
        bid = bids.prices[-1] if bids.prices else 0
        ask = asks.prices[0] if asks.prices else 0
        return bid, bids.totals.get(bid, 0), ask, asks.totals.get(ask, 0)

    def _changed(self, bid: bool, price: int) -> None:
        self.last_id += 1
        self.touched[bid, price] = None

    def limit(self, bid: bool, price: int, size: int) -> tuple[Order | None, list[Trade]]:
        """A limit order: match what crosses, rest what is left."""
        self._number += 1
        number = self._number
        trades, left = self._match(number, bid, price, size)
        if not left:
            return None, trades
        order = Order(number, bid, price, left)
        (self.bids if bid else self.asks).add(order)
        self._changed(bid, price)
        return order, trades

    def market(self, bid: bool, size: int) -> list[Trade]:
        """A market order; what finds no counterparty is gone."""
        self._number += 1
        return self._match(self._number, bid, None, size)[0]

    def cancel(self, order: Order) -> bool:
        """Take a resting order away; False when it rests no more."""
        if not order.size:
            return False
        size, order.size = order.size, 0
        side = self.bids if order.bid else self.asks
        side.reduce(order.price, size)
        self._changed(order.bid, order.price)
        return True

    def _match(self, number: int, bid: bool, limit: int | None, size: int) -> tuple[list[Trade], int]:
        side, trades = (self.asks if bid else self.bids), []
        while size and side.prices:
            price = side.prices[0 if bid else -1]
            if limit is not None and (price > limit if bid else price < limit):
                break
            queue = side.queues[price]
            while queue and not queue[0].size:
                queue.popleft()
            maker = queue[0]
            filled = min(size, maker.size)
            maker.size -= filled
            size -= filled
            side.reduce(price, filled)
            self._changed(not bid, price)
            self.trade_id += 1
            trades.append(Trade(self.trade_id, number, price, filled, not bid))
        return trades, size


class Market:
    """One symbol: a `Matcher` and the crowd. The same seed gives the same market, step by step."""

    def __init__(self, listing: Listing, seed: int, levels: int = 200) -> None:
        self.listing = listing
        self.matcher = Matcher(first_id=1_000_000_000 + seed % 1000)
        self._random = random.Random(f"{seed}/{listing.symbol}")
        self._fair = float(listing.price)
        self._levels = levels
        self._resting: list[Order] = []
        self.price_text = _texts(listing.price_decimals)
        self.size_text = _texts(listing.size_decimals)
        while min(len(self.matcher.bids.prices), len(self.matcher.asks.prices)) < levels:
            self._quote(self._random.random() < 0.5, rest=True)
        self.matcher.touched.clear()
        self.started = self.depth()

    def depth(self, limit: int | None = None) -> Depth:
        """The full book now (or its best `limit` levels), wire text."""
        bids, asks = self.matcher.bids, self.matcher.asks
        best_bids = bids.prices[::-1] if limit is None else bids.prices[: -limit - 1 : -1]
        best_asks = asks.prices if limit is None else asks.prices[:limit]
        return Depth(
            self.matcher.last_id,
            [(self.price_text(p), self.size_text(bids.totals[p])) for p in best_bids],
            [(self.price_text(p), self.size_text(asks.totals[p])) for p in best_asks],
        )

    def take_changes(self) -> tuple[list[Level], list[Level]]:
        """The levels changed since the last call, absolute, zero for a removed one."""
        bids: list[Level] = []
        asks: list[Level] = []
        for bid, price in self.matcher.touched:
            total = (self.matcher.bids if bid else self.matcher.asks).totals.get(price, 0)
            (bids if bid else asks).append((self.price_text(price), self.size_text(total)))
        self.matcher.touched.clear()
        return bids[::-1], asks

    def step(self) -> list[Trade]:
        """One action of the crowd: a quote, a cancel or a market order."""
        rng, matcher = self._random, self.matcher
        self._fair = max(self._fair + rng.gauss(0.0, 0.35), self.listing.price * 0.25)
        bid = rng.random() < 0.5
        side = matcher.bids if bid else matcher.asks
        action = rng.random()
        if action < 0.06:
            opposite = matcher.asks if bid else matcher.bids
            if len(opposite.prices) > self._levels // 2:
                return matcher.market(bid, self._size())
        elif (action < 0.52 and len(side.prices) > self._levels * 3 // 4) or (
            len(side.prices) > 2 * self._levels
        ):
            self._cancel()
            return []
        return self._quote(bid)

    def _size(self) -> int:
        return max(1, int(self.listing.typical_size * self._random.expovariate(1.0)))

    def _quote(self, bid: bool, rest: bool = False) -> list[Trade]:
        # Most quotes near the fair price, some far out; a few cross the spread and trade.
        rng = self._random
        distance = rng.expovariate(1 / 6) if rng.random() < 0.7 and not rest else rng.expovariate(1 / 150)
        distance += 1.0 if rest else -0.6
        price = round(self._fair - distance if bid else self._fair + distance)
        order, trades = self.matcher.limit(bid, max(1, price), self._size())
        if order is not None:
            self._resting.append(order)
        return trades

    def _cancel(self) -> None:
        rng, resting = self._random, self._resting
        while resting:
            at = rng.randrange(len(resting))
            resting[at], resting[-1] = resting[-1], resting[at]
            if self.matcher.cancel(resting.pop()):
                return


def decimal_text(value: int, decimals: int) -> str:
    """Integer units to the venue's text: always 8 decimals, whatever the tick."""
    whole, part = divmod(value, 10**decimals)
    digits = f"{part:0{decimals}d}" if decimals else ""
    return f"{whole}.{digits:0<8}"


def _texts(decimals: int) -> Callable[[int], str]:
    return lambda value: decimal_text(value, decimals)
