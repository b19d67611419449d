"""The synthetic market: one truth behind every stream and answer."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sim_client import Client, exact

from workers.sim import SimError, SimVenue
from workers.sim.binance_spot.dialect import LISTINGS
from workers.sim.book import Depth, Diff, Fold
from workers.sim.candles import Candles
from workers.sim.market import Market, Matcher, decimal_text

SYMBOLS = ("BTC/USDT", "ETH/BTC")
ALL = (
    "bookTicker", "depth", "depth@100ms", "depth5", "depth10@100ms", "depth20@100ms", "trade",
    "aggTrade", "ticker", "miniTicker", "kline_1m",
)  # fmt: skip


def still(**options):
    return SimVenue(symbols=SYMBOLS, rate=0.0, levels=60, **options)


def pump(venue, rounds, steps=7):
    for number in range(rounds):
        venue.market.step(steps)
        venue.market.flush_slow() if number % 10 == 9 else venue.market.flush_fast()
    venue.market.flush_slow()


def test_a_client_ends_with_the_oracles_book_and_every_stream_agrees():
    async def run():
        async with still() as venue, Client(venue) as client:
            names = [f"{s.replace('/', '').lower()}@{c}" for s in SYMBOLS for c in ALL if c != "depth"]
            await client.connect("/stream?streams=" + "/".join(names))
            await asyncio.sleep(0.01)
            pump(venue, 20)
            for symbol in ("BTCUSDT", "ETHBTC"):
                await client.sync(symbol)
            pump(venue, 60)
            await client.read(0.1)
            for symbol in SYMBOLS:
                mirror, oracle = client.mirrors[symbol.replace("/", "")], venue.book(symbol)
                assert mirror.book() == (exact(oracle.bids), exact(oracle.asks))
                assert mirror.last_id == oracle.last_id
                assert (mirror.gaps, mirror.applied > 30) == (0, True)
            assert {name for name, _ in client.seen} == set(names)

    asyncio.run(run())


def test_tops_and_partial_books_equal_the_book_at_equal_ids():
    async def run():
        async with still(seed=3) as venue, Client(venue) as client:
            await client.connect(
                "/stream?streams=btcusdt@depth@100ms/btcusdt@bookTicker/btcusdt@depth20@100ms"
            )
            mirror = await client.sync("BTCUSDT")
            await asyncio.sleep(0.01)
            pump(venue, 150, steps=2)
            tops, equal = {}, defaultdict(int)
            while equal["partial"] < 100:
                body = await client.one()
                data = body["data"]
                if "B" in data:
                    tops[data["u"]] = data
                elif "lastUpdateId" in data:  # always some diff's u
                    assert data["lastUpdateId"] == mirror.last_id
                    assert mirror.book(20) == (exact(data["bids"]), exact(data["asks"]))
                    equal["partial"] += 1
                elif mirror.last_id in tops:
                    top = tops[mirror.last_id]
                    assert mirror.book(1) == (exact([(top["b"], top["B"])]), exact([(top["a"], top["A"])]))
                    equal["top"] += 1
            assert equal["top"] > 10

    asyncio.run(run())


def test_trades_add_up():
    async def run():
        async with still(seed=5) as venue, Client(venue) as client:
            await client.connect("/stream?streams=btcusdt@trade/btcusdt@aggTrade/btcusdt@ticker")
            await asyncio.sleep(0.01)
            pump(venue, 100)
            await client.read(0.1)
            trades = [d for s, d in client.seen if s.endswith("@trade")]
            groups = [d for s, d in client.seen if s.endswith("@aggTrade")]
            assert [d["t"] for d in trades] == list(range(1, len(trades) + 1))
            assert len(trades) > 30
            for group in groups:
                parts = trades[group["f"] - 1 : group["l"]]
                assert {part["p"] for part in parts} == {group["p"]}
                assert {part["m"] for part in parts} == {group["m"]}
                assert sum(Decimal(part["q"]) for part in parts) == Decimal(group["q"])
            last = [d for s, d in client.seen if s.endswith("@ticker")][-1]
            assert last["c"] == trades[-1]["p"]
            assert last["L"] == trades[-1]["t"]

    asyncio.run(run())


def test_same_seed_same_market_and_first_data_at_once():
    def book(seed):
        market = Market(LISTINGS["BTC/USDT"], seed, 50)
        for _ in range(500):
            market.step()
        return market.depth()

    assert book(4) == book(4)
    assert book(4) != book(5)

    async def run():
        async with SimVenue(rate=200.0) as venue, Client(venue) as client:
            await client.connect("/stream?streams=btcusdt@bookTicker/ethusdt@depth@100ms")
            async with asyncio.timeout(1.0):
                while len({name for name, _ in client.seen}) < 2:
                    await client.one()

    asyncio.run(run())


def test_microseconds_and_raw():
    async def run():
        async with still(wall_ns=lambda: 1_700_000_000_123_456_789) as venue, Client(venue) as client:
            await client.connect("/ws/btcusdt@depth@100ms?timeUnit=MICROSECOND")
            await asyncio.sleep(0.01)
            pump(venue, 1)
            assert (await client.ws.receive_json())["E"] == 1_700_000_000_123_000

    asyncio.run(run())


def test_unknown_symbols_and_feeds_are_named():
    with pytest.raises(SimError, match=r"unknown symbol 'BTC/USDX'; the synthetic market lists: BTC/USDT"):
        SimVenue(symbols=["BTC/USDX"])
    with pytest.raises(SimError, match=r"unknown feed 'nasdaq'; the simulated venue speaks: .*binance_spot"):
        SimVenue("nasdaq")


class PlainBook:
    """The matching rules again, over one list of orders: price, then time."""

    def __init__(self):
        self.orders = []  # (bid, price, number, [size])

    def best(self, bid):
        side = [order for order in self.orders if order[0] == bid and order[3][0]]
        return min(side, key=lambda o: (-o[1] if bid else o[1], o[2]), default=None)

    def take(self, number, bid, limit, size):
        trades = []
        while size and (maker := self.best(not bid)) is not None:
            if limit is not None and (maker[1] > limit if bid else maker[1] < limit):
                break
            filled = min(size, maker[3][0])
            maker[3][0] -= filled
            size -= filled
            trades.append((maker[1], filled))
        if size and limit is not None:
            self.orders.append((bid, limit, number, [size]))
        return trades

    def totals(self, bid):
        out = defaultdict(int)
        for side, price, _, size in self.orders:
            if side == bid and size[0]:
                out[price] += size[0]
        return dict(out)


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["limit", "market", "cancel"]),
        st.booleans(),
        st.integers(95, 105),
        st.integers(1, 9),
        st.integers(0, 40),
    ),
    max_size=60,
)


@given(ACTIONS)
@settings(max_examples=150, deadline=None)
def test_the_matching_engine_equals_a_plain_one(actions):
    engine, plain = Matcher(), PlainBook()
    resting = []
    for number, (what, bid, price, size, pick) in enumerate(actions):
        before = engine.last_id
        changed = what == "limit"
        if what == "limit":
            order, trades = engine.limit(bid, price, size)
            assert [(t.price, t.size) for t in trades] == plain.take(number, bid, price, size)
            if order is not None:
                resting.append((order, plain.orders[-1]))
        elif what == "market":
            trades = engine.market(bid, size)
            assert [(t.price, t.size) for t in trades] == plain.take(number, bid, None, size)
            changed = bool(trades)
        elif resting:
            order, twin = resting[pick % len(resting)]
            changed = engine.cancel(order)
            assert changed == bool(twin[3][0])
            twin[3][0] = 0
        assert engine.bids.totals == plain.totals(True)
        assert engine.asks.totals == plain.totals(False)
        assert engine.bids.prices == sorted(engine.bids.totals)
        bid_price, _, ask_price, _ = engine.top()
        assert not (bid_price and ask_price) or bid_price < ask_price
        assert (engine.last_id > before) == changed


def test_fold_and_text():
    fold = Fold(Depth(5, [("1.0", "2")], []))
    assert fold.apply(Diff(3, 5, [("1.0", "9")], []))  # contained: ignored
    assert not fold.apply(Diff(7, 8, [], []))  # a gap: refused
    assert fold.apply(Diff(6, 6, [("1.00", "0.0"), ("0.9", "1")], [("2", "1")]))  # spelled otherwise
    assert fold.depth() == Depth(6, [("0.9", "1")], [("2", "1")])
    assert decimal_text(123, 2) == "1.23000000"
    assert decimal_text(7, 0) == "7.00000000"
    assert decimal_text(7, 8) == "0.00000007"


def test_candles():
    candles = Candles(100, 10, 1_700_000_000_000, 1)
    assert len(candles.minutes) == 1440
    candles.trade(1_700_000_000_000 + 60_000, 5, 110, 3, taker_buys=True)
    candles.trade(1_700_000_000_000 + 60_001, 6, 90, 2, taker_buys=False)
    last = candles.minutes[-1]
    assert (last.open, last.high, last.low, last.close) == (110, 110, 90, 90)
    assert (last.base, last.quote, last.trades, last.taker_base) == (5, 510, 2, 3)
    assert (last.first_trade, last.last_trade) == (5, 6)
    assert candles.day().base == sum(one.base for one in candles.minutes)
    assert [one.start % 300_000 for one in candles.grouped(5, 3)] == [0, 0, 0]
