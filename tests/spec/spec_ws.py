"""A venue on loopback for the tests of SPEC 1, and a manager in front of it, both in virtual time."""

from __future__ import annotations

import asyncio
import functools
import inspect
import socket
import struct
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_create_server,
)
from spec_kit import SkippingLoop

from workers.contract.protocols import WebSocketStrategySet
from workers.contract.types import ParsedMessage
from workers.contract.websocket import (
    ConnectionContext,
    ConnectionEvent,
    MessageBudget,
    ReconnectionPolicy,
    WebSocketManagerConfig,
)
from workers.decode.sink import FrameSink
from workers.venues.binance.parser import BinanceParser
from workers.venues.binance.subscription import BinanceSubscription
from workers.venues.binance_spot.parser import DIALECT
from workers.venues.binance_spot.subscription import STREAMS
from workers.venues.defaults import PlainConnection
from workers.websocket import WebSocketManager
from workers.websocket.wire import CallbackSink

SYMBOLS = {f"S{n}/USDT": f"S{n}USDT" for n in range(500)} | {"BTC/USDT": "BTCUSDT", "ETH/USDT": "ETHUSDT"}
CANONICAL = {venue: canonical for canonical, venue in SYMBOLS.items()}
FREE = MessageBudget(connects=100_000, connects_per=1.0, connect_burst=1000)


def event(stream: str, number: int = 1) -> bytes:
    """One message of a stream, as the venue sends it."""
    symbol, _, kind = stream.partition("@")
    name = symbol.upper()
    data: dict[str, Any] = {"e": kind.partition("@")[0], "E": number, "s": name}
    if kind == "bookTicker":
        data = {"u": number, "s": name, "b": "1.0", "B": "2", "a": "1.1", "A": "3"}
    elif kind.startswith("depth"):
        data |= {"e": "depthUpdate", "U": number, "u": number, "b": [["1.0", "2"]], "a": []}
    return msgspec.json.encode({"stream": stream, "data": data})


class Peer(WSListener):
    """The venue's end of one connection."""

    def __init__(self, venue: Venue, request: WSUpgradeRequest) -> None:
        self.venue = venue
        self.headers = {name.lower(): value for name, value in request.headers.items()}
        self.texts: list[bytes] = []
        self.streams: list[str] = []
        self.pings: list[float] = []
        self.open = False

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        self.open = True

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.open = False

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            self.venue.goodbyes.append(int(frame.get_close_code()))
            transport.send_close(frame.get_close_code())
            transport.disconnect()
        elif frame.msg_type == WSMsgType.PING:
            self.pings.append(self.venue.loop.time())
            if self.venue.pongs:
                transport.send_pong(frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.TEXT:
            text = frame.get_payload_as_bytes()
            self.texts.append(text)
            self.venue.on_text(self, text)

    def say(self, text: bytes) -> None:
        self.transport.send(WSMsgType.TEXT, text)

    def close_without_code(self) -> None:
        """An empty CLOSE frame, which is what 1005 means."""
        self.transport.underlying_transport.write(b"\x88\x00")

    def reset(self) -> None:
        """RST: SO_LINGER with time 0."""
        wire = self.transport.underlying_transport
        wire.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wire.abort()


class Venue:
    """Acknowledges what is subscribed and sends an event of each stream.

    Attributes:
        refuse: HTTP statuses for the handshakes to come. acks, data, pongs: whether it gives them.
    """

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.peers: list[Peer] = []
        self.dialled: list[float] = []
        self.goodbyes: list[int] = []
        self.refuse: list[int] = []
        self.acks = self.data = self.pongs = True
        self.on_other: Callable[[Peer, bytes], None] = lambda peer, text: None
        self.port = 0

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def now(self) -> Peer:
        return self.peers[-1]

    @property
    def gaps(self) -> list[float]:
        """Seconds between the handshakes."""
        return [round(b - a, 3) for a, b in zip(self.dialled, self.dialled[1:], strict=False)]

    async def open(self) -> None:
        self.server = await ws_create_server(self._accept, "127.0.0.1", self.port, enable_auto_pong=False)
        self.port = self.server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        """Nobody listens any more; what is connected stays."""
        self.server.close()
        await self.server.wait_closed()

    def _accept(self, request: WSUpgradeRequest) -> Any:
        self.dialled.append(self.loop.time())
        if self.refuse:
            response = WSUpgradeResponse.create_error_response(self.refuse.pop(0), b"")
            return WSUpgradeResponseWithListener(response, None)
        self.peers.append(Peer(self, request))
        return self.now

    def on_text(self, peer: Peer, text: bytes) -> None:
        if not text.startswith(b'{"method"'):
            self.on_other(peer, text)
            return
        request = msgspec.json.decode(text)
        if not self.acks:
            return
        peer.say(msgspec.json.encode({"result": None, "id": request["id"]}))
        if request["method"] == "UNSUBSCRIBE":
            peer.streams = [stream for stream in peer.streams if stream not in request["params"]]
            return
        peer.streams += request["params"]
        if self.data:
            for stream in request["params"]:
                peer.say(event(stream))


class Bench:
    """A venue, a manager of it, and all that the manager said.

    `sink` None: everything goes to the message handler.
    """

    def __init__(self, venue: Venue) -> None:
        self.loop: Any = asyncio.get_running_loop()
        self.venue = venue
        self.events: list[ConnectionEvent] = []
        self.heard_at: list[float] = []  # when
        self.messages: list[ParsedMessage] = []
        self.published: list[bytes] = []
        self.on_message: Callable[[ParsedMessage], Any] = self.messages.append
        self.sink: FrameSink | None = CallbackSink(self._take)
        self.config = WebSocketManagerConfig()
        self.context: dict[str, Any] = {}
        self.policy: ReconnectionPolicy | None = None
        self.budget = FREE
        self.connection: type[PlainConnection] = PlainConnection
        self.manager: WebSocketManager = None  # type: ignore[assignment]

    def on_event(self, event: ConnectionEvent) -> None:
        self.events.append(event)
        self.heard_at.append(self.loop.time())

    def _take(self, data: bytes, _: int) -> bool:
        if not data.startswith(b'{"stream"'):
            return False
        self.published.append(data)
        return True

    def strategies(self) -> WebSocketStrategySet:
        context = ConnectionContext(**{"url": self.venue.url} | self.context)
        return WebSocketStrategySet(
            self.connection(context, self.budget, self.policy),
            BinanceSubscription(STREAMS, SYMBOLS),
            BinanceParser(CANONICAL, DIALECT),
        )

    def build(self) -> WebSocketManager:
        self.manager = WebSocketManager(
            self.config,
            self.strategies(),
            lambda message: self.on_message(message),
            self.on_event,
            sink=self.sink,
            clock=self.loop.time,
            chance=lambda: 0.0,
        )
        return self.manager

    async def start(self, *symbols: str, channels: tuple[str, ...] = ("top",)) -> WebSocketManager:
        manager = self.build()
        await manager.initialize(symbols or ("BTC/USDT",), channels)
        return manager

    async def until(self, condition: Callable[[], Any], within: float = 60.0, step: float = 0.25) -> None:
        """Let the loop run until it is so; `within` virtual seconds at most. What needs no time to come true
        takes none; else it is looked at every `step` seconds."""
        async with asyncio.timeout(within):
            for _ in range(500):
                if condition():
                    return
                await asyncio.sleep(0)
            while not condition():  # noqa: ASYNC110  what is looked at has no event
                await asyncio.sleep(step)

    async def settle(self) -> None:
        """Everything that is under way arrives; no more than a moment passes."""
        await asyncio.sleep(0.001)

    @property
    def delays(self) -> list[float]:
        """Seconds from each loss to the next handshake."""
        lost = [at for at, each in zip(self.heard_at, self.events, strict=True) if each.error is not None]
        return [round(b - a, 3) for a, b in zip(lost, self.venue.dialled[1:], strict=False)]

    @property
    def states(self) -> list[str]:
        return [event.state.value for event in self.events]


def websocket(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs an async test of a `Bench` in virtual time, and closes everything."""

    async def main(*args: Any, **kwargs: Any) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SkippingLoop)
        loop.grace = 0.005  # managers look around every second
        venue = Venue()
        await venue.open()
        bench = Bench(venue)
        try:
            await test(bench, *args, **kwargs)
        finally:
            if bench.manager is not None:
                await bench.manager.close()
            for peer in venue.peers:
                if peer.open:
                    peer.transport.disconnect(False)
            await venue.shut()
            await asyncio.sleep(0.001)

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        with asyncio.Runner(loop_factory=SkippingLoop) as runner:
            runner.run(main(*args, **kwargs))

    # pytest must not take the bench for a fixture.
    own = list(inspect.signature(test).parameters.values())[1:]
    run.__signature__ = inspect.Signature(own)  # type: ignore[attr-defined]
    return run
