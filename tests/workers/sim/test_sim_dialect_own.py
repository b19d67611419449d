"""A venue that does not exist, written from `workers.sim.dialect` alone: what a dialect can rely on.

It sends binary frames (a length before JSON), greets, answers a subscription with two frames, beats, sends
the book to whoever subscribes, and has faults of its own.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from typing import Any

import aiohttp
import pytest
from sim_client import until
from sim_dialect_client import DialectClient

from workers.capture.reader import Row
from workers.sim import Rules, SimVenue
from workers.sim.assets import PRICES, listing
from workers.sim.book import Depth, Diff
from workers.sim.dialect import Dialect
from workers.sim.faults import Fault, FaultError, StreamInfo
from workers.sim.hub import Hub, WireProtocol
from workers.sim.market import Listing, decimal_text, short_text, tick_text
from workers.sim.recorded_book import RecordedStreamBook
from workers.sim.replay import CaptureDecoder
from workers.sim.rest import Answer, Request, Rest, RestContext
from workers.sim.synthetic import MarketPublisher, Symbol
from workers.sim.transport import Binary, Peer


def pack(body: Any) -> Binary:
    text = json.dumps(body).encode()
    return Binary(len(text).to_bytes(4, "big") + text)


def unpack(payload: bytes) -> Any:
    if len(payload) < 4 or int.from_bytes(payload[:4], "big") != len(payload) - 4:
        raise ValueError("a damaged frame")
    return json.loads(payload[4:])


class OwnProtocol(WireProtocol):
    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    def connect(self, peer: Peer, target: str) -> Sequence[str] | None:
        return [] if target == "/feed" else None

    def greeting(self, peer: Peer) -> Sequence[bytes]:
        return (b'{"hello":"toy"}',)

    def handle_message(self, peer: Peer, text: bytes) -> Sequence[bytes]:
        if text == b"ping":
            return (b"pong",)
        word, _, symbol = text.decode().partition(" ")
        if word == "sub" and symbol in self.hub.source.symbols():
            if self.hub.faults.take(("shy",), info=self.stream_info(f"book/{symbol}")) is not None:
                return (b"not today",)
            self.hub.subscribe(peer, [f"book/{symbol}"])
            return b"1 of 2", b"2 of 2"
        if word == "unsub":
            self.hub.unsubscribe(peer, [f"book/{symbol}"])
            return (b"bye",)
        return (b"what?",)

    def stream_info(self, stream: str) -> StreamInfo:
        name = stream.partition("/")[2]
        return StreamInfo(*DIALECT.symbols(name), book=True) if name else StreamInfo()

    def shutdown_notice(self, peer: Peer) -> Sequence[bytes]:
        return b"we close", b"in a minute"

    def timed_messages(self, peer: Peer, now: float) -> Sequence[bytes]:
        if now - peer.notes.get("beat", peer.opened_at) < 5.0:
            return ()
        peer.notes["beat"] = now
        return (b"beat",)

    def corrupt(self, kind: str, stream: str, payload: bytes) -> Sequence[bytes] | None:
        body = unpack(payload)
        if kind == "renumber" and body["seq"] % 2 == 0:
            return pack({**body, "seq": 0}), payload
        return None


class OwnPublisher(MarketPublisher):
    def __init__(self, symbol: Symbol, hub: Hub) -> None:
        self.market, self.hub = symbol.market, hub
        self.name = f"book/{symbol.listing.venue_symbol}"
        self.changes = symbol.market.watch()
        self.seq = 0

    def every_100_ms(self, now_ns: int) -> None:
        diff = self.market.take(self.changes)
        if diff is not None:
            self.seq += 1
            body = {"name": self.name, "seq": self.seq, "bids": diff.bids, "asks": diff.asks}
            self.hub.publish(self.name, pack(body))

    def on_subscribed(self, peer: Peer, stream: str, now_ns: int) -> None:
        self.every_100_ms(now_ns)
        depth = self.market.depth()
        body = {"name": stream, "seq": self.seq, "bids": depth.bids, "asks": depth.asks, "whole": True}
        self.hub.send(peer, stream, pack(body))


class OwnDecoder(CaptureDecoder):
    snapshot_in_stream = True

    def frames(self, row: Row) -> Iterable[tuple[str, bytes]]:
        if row.dir != "in" or row.b64 is None:
            return ()
        payload = Binary(row.payload())
        return ((unpack(payload)["name"], payload),)

    def book_event(self, stream: str, payload: bytes) -> Depth | Diff | None:
        body = unpack(payload)
        bids, asks = ([(price, size) for price, size in body[side]] for side in ("bids", "asks"))
        return (
            Depth(body["seq"], bids, asks) if "whole" in body else Diff(body["seq"], body["seq"], bids, asks)
        )

    def snapshot_frame(self, stream: str, depth: Depth, ts_ns: int) -> bytes:
        return pack(
            {"name": stream, "seq": depth.last_id, "bids": depth.bids, "asks": depth.asks, "whole": True}
        )

    def listing(self, venue_symbol: str, price_decimals: int, size_decimals: int) -> Listing:
        raise NotImplementedError


class OwnRest(Rest):
    def __init__(self, context: RestContext) -> None:
        self.context = context
        self.counters = {}

    def handle(self, request: Request) -> Answer:
        if self.context.faults.take(("rest",), path=request.path) is not None:
            return Answer(503, b"<html>")
        return Answer(200, b'{"from":"%s"}' % request.headers.get("x-who", "").encode())


DIALECT = Dialect(
    feed="toy",
    listings={one.symbol: one for one in (listing("BTC", "USD", 0, 4, settle="USD", spelled="btc_usd"),)},
    default_symbols=("BTC/USD:USD",),
    rules=Rules(ping_every=float("inf"), subscribe_within=30.0, idle_timeout=60.0, idle_code=4004),
    protocol=OwnProtocol,
    publisher=OwnPublisher,
    rest=OwnRest,
    decoder=OwnDecoder,
    streams=lambda symbol: {"book": f"book/{symbol}"},
    subscribe_request=lambda streams: (
        "/feed",
        [b"sub " + name.partition("/")[2].encode() for name in streams],
    ),
    canonical=lambda symbol: symbol.upper(),
    text=short_text,
    faults=("renumber", "shy"),
)
BOOK = "book/btc_usd"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def still(**options: Any) -> SimVenue:
    return SimVenue(DIALECT, rate=0.0, levels=20, **options)


def act(venue: SimVenue, times: int = 1) -> None:
    assert venue.market is not None
    for _ in range(times):
        venue.market.step(5)
        venue.market.flush_fast()


def test_it_greets_answers_twice_and_sends_the_book_before_its_changes():
    async def run() -> None:
        async with still() as venue, DialectClient(venue) as client:
            assert venue.market is not None
            venue.market.step(5)  # pending when the client comes
            await client.subscribe([BOOK])
            act(venue, 10)
            await client.receive_all()
            texts = [row.text for row in client.rows if row.dir == "in" and row.text is not None]
            assert texts == ['{"hello":"toy"}', "1 of 2", "2 of 2"]
            numbers = [unpack(payload)["seq"] for _, payload in client.frames]
            assert numbers == list(range(1, 12))
            assert "whole" in unpack(client.frames[0][1])
            oracle = venue.book("BTC/USD:USD")
            assert client.book("btc_usd")[1:] == oracle[1:]
            assert venue.book("btc_usd") == oracle
            assert "." not in oracle.bids[0][0]
            with pytest.raises(KeyError):
                venue.book("ETH/USD")

    asyncio.run(run())


def test_a_second_client_gets_a_book_that_its_changes_follow():
    async def run() -> None:
        async with still() as venue, DialectClient(venue) as one, DialectClient(venue) as two:
            await one.subscribe([BOOK])
            act(venue, 3)
            assert venue.market is not None
            venue.market.step(5)
            two.ws = await two.session.ws_connect(venue.ws_url + "/feed")
            await two.ws.send_str("sub btc_usd")
            await until(lambda: len(venue.hub.subscribers(BOOK)) == 2)
            act(venue)
            heard = []
            while len(heard) < 2:
                message = await two.ws.receive(timeout=3)
                if message.type is aiohttp.WSMsgType.BINARY:
                    heard.append(unpack(message.data))
            assert ["whole" in body for body in heard] == [True, False]
            assert heard[1]["seq"] == heard[0]["seq"] + 1

    asyncio.run(run())


def test_what_it_does_not_know_or_want():
    async def run() -> None:
        async with still() as venue, DialectClient(venue) as client:
            venue.faults.add(Fault("shy", symbol="BTC/USD:USD"))
            await client.subscribe([BOOK, "book/NOPE"], wait=[])
            for message in ("sub btc_usd", "unsub btc_usd", "sub btc_usd"):
                await client.ws.send_str(message)
            await until(lambda: venue.hub.has_subscribers(BOOK))
            await client.receive_all()
            texts = [row.text for row in client.rows if row.dir == "in" and row.text is not None]
            assert texts[1:4] == ["not today", "what?", "1 of 2"]
            assert "bye" in texts
            with pytest.raises(FaultError, match=r"allowed: .*renumber, shy"):
                venue.faults.add(Fault("bad_checksum"))
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await client.session.ws_connect(venue.ws_url + "/elsewhere")

    asyncio.run(run())


def test_a_fault_of_its_own_waits_for_a_frame_that_it_can_bend():
    async def run() -> None:
        async with still() as venue, DialectClient(venue) as client:
            await client.subscribe([BOOK])
            venue.faults.add(Fault("renumber"))
            act(venue, 3)
            await client.receive_all()
            assert [unpack(payload)["seq"] for _, payload in client.frames] == [0, 1, 0, 2, 3]
            assert venue.faults.used == {"renumber": 1}
            venue.faults.malformed()
            act(venue)
            await client.receive_all()
            assert len(client.broken) == 1
            assert client.rows[-1].b64 is not None, "a damaged frame is as binary as a whole one"
            venue.faults.silent(symbol="btc_usd")
            await client.ws.send_str("unsub btc_usd")
            await client.ws.send_str("sub btc_usd")
            await until(lambda: venue.hub.has_subscribers(BOOK) and venue.faults.used.get("silent") == 1)
            act(venue)
            await client.receive_all()
            assert len(client.frames) == 5, "a silent symbol sends no snapshot either"

    asyncio.run(run())


async def ended(ws: Any) -> int:
    while True:
        message = await ws.receive(timeout=3)
        if message.type is aiohttp.WSMsgType.CLOSE:
            return int(message.data)


def test_connections_without_subscription_or_data_end():
    async def run() -> None:
        clock = Clock()
        async with still(clock=clock) as venue, aiohttp.ClientSession() as session:
            async with session.ws_connect(venue.ws_url + "/feed") as bare:
                await until(lambda: len(venue.hub.peers) == 1)
                clock.now += 29
                venue.hub.tick()
                assert len(venue.hub.peers) == 1
                clock.now += 2
                venue.hub.tick()
                assert await ended(bare) == 4004
            async with DialectClient(venue) as client:
                await client.subscribe([BOOK])
                for _ in range(3):  # pings are answered: that is something sent
                    clock.now += 50
                    before = venue.hub.counters["messages"]
                    await client.ws.send_str("ping")
                    await until(lambda before=before: venue.hub.counters["messages"] > before)
                    venue.hub.tick()
                await client.ws.send_str("unsub btc_usd")
                await until(lambda: not venue.hub.has_subscribers(BOOK))
                clock.now += 31
                venue.hub.tick()
                assert await ended(client.ws) == 4004

    asyncio.run(run())


def test_no_data_for_long_ends_a_connection_and_beats_are_data():
    async def run() -> None:
        clock = Clock()
        quiet = Rules(ping_every=float("inf"), idle_timeout=4.0)
        async with still(clock=clock, rules=quiet) as venue, DialectClient(venue) as client:
            await client.subscribe([BOOK])
            clock.now += 4.5
            venue.hub.tick()
            assert await ended(client.ws) == 1000
        beats = Rules(ping_every=float("inf"), idle_timeout=6.0)
        async with still(clock=clock, rules=beats) as venue, DialectClient(venue) as client:
            await client.subscribe([BOOK])
            for _ in range(4):
                clock.now += 5.5
                venue.hub.tick()
            await client.receive_all()
            assert [row.text for row in client.rows].count("beat") == 4

    asyncio.run(run())


def test_shutdown_and_rest_are_in_its_words():
    async def run() -> None:
        async with still() as venue, DialectClient(venue) as client:
            await client.subscribe([BOOK])
            await client.receive_all()
            venue.faults.shutdown()
            assert [(await client.ws.receive(timeout=3)).data for _ in range(2)] == [
                "we close",
                "in a minute",
            ]
            who = {"X-Who": "me"}
            async with client.session.get(venue.rest_url + "/any?x=1", headers=who) as answer:
                assert await answer.json() == {"from": "me"}

    asyncio.run(run())


def test_the_tape_of_a_stream_with_snapshots():
    level = [("1", "1")]
    events = [Diff(1, 1, level, []), Depth(2, level, []), Diff(3, 3, [("2", "1")], []), Depth(9, [], level)]
    recorded = RecordedStreamBook("x", events, cut=1)
    for sent in (0, 1):
        recorded.sent = sent
        with pytest.raises(LookupError):
            recorded.current()
    recorded.sent = 3
    assert recorded.current() == Depth(3, [("2", "1")], [])
    recorded.sent = 4
    assert recorded.current() == Depth(9, [], level)
    assert recorded.first_snapshot() == events[1]


def test_spellings_of_numbers_and_listings():
    assert [text(1230, 2) for text in (decimal_text, tick_text, short_text)] == [
        "12.30000000",
        "12.30",
        "12.3",
    ]
    assert [text(1200, 2) for text in (tick_text, short_text)] == ["12.00", "12"]
    assert [text(1200, 0) for text in (tick_text, short_text)] == ["1200", "1200"]
    inverse = listing("BTC", "USD", 1, 0, settle="BTC", contract="100")
    assert (inverse.symbol, inverse.is_swap, inverse.typical_size) == ("BTC/USD:BTC", True, 80)
    assert inverse.price == int(PRICES["BTC"] * 10)
    assert listing("ETH", "BTC", 5, 4).price == 3411
