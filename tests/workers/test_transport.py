"""An exchange without the engine: REST and streams of the simulated venue, and what is said of all errors."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import workers.exchange.factory
from shm.instruments import Instrument
from shm.layout import Flag, InstrumentKind
from workers.config.shipped import ConfigError, venue_config
from workers.contract.errors import ConnectionFailed
from workers.contract.protocols import ConnectionEvent, ConnectionState, Symbol
from workers.decode.normal import DecodeCode, Decoded, MessageFlag, MessageKind, absent
from workers.exchange.factory import NotOffered, PublicExchange, TransportFactory
from workers.exchange.messages import (
    KINDS,
    BookUpdate,
    Interruption,
    Liquidation,
    Mark,
    PublicMessage,
    Ticker,
    Top,
    Trade,
)
from workers.exchange.stream import BOUND, Stream
from workers.sim import FEEDS, Fault, SimVenue
from workers.sim.dialects import dialect
from workers.venues.listing import UnknownInstrument
from workers.venues.market import Kline, ServerLimit, UnknownInterval
from workers.venues.venue import UnknownVenue, load, names

ROOT = Path(__file__).parents[2]
FEED = "binance_spot"
SYMBOLS = ["BTC/USDT", "ETH/USDT"]
Work = Callable[[PublicExchange, SimVenue], Awaitable[Any]]


def run(work: Coroutine[Any, Any, Any]) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(20):
            return await work

    return asyncio.run(bounded())


def with_exchange(work: Work, **keys: Any) -> Any:
    async def inside() -> Any:
        async with SimVenue(FEED, rate=200.0) as sim, exchange_of(sim, **keys) as exchange:
            return await work(exchange, sim)

    return run(inside())


def exchange_of(sim: SimVenue, symbols: list[str] = SYMBOLS, **keys: Any) -> PublicExchange:
    urls = {"ws_url": sim.ws_url, "rest_url": sim.rest_url}
    return TransportFactory.create_public_exchange(FEED, symbols, **{**urls, **keys})


# -- REST -------------------------------------------------------------------------------------------------
def test_what_the_venue_lists() -> None:
    async def work(exchange: PublicExchange, sim: SimVenue) -> list[Instrument]:
        assert exchange.symbols == SYMBOLS
        assert "book" in exchange.channels
        return await exchange.instruments()

    btc, eth = with_exchange(work)
    assert (btc.symbol, eth.symbol, btc.kind) == (*SYMBOLS, InstrumentKind.SPOT)


def test_a_book_is_exact_and_best_first() -> None:
    async def work(exchange: PublicExchange, sim: SimVenue) -> None:
        book = await exchange.order_book("BTC/USDT", limit=5)
        assert (len(book.bids), len(book.asks)) == (5, 5)
        assert book.bids == sorted(book.bids, reverse=True)
        assert book.asks == sorted(book.asks)
        assert book.bids[0][0] < book.asks[0][0]
        assert isinstance(book.bids[0][0], Decimal)
        assert 0 < book.update_id <= sim.book("BTC/USDT").last_id

    with_exchange(work)


async def _klines(rest: object, symbol: str, interval: str, limit: int) -> list[Kline]:
    assert (symbol, interval, limit) == ("BTCUSDT", "1h", 2)
    return [Kline(0, "1", "2", "0.5", "1.5", "10", "", True)]


async def _time(rest: object) -> int:
    return 12


async def _limits(rest: object) -> list[ServerLimit]:
    return [ServerLimit("weight", 6000, 60.0, True)]


def test_candles_time_and_limits_are_the_venues(monkeypatch: pytest.MonkeyPatch) -> None:
    own = load(FEED)
    rest = replace(own.rest, klines=_klines, server_time=_time, server_limits=_limits)
    venue = replace(own, rest=rest)
    monkeypatch.setattr(workers.exchange.factory, "load", lambda name: venue)

    async def work(exchange: PublicExchange, sim: SimVenue) -> None:
        [kline] = await exchange.klines("BTC/USDT", "1h", 2)
        assert kline.close == "1.5"
        assert await exchange.server_time() == 12
        assert await exchange.server_limits() == [ServerLimit("weight", 6000, 60.0, True)]
        with pytest.raises(UnknownInterval, match="no interval '7m'; there are: 1m, 3m"):
            await exchange.klines("BTC/USDT", "7m")

    with_exchange(work)


def test_what_a_venue_has_not_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    own = load(FEED)
    rest = replace(own.rest, klines=None, server_time=None, server_limits=None)
    venue = replace(own, rest=rest, books=replace(own.books, snapshot=None))
    monkeypatch.setattr(workers.exchange.factory, "load", lambda name: venue)

    async def work(exchange: PublicExchange, sim: SimVenue) -> None:
        for asked, message in (
            (lambda: exchange.order_book("BTC/USDT"), "has no order book by REST; its stream brings it"),
            (lambda: exchange.klines("BTC/USDT"), "has no candles by REST"),
            (exchange.server_time, "has no request for its time"),
            (exchange.server_limits, "has no request for its limits"),
        ):
            with pytest.raises(NotOffered, match=f"^{FEED} {message}"):
                await asked()

    with_exchange(work)


# -- what is wrong is said in one line, as early as it can be known -----------------------------------------
def test_an_unknown_exchange_names_those_that_there_are() -> None:
    with pytest.raises(UnknownVenue, match=r"no venue 'binance'; there are: .*binance_spot"):
        TransportFactory.create_public_exchange("binance", ["BTC/USDT"])


def test_symbols_and_keys_that_are_none() -> None:
    with pytest.raises(ValueError, match="symbol 'BTCUSDT' is not of the form BASE/QUOTE"):
        TransportFactory.create_public_exchange(FEED, ["BTCUSDT"])
    with pytest.raises(ValueError, match="at least one symbol"):
        TransportFactory.create_public_exchange(FEED, [])
    with pytest.raises(ConfigError, match="binance_spot: object contains unknown field `rest_tmeout`"):
        TransportFactory.create_public_exchange(FEED, ["BTC/USDT"], rest_tmeout=1.0)
    with pytest.raises(ConfigError, match=r"expected `float`, got `str` - at `\$\.rest_timeout`"):
        TransportFactory.create_public_exchange(FEED, ["BTC/USDT"], rest_timeout="long")


def test_an_unknown_symbol_names_the_nearest() -> None:
    async def work() -> None:
        async with SimVenue(FEED) as sim:
            with pytest.raises(UnknownInstrument, match=r"'BTC/USDD'.*nearest: BTC/USDT.*; .*'QQQ/QQQ'"):
                async with exchange_of(sim, ["BTC/USDT", "BTC/USDD", "QQQ/QQQ"]):
                    pass

    run(work())


def test_what_the_exchange_was_not_made_for() -> None:
    async def work(exchange: PublicExchange, sim: SimVenue) -> None:
        with pytest.raises(NotOffered, match="not made for 'BTC/USD'; nearest: BTC/USDT"):
            await exchange.order_book("BTC/USD")
        for asked in (exchange.order_book, exchange.klines):
            with pytest.raises(ValueError, match="limit = -1: at least 1"):
                await asked("BTC/USDT", limit=-1)
        with pytest.raises(NotOffered, match=r"no channel 'mark'; it has: .*book"):
            exchange.stream("mark")
        with pytest.raises(ValueError, match="at least one channel is needed"):
            exchange.stream([])

    with_exchange(work)


def test_it_is_used_inside_its_context() -> None:
    exchange = TransportFactory.create_public_exchange(FEED, ["BTC/USDT"])
    with pytest.raises(RuntimeError, match="async with"):
        exchange.stream("top")
    assert "closed" in repr(exchange)


@pytest.mark.parametrize("feed", ["mexc_spot", "binance_spot"])
def test_awaited_as_the_specification_writes_it(feed: str) -> None:
    """The kind: a call form of the specification that works only in another spelling. ``await`` opens what
    ``async with`` opens; symbols are objects or text; the keywords are the specification's."""

    async def work() -> None:
        async with SimVenue(feed, rate=200.0) as sim:
            urls = {"ws_url": sim.ws_url, "rest_url": sim.rest_url}
            exchange = await TransportFactory.create_public_exchange(
                exchange_name=feed, symbols=[Symbol("BTC", "USDT"), "ETH/USDT"], **urls
            )
            assert "open" in repr(exchange)
            assert exchange.symbols == SYMBOLS
            book = await exchange.order_book(Symbol("BTC", "USDT"), limit=5)
            assert (book.symbol, len(book.bids)) == ("BTC/USDT", 5)
            async for message in exchange.stream("top", Symbol("ETH", "USDT")):
                assert isinstance(message, Top)
                assert message.symbol == "ETH/USDT"
                break
            await exchange.close()
            assert "closed" in repr(exchange)
            with pytest.raises(RuntimeError, match="is not open: await it"):
                await exchange.order_book("BTC/USDT")
            await exchange.close()  # idempotent

    run(work())


def test_one_symbol_needs_no_list() -> None:
    for one in ("BTC/USDT", Symbol("BTC", "USDT")):
        assert TransportFactory.create_public_exchange(FEED, one).symbols == ["BTC/USDT"]


def test_awaited_again_entered_again_and_opened_again() -> None:
    async def work() -> None:
        async with SimVenue(FEED) as sim:
            made = exchange_of(sim)
            one, other = await asyncio.gather(made.open(), made.open())
            rest = made._rest
            assert one is other is made is await made
            assert made._rest is rest, "opened once"
            async with made as entered:
                assert entered is made
                assert made._rest is rest, "not opened a second time"
                assert await made is made
                with pytest.raises(RuntimeError, match="was entered already"):
                    async with made:
                        pass
                assert len(await made.instruments()) == 2, "the block that was refused closes nothing"
            assert "closed" in repr(made), "its block closes it"
            await made
            assert len(await made.instruments()) == 2
            await made.close()
            async with await exchange_of(sim) as exchange:
                assert len(await exchange.instruments()) == 2
            assert "closed" in repr(exchange)

    run(work())


def test_one_that_could_not_be_opened_leaves_nothing_open() -> None:
    async def work() -> None:
        async with SimVenue(FEED) as sim:
            made = exchange_of(sim, ["BTC/USDD"])
            for _ in range(2):
                with pytest.raises(UnknownInstrument):
                    await made
                assert made._rest is None
                assert "closed" in repr(made)
                with pytest.raises(UnknownInstrument):
                    async with made:
                        pass

    run(work())


def test_one_that_is_forgotten_warns() -> None:
    async def work() -> None:
        async with SimVenue(FEED) as sim:
            exchanges = [await exchange_of(sim)]
            rest = exchanges[0]._rest
            with pytest.warns(ResourceWarning, match=r"<PublicExchange binance_spot .* open> was not closed"):
                exchanges.clear()
            assert rest is not None
            await rest.close()

    run(work())


def test_a_config_of_ones_own() -> None:
    config = venue_config(FEED, ws_url="ws://h:1", stale_after=9.0)
    exchange = TransportFactory.create_public_exchange(
        FEED, ["ETH/USDT"], config=config, rest_url="http://h:2"
    )
    assert (exchange.config.ws_url, exchange.config.rest_url) == ("ws://h:1", "http://h:2")
    assert (exchange.config.stale_after, exchange.symbols) == (9.0, ["ETH/USDT"])


# -- streams ----------------------------------------------------------------------------------------------
def test_a_stream_is_typed_and_ends_with_its_exchange() -> None:
    async def work(exchange: PublicExchange, sim: SimVenue) -> Stream:
        seen: dict[type, PublicMessage] = {}
        stream = exchange.stream(["top", "book", "trades", "ticker"])
        async for message in stream:
            assert isinstance(message, PublicMessage), message
            seen[type(message)] = message
            if len(seen) == 4:
                break
        top = seen[Top]
        assert isinstance(top, Top)
        assert top.bid is not None
        assert top.ask is not None
        assert top.bid < top.ask
        book = seen[BookUpdate]
        assert isinstance(book, BookUpdate)
        assert 0 < book.first_id <= book.update_id
        assert all(isinstance(price, Decimal) for price, _ in book.bids + book.asks)
        trade = seen[Trade]
        assert isinstance(trade, Trade)
        assert trade.side in ("buy", "sell")
        assert {message.symbol for message in seen.values()} <= set(SYMBOLS)
        return stream

    stream = with_exchange(work)
    assert "closed" in repr(stream)


@pytest.mark.parametrize("feed", [feed for feed in FEEDS if feed in names()])
def test_every_venue_that_can_be_simulated(feed: str) -> None:
    """REST where it has it; tops, books and trades of every symbol, and marks of derivatives."""

    async def work() -> None:
        symbols = list(dialect(feed).default_symbols)
        async with SimVenue(feed, rate=200.0) as sim:
            urls = {"ws_url": sim.ws_url, "rest_url": sim.rest_url}
            async with TransportFactory.create_public_exchange(feed, symbols, **urls) as exchange:
                listed = await exchange.instruments()
                assert [made.symbol for made in listed] == symbols
                await _rest(exchange, symbols[0])
                wanted = {(made.symbol, channel) for made in listed for channel in ("top", "book", "trades")}
                if "mark" in exchange.channels:
                    swaps = [made.symbol for made in listed if made.kind is not InstrumentKind.SPOT]
                    wanted |= {(symbol, "mark") for symbol in swaps}
                channels = ("top", "book", "trades", "mark")
                stream = exchange.stream([one for one in channels if one in exchange.channels])
                while wanted:
                    message = await anext(stream)
                    assert isinstance(message, PublicMessage), message
                    wanted.discard((message.symbol, message.channel))

    run(work())


async def _rest(exchange: PublicExchange, symbol: str) -> None:
    if exchange.venue.books.snapshot is not None:
        book = await exchange.order_book(symbol, 5)
        assert book.bids[0][0] < book.asks[0][0]
    if exchange.venue.rest.klines is not None:
        candles = await exchange.klines(symbol, "1m", 3)
        assert [kline.open_time for kline in candles] == sorted(kline.open_time for kline in candles)
        assert candles
    if exchange.venue.rest.server_time is not None:
        assert await exchange.server_time() > 1_600_000_000_000
    if exchange.venue.rest.server_limits is not None:
        assert await exchange.server_limits()


def test_streams_side_by_side_of_some_symbols() -> None:
    async def work(exchange: PublicExchange, sim: SimVenue) -> None:
        async with exchange.stream("top", ["ETH/USDT"]) as tops, exchange.stream(["trades"]) as trades:
            for _ in range(5):
                top, trade = await anext(tops), await anext(trades)
                assert isinstance(top, Top)
                assert top.symbol == "ETH/USDT"
                assert isinstance(trade, Trade)
        left = [message async for message in tops]  # what came before it was closed; then it ends
        assert all(isinstance(message, Top) for message in left)

    with_exchange(work)


def test_a_lost_connection_is_reported_in_its_place_and_made_again() -> None:
    async def work(exchange: PublicExchange, sim: SimVenue) -> None:
        stream = exchange.stream("top")
        await anext(stream)
        sim.faults.add(Fault(kind="reset"))
        received = [m async for m in _until(stream, lambda m: isinstance(m, Interruption))][-1]
        assert isinstance(received, Interruption)
        assert set(received.topics) == {(symbol, "top") for symbol in SYMBOLS}
        assert "next attempt in" in received.reason
        assert [m async for m in _until(stream, lambda m: isinstance(m, Top))]

    with_exchange(work, reconnect_delay=0.01)


def test_what_cannot_be_read_or_cannot_be_is_reported() -> None:
    async def work(exchange: PublicExchange, sim: SimVenue) -> None:
        stream = exchange.stream(["book"], ["BTC/USDT"])
        await anext(stream)
        await sim.blast([b'{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","s":"BTCUSDT"}}'], 1)
        received = [m async for m in _until(stream, lambda m: isinstance(m, Interruption))][-1]
        assert isinstance(received, Interruption)
        assert ("BTC/USDT", "book") in received.topics
        zero = '"e":"depthUpdate","E":1,"s":"BTCUSDT","U":1,"u":2,"b":[["0.0","1"]],"a":[]'
        await sim.blast([f'{{"stream":"btcusdt@depth@100ms","data":{{{zero}}}}}'.encode()], 1)
        received = [m async for m in _until(stream, lambda m: isinstance(m, Interruption))][-1]
        assert received == Interruption((("BTC/USDT", "book"),), "a message with impossible content")

    with_exchange(work)


def test_what_the_venue_refuses_is_reported() -> None:
    async def work(exchange: PublicExchange, sim: SimVenue) -> None:
        stream = exchange.stream(["top", "trades"])
        refused = (("BTC/USDT", "trades"),)
        event = ConnectionEvent(
            state=ConnectionState.CONNECTED, reason="refused: no such stream", rejected=refused
        )
        stream._on_connection(event)
        assert await anext(stream) == Interruption(refused, "refused: no such stream")

    with_exchange(work)


def test_a_planned_replacement_loses_and_repeats_nothing() -> None:
    async def work(exchange: PublicExchange, sim: SimVenue) -> None:
        stream = exchange.stream("trades", ["BTC/USDT"])
        ids: list[int] = []
        async for message in stream:
            assert isinstance(message, Trade), message
            ids.append(message.update_id)
            if stream.connections > 2 and len(ids) > 20:
                break
        assert ids == list(range(ids[0], ids[0] + len(ids)))

    with_exchange(work, max_connection_age=0.5)


FUTURES = "BTC/USDT:USDT"


def test_a_lost_connection_interrupts_what_it_carried_and_nothing_else() -> None:
    async def work() -> None:
        async with SimVenue("binance_futures", symbols=[FUTURES], rate=200.0) as sim:
            urls = {"ws_url": sim.ws_url, "rest_url": sim.rest_url}
            made = TransportFactory.create_public_exchange("binance_futures", [FUTURES], **urls)
            async with made as exchange:
                stream = exchange.stream(["top", "trades", "mark"])
                for kind in (Mark, Top):
                    while not isinstance(await anext(stream), kind):
                        pass
                for name, lost in (("markPrice@1s", {"mark"}), ("bookTicker", {"top", "trades"})):
                    [peer] = [each for each in sim.hub.peers if f"btcusdt@{name}" in each.streams]
                    peer.reset()
                    received = [m async for m in _until(stream, lambda m: isinstance(m, Interruption))][-1]
                    assert set(received.topics) == {(FUTURES, channel) for channel in lost}

    run(work())


def test_what_waited_while_its_connection_went_does_not_come_after_the_interruption() -> None:
    """Else whoever begins anew there would miss what lies between, and not know."""

    async def work(exchange: PublicExchange, sim: SimVenue) -> None:
        stream = exchange.stream(["top", "trades"])
        parser = exchange.venue.data.websocket(exchange.config, {"BTC/USDT": "BTCUSDT"}).message_parser
        top = f'{{"stream":"btcusdt@bookTicker","data":{_top("1")}}}'.encode()
        lost = ConnectionEvent(
            state=ConnectionState.RECONNECTING,
            reason="lost",
            error=ConnectionFailed("lost"),
            symbols=("BTC/USDT",),
            channels=("top",),
        )
        before = time.monotonic_ns()
        stream._on_connection(lost)
        await stream._on_message(parser.parse(top, before))
        assert [*stream._waiting] == [Interruption((("BTC/USDT", "top"),), "lost")]
        await stream._on_message(parser.parse(top, time.monotonic_ns() + 1))
        assert isinstance(stream._waiting[-1], Top)
        # The trades have a connection of their own.
        trade = b'{"e":"trade","E":1,"s":"BTCUSDT","t":7,"p":"1","q":"1","T":1,"m":true,"M":true}'
        await stream._on_message(parser.parse(b'{"stream":"btcusdt@trade","data":%s}' % trade, before))
        assert isinstance(stream._waiting[-1], Trade)

    with_exchange(work)


@pytest.mark.parametrize("channel", ["book", "ticker"])
def test_a_connection_that_falls_silent_is_reported(channel: str) -> None:
    async def work(exchange: PublicExchange, sim: SimVenue) -> None:
        stream = exchange.stream(channel)
        assert isinstance(await anext(stream), PublicMessage)
        sim.faults.add(Fault(kind="silent", count=None))
        received = [m async for m in _until(stream, lambda m: isinstance(m, Interruption))][-1]
        assert set(received.topics) == {(symbol, channel) for symbol in SYMBOLS}

    with_exchange(work, stale_after=0.5, stale_after_max=0.5, stale_after_min=0.5, first_event_after=1.0)


def test_trades_may_be_rare() -> None:
    async def work(exchange: PublicExchange, sim: SimVenue) -> None:
        stream = exchange.stream("trades")
        assert stream._sign_of_life("BTC/USDT", "trades") == stream._proof("BTC/USDT", "trades") == -1

    with_exchange(work)


def test_whoever_waits_no_longer_for_the_end_leaves_no_connection_open() -> None:
    async def work(exchange: PublicExchange, sim: SimVenue) -> None:
        stream = exchange.stream("top")
        await anext(stream)
        assert sim.hub.peers
        closing = asyncio.create_task(stream.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        await stream.aclose()
        assert all(isinstance(message, Top) for message in [m async for m in stream])
        assert stream not in exchange._streams
        connections = [
            connection for shard in stream._manager._shards.values() for connection in shard.connections
        ]
        assert all(connection.listener.is_closed for connection in connections)

    with_exchange(work)


def test_a_spot_market_alone_has_no_marks() -> None:
    async def work() -> None:
        async with SimVenue("okx", symbols=["BTC/USDT", FUTURES]) as sim:
            urls = {"ws_url": sim.ws_url, "rest_url": sim.rest_url}
            made = TransportFactory.create_public_exchange("okx", ["BTC/USDT", FUTURES], **urls)
            async with made as exchange:
                with pytest.raises(NotOffered, match="spot markets have no mark: BTC/USDT"):
                    exchange.stream("mark", ["BTC/USDT"])
                exchange.stream("mark")

    run(work())


async def _until(stream: Stream, last: Callable[[object], bool]) -> Any:
    async for message in stream:
        yield message
        if last(message):
            return


def test_a_program_that_is_too_slow_learns_what_it_missed() -> None:
    async def work(exchange: PublicExchange, sim: SimVenue) -> None:
        stream = exchange.stream("top")
        first = await anext(stream)
        assert isinstance(first, Top)
        payload = f'{{"stream":"btcusdt@bookTicker","data":{_top("1")}}}'.encode()
        for _ in range(4):  # as many as fit, as many as wait undecoded, and more
            await sim.blast([payload], BOUND)
        received = [m async for m in _until(stream, lambda m: isinstance(m, Interruption))]
        assert len(received) <= 2 * BOUND + 200
        assert received[-1].topics

    with_exchange(work)


async def _last(stream: Stream) -> None:
    async for _ in stream:
        pass


def _top(bid: str) -> str:
    return f'{{"u":1,"s":"BTCUSDT","b":"{bid}","B":"1","a":"2","A":"1"}}'


def test_a_number_that_needs_more_decimals_gets_them() -> None:
    async def work(exchange: PublicExchange, sim: SimVenue) -> None:
        stream = exchange.stream("top")
        await anext(stream)
        fine = f'{{"stream":"btcusdt@bookTicker","data":{_top("1.0000000001")}}}'.encode()
        await sim.blast([fine], 1)
        message = [m async for m in _until(stream, lambda m: isinstance(m, Top) and m.ask == 2)][-1]
        assert message.bid == Decimal("1.0000000001")
        # What no decimals hold is reported as missing, and costs nothing else.
        after = fine.replace(b'"2"', b'"3"')
        await sim.blast([fine.replace(b'"2"', b'"99999999999999999999"'), after], 2)
        received = [m async for m in _until(stream, lambda m: isinstance(m, Top) and m.ask == 3)]
        assert Interruption((("BTC/USDT", "top"),), "a number that does not fit") in received

    with_exchange(work)


def test_a_mark_that_does_not_fit_is_reported_in_its_place() -> None:
    async def work() -> None:
        async with SimVenue("binance_futures", rate=200.0) as sim:
            urls = {"ws_url": sim.ws_url, "rest_url": sim.rest_url}
            symbol = "BTC/USDT:USDT"
            async with TransportFactory.create_public_exchange(
                "binance_futures", [symbol], **urls
            ) as exchange:
                stream = exchange.stream("mark", [symbol])
                before = await anext(stream)
                event = b'"e":"markPriceUpdate","E":1,"s":"BTCUSDT","p":"1.%s","i":"2","P":"1","r":"0","T":1'
                for price in (b"123456789", b"12345678"):
                    await sim.blast([b'{"stream":"btcusdt@markPrice@1s","data":{%s}}' % (event % price)], 1)
                received = [m async for m in _until(stream, lambda m: isinstance(m, Mark) and m.index == 2)]
                assert Interruption(((symbol, "mark"),), "a number that does not fit") in received
                assert received[-1].mark == Decimal("1.12345678")
                assert received[-1].instrument == before.instrument  # it has asked for no other exponents

    run(work())


def test_no_connection_is_reported_and_then_raised() -> None:
    async def work(exchange: PublicExchange, sim: SimVenue) -> None:
        stream = exchange.stream("top")
        received = [await anext(stream) for _ in range(10)]
        with pytest.raises(ConnectionFailed):
            await anext(stream)
        assert all(isinstance(message, Interruption) for message in received)

    with_exchange(work, ws_url="ws://127.0.0.1:1", reconnect_delay=0.001, max_reconnect_delay=0.001)


# -- messages ---------------------------------------------------------------------------------------------
MADE = Instrument(symbol="X/Y:Y", venue_symbol="XY", price_exp=2, size_exp=3)


def message(kind: MessageKind, words: tuple[int, ...] = (), flags: int = 0) -> Any:
    form = Decoded(
        DecodeCode.OK, kind, 0, 5, 7, 6, flags, (*words, *[0] * (8 - len(words))), ((150, 2000),), ()
    )
    return KINDS[kind](form, MADE, 9)


def test_every_kind_has_a_message() -> None:
    assert set(KINDS) == set(MessageKind) - {MessageKind.NONE}
    for kind in KINDS:
        made = message(kind, (1, 1, 1, 1, 1, 1, 1, 1))
        assert (made.symbol, made.time, made.received, made.update_id) == ("X/Y:Y", 5, 9, 7)
        assert repr(made).startswith(f"<{type(made).__name__} X/Y:Y ")


def test_the_numbers_of_each() -> None:
    top: Top = message(MessageKind.TOP, (100, 2000, 0, 0), int(Flag.NO_ASK))
    assert (top.bid, top.bid_size, top.ask, top.ask_size) == (1, 2, None, None)
    book: BookUpdate = message(MessageKind.DEPTH, (77,), int(MessageFlag.SNAPSHOT | MessageFlag.CHECKED))
    assert (book.snapshot, book.checksum, book.first_id) == (True, 77, 6)
    assert (book.bids, book.asks) == ([(Decimal("1.50"), Decimal("2.000"))], [])
    trade: Trade = message(MessageKind.TRADE, (125, 500, 3), int(Flag.SELL))
    assert (trade.price, trade.size, trade.count, trade.side) == (Decimal("1.25"), Decimal("0.5"), 3, "sell")
    assert message(MessageKind.TRADE, (125, 500)).count == 1
    dealt: Liquidation = message(MessageKind.LIQUIDATION, (125_000_001, 500))
    assert (dealt.price, dealt.size, dealt.side) == (Decimal("1.25000001"), Decimal("0.5"), "buy")
    ticker: Ticker = message(MessageKind.TICKER, (1, 2, 3, 4, 5, 600_000, 7, 8))
    assert (ticker.last, ticker.low, ticker.volume) == (Decimal("0.01"), Decimal("0.04"), Decimal("0.005"))
    assert (ticker.quote_volume, ticker.trades, ticker.open_time) == (6, 7, 8)
    ticker = message(MessageKind.TICKER, (0,) * 8, absent(*range(8)))
    assert (ticker.last, ticker.open, ticker.high, ticker.low) == (None, None, None, None)
    assert (ticker.volume, ticker.quote_volume, ticker.trades, ticker.open_time) == (None, None, None, None)
    flags = int(MessageFlag.MARK | MessageFlag.RATE)
    mark: Mark = message(MessageKind.MARK, (100_000_000, 0, 100_000_000), flags)
    assert (mark.mark, mark.index, mark.next_funding) == (1, None, None)
    assert mark.funding_rate == Decimal("0.0001")


# -- the example ------------------------------------------------------------------------------------------
def test_the_example_runs() -> None:
    async def work() -> str:
        async with SimVenue(FEED) as sim:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(ROOT / "examples" / "public_exchange.py"),
                *(FEED, "BTC/USDT", "--messages", "5", "--ws-url", sim.ws_url, "--rest-url", sim.rest_url),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env={"PYTHONPATH": str(ROOT)},
            )
            out, _ = await process.communicate()
            assert process.returncode == 0, out.decode()
            return out.decode()

    lines = run(work()).splitlines()
    assert lines[0].startswith("BTC/USDT: decimals ")
    assert sum(line.startswith(("<Top BTC/USDT ", "<Trade BTC/USDT ")) for line in lines) == 5
