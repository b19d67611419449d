"""WebSocketManager over a real socket: what virtual time cannot show."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

from workers.contract.errors import ConnectionFailed
from workers.contract.protocols import (
    ConnectionContext,
    ConnectionEvent,
    ConnectionState,
    MessageType,
    ParsedMessage,
    WebSocketManagerConfig,
    WebSocketStrategySet,
)
from workers.venues.binance.connection import BinanceConnection
from workers.venues.binance.subscription import BinanceSubscription
from workers.venues.binance_spot.connection import BUDGET, PATH
from workers.venues.binance_spot.subscription import STREAMS
from workers.websocket import WebSocketManager
from workers.websocket.wire import CallbackSink

SYMBOLS = {"BTC/USDT": "BTCUSDT", "ETH/USDT": "ETHUSDT"}


class Peer(WSListener):
    """The venue's end of one connection: acknowledges and sends one message of each stream."""

    def __init__(self, venue: Venue) -> None:
        self.venue = venue

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        self.venue.peers.append(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()
        elif frame.msg_type == WSMsgType.TEXT:
            request = msgspec.json.decode(frame.get_payload_as_bytes())
            transport.send(WSMsgType.TEXT, msgspec.json.encode({"result": None, "id": request["id"]}))
            for stream in request["params"]:
                transport.send(WSMsgType.TEXT, msgspec.json.encode({"stream": stream, "data": {}}))

    def reset(self) -> None:
        """RST, not FIN: SO_LINGER with time 0."""
        sock = self.transport.underlying_transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.underlying_transport.abort()


class Venue:
    def __init__(self) -> None:
        self.peers: list[Peer] = []

    async def open(self, port: int = 0) -> None:
        self.server = await ws_create_server(lambda _: Peer(self), "127.0.0.1", port)
        self.port = self.server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        self.server.close()
        await self.server.wait_closed()


class Parser:
    def classify(self, data: bytes) -> MessageType:
        return MessageType.OTHER

    def extract_symbol(self, data: bytes) -> str | None:
        return None

    def parse(self, data: bytes, received: int = 0) -> ParsedMessage:
        return ParsedMessage(message_type=MessageType.OTHER, raw_data=data)


class Bench:
    def __init__(self, venue: Venue) -> None:
        self.venue = venue
        self.data: list[bytes] = []
        self.events: list[ConnectionEvent] = []
        self.changed = asyncio.Event()
        self.manager = WebSocketManager(
            WebSocketManagerConfig(),
            WebSocketStrategySet(
                BinanceConnection(
                    ConnectionContext(url=f"ws://127.0.0.1:{venue.port}{PATH}", reconnect_delay=0.02), BUDGET
                ),
                BinanceSubscription(STREAMS, SYMBOLS),
                Parser(),
            ),
            lambda message: None,
            self.on_event,
            sink=CallbackSink(self.take),
        )

    def take(self, data: bytes, _: int) -> bool:
        if not data.startswith(b'{"stream"'):
            return False
        self.data.append(data)
        self.changed.set()
        return True

    def on_event(self, event: ConnectionEvent) -> None:
        self.events.append(event)
        self.changed.set()

    async def until(self, condition: Callable[[], Any]) -> None:
        while not condition():
            self.changed.clear()
            await self.changed.wait()


def run(test: Callable[[Bench], Awaitable[None]], runner: Callable[[Any], Any]) -> None:
    async def main() -> None:
        async with asyncio.timeout(20):
            venue = Venue()
            await venue.open()
            bench = Bench(venue)
            try:
                await test(bench)
            finally:
                await bench.manager.close()
                await venue.close()

    runner(main())


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run])
def test_reset_after_reset_it_is_subscribed_again_at_once(runner: Callable[[Any], Any]) -> None:
    async def test(bench: Bench) -> None:
        await bench.manager.initialize(["BTC/USDT", "ETH/USDT"], ["top", "book"])
        await bench.until(lambda: len(bench.data) == 4)
        for n in range(2, 5):
            bench.data.clear()
            bench.venue.peers[-1].reset()
            started = time.monotonic()
            await bench.until(lambda: len(bench.data) == 4)
            # Generous: it shows that no backoff lies between, not how fast it is.
            assert time.monotonic() - started < 2.0
            await bench.until(bench.manager.is_connected)
            assert len(bench.venue.peers) == n
        assert bench.manager.get_performance_metrics().last_close_code == 1006
        assert bench.manager.get_performance_metrics().reconnection_count == 3

    run(test, runner)


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run])
def test_what_waits_in_the_socket_is_known_until_it_is_read(runner: Callable[[Any], Any]) -> None:
    async def test(bench: Bench) -> None:
        await bench.manager.initialize(["BTC/USDT"], ["top"])
        await bench.until(lambda: len(bench.data) == 1)
        assert bench.manager.unread == 0
        peer = bench.venue.peers[-1].transport.underlying_transport.get_extra_info("socket").fileno()
        frame = b'\x81\x1a{"stream":"late","data":{}}'
        assert os.write(peer, frame) == len(frame)  # past the loop, as while it stands still
        assert bench.manager.unread == len(frame)
        await bench.until(lambda: len(bench.data) == 2)
        assert bench.manager.unread == 0

    run(test, runner)


def test_a_venue_that_is_down_at_first_is_reached_when_it_comes() -> None:
    async def test(bench: Bench) -> None:
        await bench.venue.close()
        starting = asyncio.ensure_future(bench.manager.initialize(["BTC/USDT"], ["top"]))
        await bench.until(lambda: any(isinstance(event.error, ConnectionFailed) for event in bench.events))
        await bench.venue.open(bench.venue.port)
        await starting
        assert bench.manager.state is ConnectionState.CONNECTED

    run(test, asyncio.run)


def test_close_says_goodbye_to_the_venue() -> None:
    async def test(bench: Bench) -> None:
        await bench.manager.initialize(["BTC/USDT"], ["top"])
        await bench.manager.close()
        handshake = bench.venue.peers[0].transport.close_handshake
        assert handshake is not None
        assert handshake.recv is not None
        assert int(handshake.recv.code) == 1000  # type: ignore[call-overload]

    run(test, asyncio.run)
