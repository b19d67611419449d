"""A small exchange for one symbol: a matching engine (price-time priority), and simulated traders.

Prices and sizes are integers: ticks and lots. Every change of a price level has its own update id, without
gaps, so that a diff, a best price and a snapshot of the same moment can be recognised by their ids.
"""

from __future__ import annotations

import itertools
import random
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from workers.sim.book import Depth, Diff, Level


class Listing(NamedTuple):
    """A symbol and its trading rules.

    Attributes:
        base, quote: the assets.
        price_decimals, size_decimals: decimals of the units of price (tick) and size (lot); sizes of swaps
            are in contracts.
        price: the price at which the market starts, in ticks.
        typical_size: the mean size of an order, in lots.
        min_notional: as the venue's listing writes it.
        settle: of a perpetual swap the settlement asset; empty for a spot pair.
        spelled: the venue's symbol, where it is not simply base and quote side by side.
        contract: size of one contract in base units (linear) or in quote units (inverse), decimal text.
        grid: the current tick size in units of `price_decimals`: 10 after a tick of 0.01 has become 0.1.
        status: the venue's status of a symbol that is not trading; empty while it trades.
    """

    base: str
    quote: str
    price_decimals: int
    size_decimals: int
    price: int
    typical_size: int
    min_notional: str = "5.00000000"
    settle: str = ""
    spelled: str = ""
    contract: str = "1"
    grid: int = 1
    status: str = ""

    @property
    def tick_decimals(self) -> int:
        """Decimals of the current tick size."""
        return self.price_decimals - trailing_zeros(self.grid, self.price_decimals)

    @property
    def symbol(self) -> str:
        """The canonical symbol: ``BTC/USDT``, of a swap ``BTC/USDT:USDT``."""
        return f"{self.base}/{self.quote}" + (f":{self.settle}" if self.settle else "")

    @property
    def venue_symbol(self) -> str:
        """The venue's symbol: `spelled`, or base and quote, ``BTCUSDT``."""
        return self.spelled or self.base + self.quote

    @property
    def is_swap(self) -> bool:
        """Whether it is a perpetual swap, with a mark price and funding."""
        return bool(self.settle)


def trailing_zeros(number: int, most: int) -> int:
    """The number of zeros at a number's end, at most `most`."""
    found = 0
    while found < most and number % 10 == 0:
        number, found = number // 10, found + 1
    return found


class Trade(NamedTuple):
    """One trade, price in ticks and size in lots.

    Attributes:
        id: counts up by 1.
        order: number of the taker's order.
        buyer_is_maker: whether the resting order was the buyer's, so that the taker sold.
    """

    id: int
    order: int
    price: int
    size: int
    buyer_is_maker: bool


class Order:
    """A resting order. With size 0 it is cancelled or filled, and is still to be removed from its queue."""

    __slots__ = ("bid", "number", "price", "size")

    def __init__(self, number: int, bid: bool, price: int, size: int) -> None:
        self.number, self.bid, self.price, self.size = number, bid, price, size


class Side:
    """One side of the book: order queues and total sizes by price, and the prices in ascending order."""

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
        """Reduce the total size at a price; a price without orders is removed."""
        self.totals[price] -= size
        if not self.totals[price]:
            del self.totals[price], self.queues[price]
            del self.prices[bisect_left(self.prices, price)]


PULL = 0.01
"""The fraction of its distance to the anchor that the fair price moves with each action."""


class Changes:
    """Collects the levels that have changed since the last `Market.take`.

    `levels` has keys (is it a bid, price); `first_id` is the update id of the first change.
    """

    __slots__ = ("first_id", "levels")

    def __init__(self) -> None:
        self.first_id = 0
        self.levels: dict[tuple[bool, int], None] = {}


class Matcher:
    """The matching engine and its full book.

    Args:
        first_id: update id of the empty book.
        ids: the update ids of the changes; None: counted up from `first_id` by 1.

    Attributes:
        last_id: the book's update id.
        watchers: collectors of changed levels.
    """

    def __init__(self, first_id: int = 1, ids: Iterator[int] | None = None) -> None:
        self.bids, self.asks = Side(), Side()
        self.last_id = first_id
        self._ids = itertools.count(first_id + 1) if ids is None else ids
        self.watchers: list[Changes] = []
        self.trade_id = 0
        self._number = 0

    def top(self) -> tuple[int, int, int, int]:
        """Best bid, its size, best ask, its size; zeros for an empty side."""
        bids, asks = self.bids, self.asks
        bid = bids.prices[-1] if bids.prices else 0
        ask = asks.prices[0] if asks.prices else 0
        return bid, bids.totals.get(bid, 0), ask, asks.totals.get(ask, 0)

    def _changed(self, bid: bool, price: int) -> None:
        self.last_id = next(self._ids)
        for changes in self.watchers:
            if not changes.levels:
                changes.first_id = self.last_id
            changes.levels[bid, price] = None

    def limit(self, bid: bool, price: int, size: int) -> tuple[Order | None, list[Trade]]:
        """Enter a limit order: what crosses is matched, the rest (None: nothing left) stays in the book."""
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
        """Enter a market order; what finds no counterparty is discarded."""
        self._number += 1
        return self._match(self._number, bid, None, size)[0]

    def cancel(self, order: Order) -> bool:
        """Cancel a resting order; False when it is filled or cancelled already."""
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
    """One symbol: a `Matcher` and the simulated traders. The same seed gives the same market, step by step.

    Args:
        listing: the symbol.
        seed: seed of the random traders.
        levels: price levels a side that they keep filled.
        text: how the venue writes a number, given as (integer units, decimals).
        salt: makes this market differ from another venue's with the same seed.
        ids: update ids, see `Matcher`.

    Attributes:
        anchor: price in ticks towards which the traders' fair price moves; None: it is a free random walk.
        started: the book as it was at the start.
    """

    def __init__(
        self,
        listing: Listing,
        seed: int,
        levels: int = 200,
        *,
        text: Callable[[int, int], str] | None = None,
        salt: str = "",
        ids: Iterator[int] | None = None,
    ) -> None:
        self.listing = listing
        self.matcher = Matcher(1_000_000_000 + seed % 1000, ids)
        self._random = random.Random(f"{seed}/{salt}{listing.symbol}")
        self._fair = float(listing.price)
        self.anchor: float | None = None
        self._levels = levels
        self._resting: list[Order] = []
        self._text = text or decimal_text
        self._grid = 1
        self.price_text: Callable[[int], str] = _texts(self._text, listing.price_decimals)
        self.size_text = _texts(self._text, listing.size_decimals)
        if listing.grid == 1:
            self._fill(levels)
        else:
            self.change_tick(listing.grid)
        self.started = self.depth()

    def change_tick(self, grid: int) -> None:
        """Set the tick size to `grid` units: orders at other prices are cancelled, new ones keep to it."""
        self.listing = self.listing._replace(grid=grid)
        self._grid = grid
        whole, places, text = self.listing.price_decimals, self.listing.tick_decimals, self._text
        fine = 10 ** (whole - places)
        # A price from before the change is written with all its decimals.
        self.price_text = lambda value: text(value, whole) if value % fine else text(value // fine, places)
        for order in self._resting:
            if order.price % grid:
                self.matcher.cancel(order)
        self._resting = [order for order in self._resting if order.size]
        self._fill(self._levels)

    def _fill(self, levels: int) -> None:
        while min(len(self.matcher.bids.prices), len(self.matcher.asks.prices)) < levels:
            self._quote(self._random.random() < 0.5, rest=True)

    def depth(self, limit: int | None = None) -> Depth:
        """The current book, or its best `limit` levels, as text."""
        bids, asks = self.matcher.bids, self.matcher.asks
        best_bids = bids.prices[::-1] if limit is None else bids.prices[: -limit - 1 : -1]
        best_asks = asks.prices if limit is None else asks.prices[:limit]
        return Depth(
            self.matcher.last_id,
            [(self.price_text(p), self.size_text(bids.totals[p])) for p in best_bids],
            [(self.price_text(p), self.size_text(asks.totals[p])) for p in best_asks],
        )

    def watch(self) -> Changes:
        """A new collector of changes; use one for each interval at which changes are published."""
        changes = Changes()
        self.matcher.watchers.append(changes)
        return changes

    def take(self, changes: Changes) -> Diff | None:
        """The changes that a collector has gathered, and empty it; None when nothing has changed.

        Sizes are the current ones, 0 for a removed level.
        """
        if not changes.levels:
            return None
        bids: list[Level] = []
        asks: list[Level] = []
        for bid, price in changes.levels:
            total = (self.matcher.bids if bid else self.matcher.asks).totals.get(price, 0)
            (bids if bid else asks).append((self.price_text(price), self.size_text(total)))
        changes.levels.clear()
        return Diff(changes.first_id, self.matcher.last_id, bids[::-1], asks)

    def step(self) -> list[Trade]:
        """One action of the traders: a limit order, a cancellation or a market order; its trades, if any."""
        rng, matcher = self._random, self.matcher
        self._fair = max(self._fair + rng.gauss(0.0, 0.35) * self._grid, self.listing.price * 0.25)
        if self.anchor is not None:
            self._fair += (self.anchor - self._fair) * PULL
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
        distance = (distance + (1.0 if rest else -0.6)) * self._grid
        price = round((self._fair - distance if bid else self._fair + distance) / self._grid) * self._grid
        order, trades = self.matcher.limit(bid, max(self._grid, price), self._size())
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
    """Integer units as text with 8 decimals, whatever the tick: ``94123.45000000``."""
    whole, part = divmod(value, 10**decimals)
    digits = f"{part:0{decimals}d}" if decimals else ""
    return f"{whole}.{digits:0<8}"


def tick_text(value: int, decimals: int) -> str:
    """Integer units as text with the decimals of the tick: ``94123.40``; without a point if it has none."""
    if not decimals:
        return str(value)
    whole, part = divmod(value, 10**decimals)
    return f"{whole}.{part:0{decimals}d}"


def short_text(value: int, decimals: int) -> str:
    """Integer units as text without trailing zeros: ``94123.4``, ``94123``."""
    text = tick_text(value, decimals)
    return text.rstrip("0").rstrip(".") if decimals else text


def _texts(text: Callable[[int, int], str], decimals: int) -> Callable[[int], str]:
    return lambda value: text(value, decimals)
