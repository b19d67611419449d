"""The synthetic source: seeded markets, published in the venue's format by its `MarketPublisher`.

Each symbol has one matching engine, so update ids, best prices, diffs, partial books, trades and REST
snapshots agree with each other. `step` and `flush_*` take the time from the clock that was passed in and do
not wait; only `run` does.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import partial

from workers.sim.assets import drift
from workers.sim.book import Depth
from workers.sim.candles import Candles
from workers.sim.funding import Funding
from workers.sim.hub import Hub
from workers.sim.market import Listing, Market, Trade
from workers.sim.transport import Peer

FAST, SLOW = 0.1, 1.0
"""Seconds between `MarketPublisher.every_100_ms` and between `MarketPublisher.every_second`."""


class Symbol:
    """One symbol: its market, and what a venue derives from it.

    Attributes:
        listing: its entry in the venue's listing.
        market: the matching engine and the simulated traders.
        candles: one-minute candles of the last 24 hours.
        funding: mark price, index price and funding rate; None for a spot pair.
    """

    def __init__(self, listing: Listing, market: Market, now_ms: int, seed: int) -> None:
        self.listing = listing
        self.market = market
        self.candles = Candles(listing.price, listing.typical_size, now_ms, seed)
        self.funding = Funding(market) if listing.is_swap else None


class MarketPublisher:
    """Turns the events of one symbol's market into a venue's frames; built as ``publisher(symbol, hub)``.

    `Synthetic` calls the methods below, those of one action in the order `on_trades`, `on_liquidation`,
    `on_top_changed`. The publisher passes its payloads to `Hub.publish` under a stream's name. Where a
    message carries the id of the one before (``prevSeqId``, ``pu``), it must keep that id up to date even
    when the stream has no subscriber; other payloads may be skipped unless `Hub.has_subscribers`. Methods
    that are not overridden publish nothing. `now_ns` is the venue's time, nanoseconds since 1970.
    """

    def on_trades(self, now_ns: int, trades: Sequence[Trade]) -> None:
        """An incoming (taker's) order was matched: all its trades, best price first."""

    def on_top_changed(self, now_ns: int) -> None:
        """Price or size of the best bid or the best ask has changed."""

    def after_batch(self, now_ns: int) -> None:
        """A batch of actions is done (every 5 to 10 ms): for streams that a venue updates every 10 ms."""

    def every_100_ms(self, now_ns: int) -> None:
        """100 ms have passed: for the book changes collected since the last call (`Market.watch`)."""

    def every_second(self, now_ns: int) -> None:
        """A second has passed (`every_100_ms` was called just before): tickers, candles, mark prices."""

    def on_subscribed(self, peer: Peer, stream: str, now_ns: int) -> None:
        """A client has subscribed to a stream; it gets everything published from now on.

        To send a snapshot in the stream, first call `every_100_ms`, so that earlier subscribers get the
        pending changes, then `Hub.send` the current book. The first change that the new client gets is then
        the first one after its snapshot.
        """

    def on_listing_changed(self, now_ns: int) -> None:
        """The symbol was listed or delisted, or its status or tick size has changed."""

    def on_liquidation(self, now_ns: int, trade: Trade) -> None:
        """A trade of a swap whose taker was liquidated; `on_trades` was called for it before."""


class Synthetic:
    """All symbols' markets, and the clock that drives them.

    Args:
        listings: the symbols.
        seed: the same seed gives the same markets.
        rate: actions of the traders per second and symbol.
        rates: other rates of some symbols, as (shell pattern of canonical symbols, rate); of several that
            match, the last one counts. With rate 0 a symbol never changes.
        levels: price levels a side that the traders keep filled.
        hub: where the frames are published.
        publisher: builds each symbol's publisher.
        wall_ns: the venue's wall clock.
        together: prices follow common ones (`assets.drift`), so that several venues show similar prices;
            otherwise a seed's market is the same whenever it is started.
        text, salt, ids: see `market.Market`.
    """

    def __init__(
        self,
        listings: Iterable[Listing],
        seed: int,
        rate: float,
        levels: int,
        hub: Hub,
        publisher: Callable[[Symbol, Hub], MarketPublisher],
        wall_ns: Callable[[], int] = time.time_ns,
        *,
        rates: Sequence[tuple[str, float]] = (),
        together: bool = False,
        text: Callable[[int, int], str] | None = None,
        salt: str = "",
        ids: Iterator[int] | None = None,
    ) -> None:
        self.wall_ns = wall_ns
        self._hub = hub
        self.rate = rate
        self._patterns = tuple(rates)
        self._due: dict[str, float] = {}  # by symbol: actions that are due, with a fraction to carry over
        self._together = together
        self._prices: dict[str, int] = {}
        self._symbols: dict[str, Symbol] = {}
        self._publishers: dict[str, MarketPublisher] = {}
        self._tops: dict[str, tuple[int, int, int, int]] = {}
        self._delisted: set[str] = set()
        self._make = partial(Market, seed=seed, levels=levels, text=text, salt=salt, ids=ids)
        self._publisher, self._seed = publisher, seed
        self.actions = 0
        for one in listings:
            self._open(one)

    def _open(self, one: Listing) -> None:
        self._prices[one.venue_symbol] = one.price
        if self._together:  # begin at the common price of now
            one = one._replace(price=round(self._common_price(one)))
        market = self._make(one)
        symbol = Symbol(one, market, self.now_ms(), self._seed)
        self._symbols[one.venue_symbol] = symbol
        # so that symbols of low rates do not all act at the same moment
        self._due[one.venue_symbol] = random.Random(f"{self._seed}/{one.symbol}").random()
        self._publishers[one.venue_symbol] = self._publisher(symbol, self._hub)
        self._tops[one.venue_symbol] = market.matcher.top()

    # -- the listing ----------------------------------------------------------------------------------

    def enlist(self, listing: Listing) -> None:
        """List a symbol; the market of one that was delisted goes on where it stopped."""
        self._delisted.discard(listing.venue_symbol)
        if listing.venue_symbol not in self._symbols:
            self._open(listing)
        self._publish_listing_change(listing.venue_symbol)

    def delist(self, venue_symbol: str) -> None:
        """Delist a symbol; nothing is published on its streams any more. KeyError: not listed."""
        self.symbol(venue_symbol)
        self._delisted.add(venue_symbol)
        self._publish_listing_change(venue_symbol)

    def set_status(self, venue_symbol: str, status: str) -> None:
        """Set a symbol's status in the listing; with any but an empty one its market stands still.

        Raises:
            KeyError: not listed.
        """
        symbol = self.symbol(venue_symbol)
        symbol.listing = symbol.listing._replace(status=status)
        self._publish_listing_change(venue_symbol)

    def change_tick(self, venue_symbol: str, grid: int) -> None:
        """See `market.Market.change_tick`; pending changes are published before. KeyError: not listed."""
        symbol, publisher, now = self.symbol(venue_symbol), self._publishers[venue_symbol], self.wall_ns()
        publisher.after_batch(now)
        publisher.every_100_ms(now)
        symbol.market.change_tick(grid)
        symbol.listing = symbol.listing._replace(grid=grid)
        self._top(venue_symbol, symbol, publisher, now)
        publisher.after_batch(now)
        publisher.every_100_ms(now)
        self._publish_listing_change(venue_symbol)

    def _publish_listing_change(self, venue_symbol: str) -> None:
        self._publishers[venue_symbol].on_listing_changed(self.wall_ns())
        self._hub.flush()

    def now_ms(self) -> int:
        """The venue's time, ms since 1970."""
        return self.wall_ns() // 1_000_000

    # -- the source -----------------------------------------------------------------------------------

    def on_subscribed(self, peer: Peer, stream: str) -> None:
        """See `hub.Source`: the symbol's publisher sends the initial state, if the venue does."""
        name = self._hub.stream_info(stream).venue_symbol
        publisher = self._publishers.get(name)
        if publisher is not None and name not in self._delisted:
            publisher.on_subscribed(peer, stream, self.wall_ns())

    def on_fault(self, stream: str) -> None:
        """Nothing to do: clients find the gap themselves, and `snapshot` is always current."""

    def symbols(self) -> list[str]:
        """The listed venue symbols."""
        return [name for name in self._symbols if name not in self._delisted]

    def symbol(self, venue_symbol: str) -> Symbol:
        """A listed symbol. KeyError: not listed."""
        if venue_symbol in self._delisted:
            raise KeyError(venue_symbol)
        return self._symbols[venue_symbol]

    def listings(self) -> list[Listing]:
        """The listed symbols' listings, for the venue's instruments endpoint."""
        return [self._symbols[name].listing for name in self.symbols()]

    def depth(self, symbol: str, limit: int | None = None) -> Depth:
        """The current book, at most `limit` levels a side.

        Raises:
            KeyError: not listed.
        """
        return self.symbol(symbol).market.depth(limit)

    def snapshot(self, symbol: str, limit: int | None = None) -> Depth | bytes:
        """The answer to a REST depth request."""
        return self.depth(symbol, limit)

    def stale(self, symbol: str) -> Depth:
        """The book as it was at the start, for the fault ``stale_snapshot``."""
        return self.symbol(symbol).market.started

    def recorded(self, name: str) -> bytes | None:
        """None: only a replay has recorded answers."""
        return None

    @property
    def moves(self) -> bool:
        """Whether any symbol has a rate above 0."""
        return self.rate > 0 or any(rate > 0 for _, rate in self._patterns)

    def rate_of(self, symbol: str) -> float:
        """Actions per second of a canonical symbol."""
        fitting = [rate for pattern, rate in self._patterns if fnmatchcase(symbol, pattern)]
        return fitting[-1] if fitting else self.rate

    # -- the clock ------------------------------------------------------------------------------------

    def step(self, count: int = 1, only: str = "") -> None:
        """Carry out `count` actions of the traders on each symbol, or on the venue symbol `only`."""
        for name in self._symbols:
            if not only or name == only:
                self._step(name, count)

    def _step(self, name: str, count: int) -> None:
        now, symbol, publisher = self.wall_ns(), self._symbols[name], self._publishers[name]
        if name in self._delisted or symbol.listing.status:
            return
        if self._together:
            symbol.market.anchor = self._common_price(symbol.listing)
        for _ in range(count):
            self._act(name, symbol, publisher, now)
        publisher.after_batch(now)
        self.actions += count

    def _act(self, name: str, symbol: Symbol, publisher: MarketPublisher, now: int) -> None:
        trades = symbol.market.step()
        if trades:
            for match in trades:
                symbol.candles.trade(
                    now // 1_000_000, match.id, match.price, match.size, not match.buyer_is_maker
                )
            publisher.on_trades(now, trades)
            if symbol.funding is not None and trades[0].order % LIQUIDATIONS == 0:
                publisher.on_liquidation(now, trades[-1])
        self._top(name, symbol, publisher, now)

    def _top(self, name: str, symbol: Symbol, publisher: MarketPublisher, now: int) -> None:
        top = symbol.market.matcher.top()
        if top != self._tops[name]:
            self._tops[name] = top
            publisher.on_top_changed(now)

    def flush_fast(self) -> None:
        """Publish what the venue sends every 100 ms."""
        now = self.wall_ns()
        for name, publisher in self._publishers.items():
            if name not in self._delisted:
                publisher.every_100_ms(now)
        self._hub.flush()

    def flush_slow(self) -> None:
        """Publish what the venue sends every 100 ms and every second."""
        self.flush_fast()
        now = self.wall_ns()
        for name, symbol in self._symbols.items():
            symbol.candles.roll(now // 1_000_000)
            if name not in self._delisted:
                self._publishers[name].every_second(now)
        self._hub.flush()

    def _common_price(self, listing: Listing) -> float:
        """The common price of a listing now, in its ticks."""
        return self._prices[listing.venue_symbol] * drift(listing.base, listing.quote, self.wall_ns())

    async def run(self) -> None:
        """Drive the markets at their rates until cancelled; a machine that is too slow skips actions."""
        clock = asyncio.get_running_loop().time
        last = clock()
        fast, slow, carry = last + FAST, last + SLOW, 0.0
        pause = 0.005 if max(self.rate, *(rate for _, rate in self._patterns), 0.0) > 100 else 0.01
        while True:
            await asyncio.sleep(pause)
            now = clock()
            passed, last = min(now - last, FAST), now
            if self._patterns:
                self._step_each(passed)
            else:
                carry += passed * self.rate
                due, carry = int(carry), carry % 1.0
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

    def _step_each(self, passed: float) -> None:
        """Let every symbol act at its own rate, after `passed` seconds."""
        for name, symbol in self._symbols.items():
            carry = self._due[name] + passed * self.rate_of(symbol.listing.symbol)
            due = int(carry)
            self._due[name] = carry - due
            if due:
                self._step(name, due)


LIQUIDATIONS = 7
"""The last trade of every seventh order on a swap is also reported as a liquidation."""
