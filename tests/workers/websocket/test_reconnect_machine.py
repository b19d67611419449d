"""The reconnect loops against a venue that does anything, in virtual time, with an oracle of their rules.

The oracle knows the rules of backoff.py and SPEC 1 in its own words: what it sees is what the venue
sees (attempts, sockets, streams) and what the handlers are told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from picows.picows import WSMsgType, _make_test_ws_frame
from ws_bench import Bench, FakeTransport, Venue, event

from workers.contract.errors import ConnectionFailed, ConnectTimeout, HandshakeRefused, WebSocketError
from workers.contract.protocols import (
    Answer,
    ConnectionContext,
    ConnectionEvent,
    ConnectionState,
    Dialogue,
    MessageBudget,
    ReconnectionPolicy,
    WebSocketManagerConfig,
)
from workers.websocket.shard import Shard
from workers.websocket.subscriptions import Topic
from workers.websocket.wire import CallbackSink, WireListener

POOL = [f"S{n}/USDT" for n in range(5)]
STREAMS = {symbol: f"{symbol[:2].lower()}usdt@bookTicker" for symbol in POOL}
POLICY = ReconnectionPolicy(4, 1.0, 2.0, max_delay=20.0)
BUDGET = MessageBudget(max_streams=3, connects=6, connects_per=60.0, connect_burst=2)
FAILURES = [
    ConnectionFailed("refused"),
    ConnectTimeout("no answer"),
    HandshakeRefused("HTTP 429", 429, retry_after=25.0),
    HandshakeRefused("HTTP 503", 503),
    HandshakeRefused("HTTP 401", 401),
    ValueError("a bug"),
]
SYMBOLS = st.lists(st.sampled_from(POOL), min_size=1, max_size=3, unique=True)


class Ledger:
    """What a shard may do: failures in a row, when it failed last, whether it has alerted."""

    def __init__(self) -> None:
        self.failures = 0
        self.lost_at = 0.0
        self.proved = False  # data since the last failure
        self.alerts = 0  # since the last data
        self.current: FakeTransport | None = None

    def data(self) -> None:
        self.failures, self.alerts, self.proved = 0, 0, True

    def earliest(self) -> float:
        """No attempt before this; half of the slowest growth is left to jitter and to the kind of failure."""
        if not self.failures or (self.failures == 1 and self.proved):
            return self.lost_at  # the first reconnect after valid data may be immediate
        if self.failures >= POLICY.max_attempts:
            return self.lost_at + POLICY.max_delay
        return self.lost_at + 0.5 * 2.0 ** (0.5 * (self.failures - 1))


class WatchedVenue(Venue):
    """Tells the machine who dials."""

    machine: ReconnectLoops

    async def connect(self, listener: WireListener) -> FakeTransport:
        self.machine.dialled(listener)
        transport = await super().connect(listener)
        self.machine.accepted(listener, transport)
        return transport


class Handover:
    """Completes whenever it is asked; what both bring is known by its bytes."""

    failed = ""

    def __init__(self, machine: ReconnectLoops) -> None:
        self.machine = machine
        self.kept: list[bytes] = []
        self.sink = CallbackSink(self.take)

    def take(self, data: bytes, received: int) -> bool:
        if data.startswith(b'{"stream"'):
            self.kept.append(data)
            return True
        return False

    def keep(self, message: Any) -> None:
        self.kept.append(message.raw_data)

    def subscribed(self) -> None:
        pass

    def ready(self) -> bool:
        return self.machine.catches_up

    def complete(self) -> Any:
        for data in self.kept:
            if data not in self.machine.bench.published:
                self.machine.bench.take(data, 0)
        return self.machine.bench.sink

    def abandon(self) -> None:
        self.kept.clear()


class ReconnectLoops(RuleBasedStateMachine):
    """One manager, up to two shards."""

    authenticated = False

    @initialize(symbols=SYMBOLS, refused=st.sampled_from([None, *FAILURES]))
    def start(self, symbols: list[str], refused: Exception | None) -> None:
        self.loop = asyncio.new_event_loop()
        self.ledgers: dict[int, Ledger] = {}
        self.desired: set[str] = set(symbols)
        self.catches_up = True
        self.last: dict[str, float] = {}
        self.number = 0
        self.broken: list[str] = []
        self.running: list[asyncio.Future[None]] = []
        self.bench = bench = Bench(
            config=WebSocketManagerConfig(message_timeout=40.0, first_event_after=15.0, overlap=5.0)
        )
        bench.venue = venue = WatchedVenue(bench.clock)
        venue.machine = self
        venue.policy, venue._budget, venue.default = POLICY, BUDGET, refused
        venue._context = ConnectionContext(
            url="ws://venue",
            ping_interval=10.0,
            ping_timeout=5.0,
            max_age=200.0,
            auth_required=self.authenticated,
        )
        self.credentials = True
        venue.auth = Dialogue((b"login",), self.answer_of)
        bench.venue.data_on_subscribe = False
        bench.options = {
            "handover": lambda topics: Handover(self),
            "delivered": lambda symbol, channel: int(self.last.get(symbol, 0.0) * 1e9),
        }
        bench.events = Heard(self)
        self.run(self.begin(symbols))

    async def begin(self, symbols: list[str]) -> None:
        self.bench.build()
        self.spawn(self.bench.manager.initialize(symbols, ["top"]))
        await self.bench.clock.settle()

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        self.loop.run_until_complete(work)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        async def quietly() -> None:
            with suppress(WebSocketError):
                await work

        self.running.append(asyncio.ensure_future(quietly()))

    def answer_of(self, data: bytes) -> Answer:
        return {b"yes": Answer.ACCEPTED, b"no": Answer.REJECTED}.get(data, Answer.NOT_MINE)

    def claim(self, true: bool, otherwise: str) -> None:
        """Noted, for what is raised inside the manager it takes for a fault of a strategy."""
        if not true:
            self.broken.append(otherwise)

    # -- what the oracle sees ---------------------------------------------------------------------------
    def shard_of(self, listener: WireListener) -> tuple[Shard, bool]:
        """The shard that a connection belongs to, and whether it is its replacement."""
        for shard in self.bench.manager._shards.values():
            for connection in shard.connections:
                if connection.listener is listener:
                    return shard, connection is not shard.connection
        raise AssertionError("a connection of nobody's")

    def dialled(self, listener: WireListener) -> None:
        shard, planned = self.shard_of(listener)
        ledger = self.ledgers.setdefault(shard.number, Ledger())
        now = self.bench.clock.now
        self.claim(
            planned or now >= ledger.earliest() - 1e-6,
            f"an attempt at {now} after {ledger.failures} failures, the last at {ledger.lost_at}",
        )
        times = [at for at in self.bench.venue.attempts if at > now - BUDGET.connects_per]
        self.claim(len(times) < BUDGET.connects, "more attempts than the venue's budget")

    def accepted(self, listener: WireListener, transport: FakeTransport) -> None:
        shard, _ = self.shard_of(listener)
        transport.shard = shard.number  # type: ignore[attr-defined]
        if self.authenticated:
            reply = b"yes" if self.credentials else b"no"
            asyncio.get_running_loop().call_soon(
                lambda: asyncio.get_running_loop().call_soon(transport.push, reply)
            )

    def heard(self, event: ConnectionEvent) -> None:
        ledger = self.ledgers.setdefault(event.shard, Ledger())
        if event.state in (ConnectionState.RECONNECTING, ConnectionState.ERROR) and not event.overdue:
            if event.rejected:
                return
            ledger.failures += 1
            if ledger.failures > 1:
                ledger.proved = False
            ledger.lost_at = self.bench.clock.now
            given_up = event.state is ConnectionState.ERROR
            ledger.alerts += event.alert
            self.claim(ledger.alerts == given_up, "one alert per giving up")
            self.claim(given_up or ledger.failures < POLICY.max_attempts, "it should have given up")

    def deliver(self, transport: FakeTransport, stream: str) -> None:
        """Valid data on a live connection; what is delivered proves its shard."""
        self.number += 1
        before = len(self.bench.published)
        for each in self.bench.venue.live:
            if each is transport or (each.shard == transport.shard and stream in each.streams):  # type: ignore[attr-defined]
                each.push(event(stream, self.number))
        if len(self.bench.published) > before:
            self.last[next(s for s in POOL if STREAMS[s] == stream)] = self.bench.clock.now
            self.ledgers[transport.shard].data()  # type: ignore[attr-defined]

    # -- rules ------------------------------------------------------------------------------------------
    @rule(default=st.sampled_from([None, *FAILURES]))
    def from_now_on_dialling(self, default: Exception | None) -> None:
        self.bench.venue.default = default

    @rule(problem=st.sampled_from(FAILURES))
    def next_dialling_fails(self, problem: Exception) -> None:
        self.bench.venue.script = [problem]

    @rule(acks=st.booleans(), pongs=st.booleans(), catches_up=st.booleans(), credentials=st.booleans())
    def from_now_on_the_venue(self, acks: bool, pongs: bool, catches_up: bool, credentials: bool) -> None:
        self.bench.venue.acks, self.bench.venue.pongs = acks, pongs
        self.catches_up, self.credentials = catches_up, credentials

    @rule(
        refuse=st.lists(st.sampled_from(POOL), max_size=2), mute=st.lists(st.sampled_from(POOL), max_size=2)
    )
    def from_now_on_streams(self, refuse: list[str], mute: list[str]) -> None:
        self.bench.venue.refuse = {STREAMS[symbol] for symbol in refuse}
        self.bench.venue.mute = {STREAMS[symbol] for symbol in mute}

    @rule(seconds=st.sampled_from([0.1, 0.7, 3.0, 12.0]))
    def silence(self, seconds: float) -> None:
        self.run(self.bench.clock.advance(seconds))

    @rule(seconds=st.integers(1, 25))
    def a_good_time(self, seconds: int) -> None:
        async def pass_by() -> None:
            for _ in range(seconds):
                for transport in self.bench.venue.live:
                    for stream in sorted(transport.streams - self.bench.venue.mute):
                        self.deliver(transport, stream)
                await self.bench.clock.advance(1.0)

        self.run(pass_by())

    @rule(which=st.integers(0, 5), code=st.sampled_from([1000, 1001, 1005, 1006, 1008, 1013]))
    def venue_closes(self, which: int, code: int) -> None:
        async def close() -> None:
            if live := self.bench.venue.live:
                transport = live[which % len(live)]
                if code == 1006:
                    transport.drop()
                elif code == 1005:
                    transport.push(b"", WSMsgType.CLOSE)
                    transport.drop()
                else:
                    transport.close_with(code)
            await self.bench.clock.settle()

        self.run(close())

    @rule(which=st.integers(0, 5))
    def venue_announces_its_end(self, which: int) -> None:
        async def announce() -> None:
            if live := self.bench.venue.live:
                live[which % len(live)].push(b"going")
            await self.bench.clock.settle()

        self.run(announce())

    @rule(symbols=SYMBOLS)
    def subscribe(self, symbols: list[str]) -> None:
        async def desire() -> None:
            self.spawn(self.bench.manager.subscribe(symbols))
            await self.bench.clock.settle()

        self.desired |= set(symbols)
        self.run(desire())

    @rule(symbols=SYMBOLS)
    def unsubscribe(self, symbols: list[str]) -> None:
        async def desire_no_more() -> None:
            self.spawn(self.bench.manager.unsubscribe(symbols))
            await self.bench.clock.settle()

        self.desired -= set(symbols)
        self.run(desire_no_more())

    @rule(fresh=st.sampled_from(["renew", "reconnect"]))
    def ask_for_fresh_connections(self, fresh: str) -> None:
        async def ask() -> None:
            getattr(self.bench.manager, fresh)("on request")
            await self.bench.clock.settle()

        self.run(ask())

    @precondition(lambda self: any(not transport.open for transport in self.bench.venue.transports))
    @rule()
    def frames_of_connections_given_up_come_late(self) -> None:
        before = len(self.bench.published)
        for transport in self.bench.venue.transports:
            if not transport.open:
                late = event("s0usdt@bookTicker", -1)
                transport.listener.on_ws_frame(None, _make_test_ws_frame(WSMsgType.TEXT, late, True, True))
        assert len(self.bench.published) == before

    # -- what always holds ------------------------------------------------------------------------------
    @invariant()
    def the_rules_are_kept(self) -> None:
        assert not self.broken

    @invariant()
    def desired_is_active_wherever_it_is_settled(self) -> None:
        manager = self.bench.manager
        assert {symbol for shard in manager._shards.values() for symbol, _ in shard.desired} == self.desired
        for shard in manager._shards.values():
            connection = shard.connection
            if connection is None or not shard.is_connected() or connection._reconciling.locked():
                continue
            topics: set[Topic] = set(shard.desired)
            assert connection.topics.active | connection.topics.rejected.keys() == topics
            [transport] = [each for each in self.bench.venue.live if each.listener is connection.listener]
            assert transport.streams == {STREAMS[symbol] for symbol, _ in connection.topics.active}
            assert len(transport.subscribed) == len(transport.streams) <= BUDGET.max_streams

    @invariant()
    def one_connection_a_shard_two_during_a_replacement(self) -> None:
        shards = self.bench.manager._shards
        for number, shard in shards.items():
            live = [each for each in self.bench.venue.live if each.shard == number]  # type: ignore[attr-defined]
            assert len(live) <= 1 + (shard._renewal is not None)
        assert {each.shard for each in self.bench.venue.live} <= shards.keys()  # type: ignore[attr-defined]

    @invariant()
    def the_state_is_the_worst(self) -> None:
        states = {shard.state for shard in self.bench.manager._shards.values()}
        assert (self.bench.manager.state is ConnectionState.CONNECTED) == (
            states == {ConnectionState.CONNECTED}
        )
        assert self.bench.manager.is_connected() <= (states == {ConnectionState.CONNECTED})

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return

        async def close() -> None:
            closing = asyncio.ensure_future(self.bench.manager.close())
            await self.bench.clock.advance(3.0)
            await closing
            await asyncio.gather(*self.running)
            await self.bench.clock.settle()
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert not self.bench.venue.live
            assert self.bench.manager.state is ConnectionState.CLOSED

        self.run(close())
        self.loop.close()


class Heard(list[ConnectionEvent]):
    """The connection handler's events, shown to the oracle."""

    def __init__(self, machine: ReconnectLoops) -> None:
        super().__init__()
        self.machine = machine

    def append(self, event: ConnectionEvent) -> None:
        super().append(event)
        self.machine.heard(event)


class AuthenticatedLoops(ReconnectLoops):
    """The same for a venue that wants to know who we are, and does not always believe it."""

    authenticated = True


TestReconnectLoops = ReconnectLoops.TestCase
TestReconnectLoops.settings = settings(max_examples=120, stateful_step_count=50)
TestAuthenticatedLoops = AuthenticatedLoops.TestCase
TestAuthenticatedLoops.settings = settings(max_examples=40, stateful_step_count=50)
