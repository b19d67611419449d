"""A WebSocketManager in virtual time on a scripted venue: no socket, no sleep."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from picows.picows import WSMsgType, _make_test_ws_frame

from workers.contract.protocols import (
    ConnectionContext,
    ConnectionEvent,
    ConnectionStrategy,
    Dialogue,
    MessageBudget,
    MessageType,
    ParsedMessage,
    ReconnectionPolicy,
    WebSocketManagerConfig,
    WebSocketStrategySet,
)
from workers.venues.binance.subscription import BinanceSubscription
from workers.venues.binance_spot.subscription import STREAMS
from workers.websocket import WebSocketManager
from workers.websocket.wire import CallbackSink, WireListener

SYMBOLS = {f"S{n}/USDT": f"S{n}USDT" for n in range(500)} | {"BTC/USDT": "BTCUSDT", "ETH/USDT": "ETHUSDT"}
CANONICAL = {venue.lower(): canonical for canonical, venue in SYMBOLS.items()}
DATA = b'{"stream":"btcusdt@bookTicker","data":{}}'
KINDS = {
    "bookTicker": MessageType.BOOK_TICKER,
    "depth@100ms": MessageType.ORDERBOOK,
    "trade": MessageType.TRADES,
    "ticker": MessageType.TICKER,
}


def event(stream: str, number: int = 0) -> bytes:
    """One message of a stream; the same number is the same message on every connection."""
    return msgspec.json.encode({"stream": stream, "data": {"n": number}})


class VirtualClock:
    """Time that passes only when the test says so; sleepers wake in order."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (self.now + seconds, self._count, future))
        await future

    async def settle(self) -> None:
        for _ in range(60):
            await asyncio.sleep(0)

    async def advance(self, seconds: float) -> None:
        end = self.now + seconds
        await self.settle()
        spins = 0
        while self._sleepers and self._sleepers[0][0] <= end:
            at, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                spins = 0 if at > self.now else spins + 1
                assert spins < 1000, "somebody spins: time does not pass"
                self.now = at
                future.set_result(None)
                await self.settle()
        self.now = end
        await self.settle()


class FakeTransport:
    """Both ends of one connection."""

    def __init__(self, venue: Venue, listener: WireListener) -> None:
        self.venue = venue
        self.listener = listener
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sent: list[bytes] = []
        self.subscribed: list[str] = []
        self.goodbye = False

    def send(self, msg_type: Any, message: bytes) -> None:
        self.sent.append(message)
        self.venue.sent.append((self.venue.clock(), message))
        self.venue.answer(self, message)

    def send_ping(self, message: bytes | None = None) -> None:
        self.venue.sent.append((self.venue.clock(), b"PING"))
        if self.venue.pongs:
            asyncio.get_running_loop().call_soon(self.push, message or b"", WSMsgType.PONG)

    def send_close(self, close_code: Any = 1000, close_message: bytes | None = None) -> None:
        self.goodbye = True

    def disconnect(self, graceful: bool = True) -> None:
        self.drop()

    async def wait_disconnected(self) -> None:
        await self.closed

    # -- the venue's side
    @property
    def open(self) -> bool:
        return not self.closed.done()

    @property
    def streams(self) -> set[str]:
        return set(self.subscribed)

    def push(self, payload: bytes, kind: WSMsgType = WSMsgType.TEXT) -> None:
        if self.open:
            self.listener.on_ws_frame(None, _make_test_ws_frame(kind, payload, True, True))

    def close_with(self, code: int, reason: bytes = b"") -> None:
        """A CLOSE frame; the peer hangs up at once."""
        self.push(code.to_bytes(2, "big") + reason, WSMsgType.CLOSE)
        self.drop()

    def drop(self) -> None:
        if self.open:
            self.closed.set_result(None)
            self.listener.on_ws_disconnected(None)


class Venue(ConnectionStrategy):
    """A scripted venue: `script` holds, per connection attempt, an exception or None (accept)."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.script: list[Exception | None] = []
        self.attempts: list[float] = []
        self.transports: list[FakeTransport] = []
        self.sent: list[tuple[float, bytes]] = []
        self.refuse: set[str] = set()
        self.mute: set[str] = set()  # streams that are acknowledged and never bring anything
        self.data_on_subscribe = True
        self.acks = True
        self.pongs = True
        self.default: Exception | None = None
        self.dialogue: Dialogue | None = None
        self.auth: Dialogue | None = None
        self._context = ConnectionContext(url="ws://venue", ping_interval=10.0, ping_timeout=5.0)
        self._budget = MessageBudget(connects=10_000, connects_per=1.0, connect_burst=100)
        self.policy: ReconnectionPolicy | None = ReconnectionPolicy(5, 1.0, max_delay=30.0)
        self.hopeless = False

    @property
    def context(self) -> ConnectionContext:
        return self._context

    @property
    def budget(self) -> MessageBudget:
        return self._budget

    async def connect(self, listener: WireListener) -> FakeTransport:
        self.attempts.append(self.clock())
        problem = self.script.pop(0) if self.script else self.default
        if problem is not None:
            raise problem
        self.transports.append(FakeTransport(self, listener))
        return self.transports[-1]

    def announced_end(self, data: bytes) -> float | None:
        return 60.0 if data == b"going" else None

    def authenticate(self) -> Dialogue | None:
        return self.auth

    def handle_heartbeat(self) -> Dialogue | None:
        return self.dialogue

    def should_reconnect(self, error: BaseException) -> bool:
        return not self.hopeless

    def get_reconnection_policy(self) -> ReconnectionPolicy | None:
        return self.policy

    # -- what the test sees
    @property
    def now(self) -> FakeTransport:
        return self.transports[-1]

    @property
    def live(self) -> list[FakeTransport]:
        return [transport for transport in self.transports if transport.open]

    @property
    def subscribed(self) -> list[str]:
        return self.now.subscribed

    @property
    def gaps(self) -> list[float]:
        """Seconds between attempts."""
        return [b - a for a, b in zip(self.attempts, self.attempts[1:], strict=False)]

    def everywhere(self, data: bytes) -> None:
        """One message on every live connection that carries its stream, as a venue sends it."""
        stream = msgspec.json.decode(data)["stream"]
        for transport in self.live:
            if stream in transport.subscribed:
                transport.push(data)

    def answer(self, transport: FakeTransport, message: bytes) -> None:
        if not message.startswith(b'{"method"') or not self.acks:
            return
        request = msgspec.json.decode(message)
        names = request["params"]
        loop = asyncio.get_running_loop()
        if self.refuse & set(names):
            reply: dict[str, Any] = {"error": {"code": 2, "msg": "bad stream"}, "id": request["id"]}
            if request["method"] == "UNSUBSCRIBE" and len(names) == 1 and names[0] in transport.subscribed:
                transport.subscribed.remove(names[0])  # it knows nothing of it, and sends nothing of it
            loop.call_soon(transport.push, msgspec.json.encode(reply))
            return
        if request["method"] == "SUBSCRIBE":
            transport.subscribed += names
        else:
            transport.subscribed = [name for name in transport.subscribed if name not in names]
        loop.call_soon(transport.push, msgspec.json.encode({"result": None, "id": request["id"]}))
        if self.data_on_subscribe and request["method"] == "SUBSCRIBE":
            for name in names:
                if name not in self.mute:
                    loop.call_soon(transport.push, event(name))


class Parser:
    def classify(self, data: bytes) -> MessageType:
        return self.parse(data).message_type if data.startswith(b'{"stream"') else MessageType.OTHER

    def extract_symbol(self, data: bytes) -> str | None:
        return self.parse(data).symbol

    def parse(self, data: bytes, received: int = 0) -> ParsedMessage:
        if data.startswith(b"garbage"):
            raise ValueError("garbage")
        if not data.startswith(b'{"stream"'):
            return ParsedMessage(message_type=MessageType.OTHER, timestamp=received, raw_data=data)
        stream = msgspec.json.decode(data)["stream"]
        symbol, _, kind = stream.partition("@")
        return ParsedMessage(
            message_type=KINDS[kind],
            symbol=CANONICAL[symbol],
            channel=stream,
            timestamp=received,
            raw_data=data,
        )


class Bench:
    """A manager on a scripted venue, and all that it said."""

    def __init__(self, *, sink: bool = True, config: WebSocketManagerConfig | None = None) -> None:
        self.clock = VirtualClock()
        self.venue = Venue(self.clock)
        self.events: list[ConnectionEvent] = []
        self.messages: list[ParsedMessage] = []
        self.published: list[bytes] = []  # what the sink took
        self.rtts: list[int] = []
        self.on_message: Callable[[ParsedMessage], Awaitable[None] | None] = self.messages.append
        self.sink = CallbackSink(self.take) if sink else None
        self.config = config or WebSocketManagerConfig(message_timeout=30.0, first_event_after=20.0)
        self.options: dict[str, Any] = {}

    def take(self, data: bytes, received: int) -> bool:
        if not data.startswith(b'{"stream"'):
            return False
        self.published.append(data)
        return True

    def build(self) -> WebSocketManager:
        self.manager = WebSocketManager(
            self.config,
            WebSocketStrategySet(self.venue, BinanceSubscription(STREAMS, SYMBOLS), Parser()),
            lambda message: self.on_message(message),
            self.events.append,
            sink=self.sink,
            on_rtt=self.rtts.append,
            clock=self.clock,
            sleep=self.clock.sleep,
            chance=lambda: 0.0,
            **self.options,
        )
        return self.manager

    async def start(self, *symbols: str, channels: tuple[str, ...] = ("top",)) -> WebSocketManager:
        manager = self.build()
        task = asyncio.ensure_future(manager.initialize(symbols or ("BTC/USDT",), channels))
        await self.clock.settle()
        assert task.done(), "initialize did not return"
        await task
        return manager

    @property
    def states(self) -> list[str]:
        return [event.state.value for event in self.events]

    @property
    def losses(self) -> list[ConnectionEvent]:
        """Events that mark something lost."""
        return [each for each in self.events if each.state.value in ("reconnecting", "error")]

    @property
    def handled(self) -> list[bytes]:
        return [message.raw_data for message in self.messages]

    async def run(self, seconds: float, *streams: str, step: float = 1.0) -> None:
        """Let time pass while the streams deliver, and nothing is silent."""
        end = self.clock.now + seconds
        while self.clock.now < end - 1e-9:
            for transport in self.venue.live:
                for stream in streams or transport.subscribed:
                    if stream in transport.subscribed and stream not in self.venue.mute:
                        transport.push(event(stream, int(self.clock.now * 1000)))
            await self.clock.advance(min(step, end - self.clock.now))


def virtual(test: Callable[[Bench], Awaitable[None]]) -> Callable[[], None]:
    """Runs a test coroutine with a bench and closes the manager: no task and no socket is left."""

    def run() -> None:
        async def main() -> None:
            bench = Bench()
            await test(bench)
            closing = asyncio.ensure_future(bench.manager.close())
            await bench.clock.advance(3.0)
            await closing
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert not bench.venue.live

        asyncio.run(main())

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    return run
