"""WebSocketManager: one connection group of a venue, from the wish to the wire and back.

It owns the only loop, socket and clock; what a venue wants is asked of its strategies. One task connects,
authenticates, subscribes, watches and reconnects; another hands the cold messages to `message_handler`.
Market data goes from the socket callback straight into the sink and never meets either.

Three things are watched apart: the ping's round trip (is the peer there), data silence (does the
connection deliver; acknowledgements, pings and pongs are no data), and acknowledgements (was the
subscription taken). The age of one instrument is the sink's business, which can ask for `resubscribe`
or `reconnect`.
"""

from __future__ import annotations

import asyncio
import fcntl
import random
import sys
import termios
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from picows import WSCloseCode, WSMsgType

from workers.backoff import Backoff, SlidingWindow, TokenBucket
from workers.dispatch import ConnectionHandler, Dispatcher, MessageHandler
from workers.errors import (
    AcknowledgementTimeout,
    AuthenticationFailed,
    Disconnected,
    HandshakeRefused,
    NotConnected,
    PingTimeout,
    Silent,
    SubscriptionRejected,
    WebSocketError,
)
from workers.strategies import (
    Answer,
    ConnectionEvent,
    ConnectionState,
    Dialogue,
    MessageBudget,
    PerformanceMetrics,
    ReconnectionPolicy,
    SubscriptionAction,
    SubscriptionMessage,
    Transport,
    WebSocketManagerConfig,
    WebSocketStrategySet,
)
from workers.subscriptions import Subscriptions, Topic
from workers.tally import Tally
from workers.wire import FrameSink, WireListener


class WebSocketManager:
    """See the module's words. Handlers may be plain functions (called in place) or coroutine functions.

    Args:
        config: bounds and timeouts.
        strategies: the venue, validated.
        message_handler: gets every message that neither the sink nor the manager itself took.
        connection_handler: gets every `ConnectionEvent`, synchronously and in order.
        sink: takes market data in the socket callback; None: all messages go to `message_handler`.
        on_rtt: gets the round trip of each of our pings, in ns.
        clock, sleep, chance: monotonic seconds, its sleep, and a random number in [0, 1).
    """

    def __init__(
        self,
        config: WebSocketManagerConfig,
        strategies: WebSocketStrategySet,
        message_handler: MessageHandler,
        connection_handler: ConnectionHandler,
        *,
        sink: FrameSink | None = None,
        on_rtt: Callable[[int], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._config = config
        self._strategies = strategies
        self._sink = sink
        self._on_rtt = on_rtt
        self._clock = clock
        self._sleep = sleep

        connection = strategies.connection_strategy
        budget = connection.budget
        policy = connection.get_reconnection_policy()
        if policy is None:
            policy = ReconnectionPolicy(config.max_reconnect_attempts, config.reconnect_delay)
        self._backoff = Backoff(policy, chance)
        self._connects = TokenBucket(budget.connects / budget.connects_per, budget.connect_burst)
        self._window = self._pace(budget)
        self._subscriptions = Subscriptions(budget.max_streams)
        self._channels: tuple[str, ...] = ()

        self._state = ConnectionState.DISCONNECTED
        self._transport: Transport | None = None
        self._listener: WireListener | None = None
        self._dialogue: Dialogue | None = None
        self._answer = Answer.NOT_MINE
        self._heartbeat_sent = 0.0  # of an application-level heartbeat; 0.0: none is out
        self._renew: WebSocketError | None = None
        self._pongs_booked = 0

        self._tally = Tally(clock)
        self._dispatcher = Dispatcher(
            config, strategies.message_parser, message_handler, connection_handler, self._tally
        )
        self._news: asyncio.Future[None] | None = None
        self._first: asyncio.Future[None] | None = None
        self._reconciling = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []

    # -- the face ---------------------------------------------------------------------------------------
    async def initialize(self, symbols: Iterable[object], default_channels: Sequence[str]) -> None:
        """Connect and subscribe to every symbol x channel; returns when all is acknowledged.

        Raises the last `WebSocketError` once the manager has given up its normal pace (state ERROR), and
        `SubscriptionRejected` when the venue refused every subscription. Either way it goes on trying
        until `close`; single refusals are told to the connection handler and stand in `rejected`.
        """
        if self._tasks:
            raise RuntimeError("this manager is initialised already; subscribe() adds symbols")
        self._channels = tuple(default_channels)
        self._subscriptions.want(map(str, symbols), self._channels)
        self._first = asyncio.get_running_loop().create_future()
        self._report(ConnectionState.CONNECTING, "connecting")
        self._tasks = [asyncio.create_task(self._run()), asyncio.create_task(self._dispatcher.run())]
        await asyncio.shield(self._first)
        refused = self._subscriptions.rejected
        if refused and not self._subscriptions.active:
            raise SubscriptionRejected("the venue refused every subscription", tuple(refused))

    async def subscribe(self, symbols: Iterable[object], channels: Sequence[str] | None = None) -> None:
        """Add symbols (with the default channels unless told). Without a connection the wish is kept and
        carried out with the next one. Raises `SubscriptionRejected` naming what the venue refused."""
        topics = self._subscriptions.want(map(str, symbols), channels or self._channels)
        await self._reconcile_now()
        refused = tuple(topic for topic in topics if topic in self._subscriptions.rejected)
        if refused:
            names = ", ".join(f"{symbol} {channel}" for symbol, channel in refused)
            raise SubscriptionRejected(f"the venue refused {names}", refused)

    async def unsubscribe(self, symbols: Iterable[object], channels: Sequence[str] | None = None) -> None:
        """Remove symbols (all their channels unless told)."""
        self._subscriptions.unwant(map(str, symbols), channels)
        await self._reconcile_now()

    async def resubscribe(self, symbols: Iterable[object], channels: Sequence[str] | None = None) -> None:
        """Unsubscribe and subscribe again: the first remedy for a symbol that does not deliver."""
        names = [str(symbol) for symbol in symbols]
        wanted = [
            t for t in self._subscriptions.desired if t[0] in names and (not channels or t[1] in channels)
        ]
        self._subscriptions.unwant(names, channels)
        try:
            await self._reconcile_now()
        finally:
            for symbol, channel in wanted:
                self._subscriptions.want([symbol], [channel])
        self._tally.resubscribes += 1
        await self._reconcile_now()

    def reconnect(self, reason: str) -> None:
        """Give up the present connection and make a fresh one, with the usual backoff."""
        self._renew = Silent(reason)
        self._notify()

    def replace_strategy(self, strategies: WebSocketStrategySet) -> None:
        """Use another validated set from the next connection on; `reconnect` makes that now."""
        self._strategies = strategies

    async def send_message(self, message: object) -> None:
        """Send bytes or text as they are, anything else as JSON; waits for the message budget.

        Raises `NotConnected`.
        """
        if isinstance(message, str):
            message = message.encode()
        data = message if isinstance(message, bytes) else msgspec.json.encode(message)
        if not self.is_connected():
            raise NotConnected("not connected: nothing was sent")
        await self._send(data)

    def is_connected(self) -> bool:
        """Connected and subscribed, and the socket is there."""
        return (
            self._state is ConnectionState.CONNECTED
            and self._listener is not None
            and not self._listener.is_closed
        )

    @property
    def state(self) -> ConnectionState:
        return self._state

    @property
    def active(self) -> frozenset[Topic]:
        """Acknowledged (symbol, channel) of the present connection."""
        return frozenset(self._subscriptions.active)

    @property
    def rejected(self) -> dict[Topic, str]:
        """(symbol, channel) -> the venue's words, for what it refused on the present connection."""
        return {topic: f"{ack.code}: {ack.message}" for topic, ack in self._subscriptions.rejected.items()}

    def get_performance_metrics(self) -> PerformanceMetrics:
        return self._tally.metrics(self._listener, self._subscriptions, len(self._dispatcher.queue))

    @property
    def unread(self) -> int:
        """Bytes that have arrived and were not read yet; 0 without a connection."""
        wire = getattr(self._transport, "underlying_transport", None)
        sock = wire.get_extra_info("socket") if wire is not None else None
        if sock is None or sock.fileno() < 0:
            return 0
        return int.from_bytes(fcntl.ioctl(sock.fileno(), termios.FIONREAD, bytes(4)), sys.byteorder)

    async def close(self) -> None:
        """Close the connection and end all tasks; idempotent."""
        if self._state is ConnectionState.CLOSED:
            return
        self._report(ConnectionState.CLOSING, "closing")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._hang_up()
        await self._dispatcher.close()
        if self._first is not None and not self._first.done():
            self._first.set_exception(NotConnected("the manager was closed before it had connected"))
            self._first.exception()  # nobody may be waiting any more
        self._report(ConnectionState.CLOSED, "closed")

    def __repr__(self) -> str:
        return f"WebSocketManager(state={self._state.value}, {self._subscriptions!r}, {self._backoff!r})"

    @staticmethod
    def _pace(budget: MessageBudget) -> SlidingWindow:
        """Our pace within a venue's limit. One message stays free for the pong that cannot wait, and the
        window is a quarter wider: what leaves here evenly may arrive there closer together."""
        return SlidingWindow(max(1, budget.messages - 1), 1.25 * budget.per)

    # -- the one loop -----------------------------------------------------------------------------------
    async def _run(self) -> None:
        while True:
            error = await self._attempt()
            self._check_proof()
            self._tally.error_count += 1
            hopeless = not self._strategies.connection_strategy.should_reconnect(error)
            gave_up_before = self._backoff.exhausted
            delay = self._backoff.failed(
                error.kind,
                retry_after=error.retry_after if isinstance(error, HandshakeRefused) else 0.0,
                hopeless=hopeless,
            )
            # Told before the socket is closed: that can take long, and nothing is delivered any more.
            if self._backoff.exhausted:
                self._report(
                    ConnectionState.ERROR,
                    f"{error}; {self._backoff.failures} failures in a row, next attempt in {delay:.1f} s",
                    error,
                    alert=not gave_up_before,
                )
                if self._first is not None and not self._first.done():
                    self._first.set_exception(error)
            else:
                self._report(ConnectionState.RECONNECTING, f"{error}; next attempt in {delay:.2f} s", error)
            await self._hang_up()
            self._subscriptions.lost()
            if delay > 0:
                await self._sleep(delay)

    async def _attempt(self) -> WebSocketError:
        """One connection from dialling to its end; returns why it ended."""
        try:
            if wait := self._connects.delay(self._clock()):
                await self._sleep(wait)
            self._connects.take(self._clock())
            await self._connect()
            async with self._reconciling:
                await self._reconcile()
            self._tally.connected()
            self._report(ConnectionState.CONNECTED, "connected and subscribed")
            if self._first is not None and not self._first.done():
                self._first.set_result(None)
            return await self._watch()
        except WebSocketError as error:
            return error
        except Exception as error:  # a strategy's or a library's bug: no reason to end the loop
            wrapped = WebSocketError(f"{type(error).__name__}: {error}")
            wrapped.__cause__ = error
            return wrapped

    async def _connect(self) -> None:
        strategy = self._strategies.connection_strategy
        context = strategy.context
        listener = WireListener(
            self._sink,
            control=self._control,
            on_pending=self._dispatcher.pending.set,
            on_closed=self._notify,
            on_pong=self._ponged,
            queue=self._dispatcher.queue,
            max_pending=self._config.max_pending_messages,
            max_message=context.max_frame,
            timed=self._config.enable_performance_tracking,
        )
        budget = strategy.budget
        self._window = self._pace(budget)
        self._pongs_booked = 0
        self._renew = None
        self._dispatcher.opened_ns = time.monotonic_ns()
        self._dispatcher.parser = self._strategies.message_parser
        self._tally.opened()
        self._listener = listener
        self._transport = await strategy.connect(listener)
        if context.auth_required:
            await self._authenticate()

    async def _authenticate(self) -> None:
        dialogue = self._strategies.connection_strategy.authenticate()
        if dialogue is None:
            raise AuthenticationFailed("authentication is required, but the strategy offers none")
        self._dialogue, self._answer = dialogue, Answer.NOT_MINE
        try:
            for frame in dialogue.frames:
                await self._send(frame)
            deadline = self._clock() + self._config.ack_timeout
            while self._answer is Answer.NOT_MINE:
                self._check_open()
                if self._clock() >= deadline:
                    raise AcknowledgementTimeout(
                        f"no answer to the authentication within {self._config.ack_timeout:g} s"
                    )
                await self._pause(deadline - self._clock())
        finally:
            self._dialogue = None
        if self._answer is Answer.REJECTED:
            raise AuthenticationFailed("the venue refused our credentials; check key, secret and permissions")

    async def _watch(self) -> WebSocketError:
        """Until the connection ends or has to be given up; returns the reason."""
        context = self._strategies.connection_strategy.context
        config = self._config
        shortest = min(
            config.message_timeout, config.first_event_after, context.ping_interval, context.ping_timeout
        )
        tick = min(1.0, max(0.005, shortest / 5))
        seen = self._data_count()
        data_at = self._clock()
        delivered = seen > 0
        ping_due = data_at + context.ping_interval
        pong_due = 0.0
        while True:
            self._check_proof()
            if self._renew is not None:
                return self._renew
            listener = self._listener
            assert listener is not None
            if listener.is_closed:
                return Disconnected(listener.close_code, listener.close_reason)
            now = self._clock()
            if (count := self._data_count()) != seen:
                seen, data_at, delivered = count, now, True
            elif not self._subscriptions.active:
                data_at = now
            else:
                limit = config.message_timeout if delivered else config.first_event_after
                if now - data_at >= limit:
                    missing = "no data" if delivered else "subscribed, but not one data message"
                    return Silent(f"{missing} for {limit:g} s on the whole connection")
            out = listener.awaiting_pong or self._heartbeat_sent > 0
            if out and pong_due and now >= pong_due:
                return PingTimeout(f"no answer to our ping within {context.ping_timeout:g} s")
            if not out and now >= ping_due and self._may_send():
                self._ping(now)
                ping_due, pong_due = now + context.ping_interval, now + context.ping_timeout
            await self._pause(tick)

    def _ping(self, now: float) -> None:
        assert self._listener is not None
        assert self._transport is not None
        self._window.take(now)
        self._tally.pings_sent += 1
        dialogue = self._strategies.connection_strategy.handle_heartbeat()
        if dialogue is None:
            self._listener.ping(self._transport)
            return
        self._dialogue, self._answer = dialogue, Answer.NOT_MINE
        self._heartbeat_sent = now
        for frame in dialogue.frames:
            self._transport.send(WSMsgType.TEXT, frame)

    def _data_count(self) -> int:
        return (self._listener.consumed if self._listener is not None else 0) + self._tally.data_of_connection

    def _check_proof(self) -> None:
        if self._data_count():
            self._backoff.proved()

    async def _hang_up(self) -> None:
        """End the present connection: politely, then by force within `close_timeout`."""
        transport, listener = self._transport, self._listener
        self._transport = None
        self._dialogue = None
        self._heartbeat_sent = 0.0
        if listener is not None:
            listener.detach()
            self._tally.absorb(listener)
            self._listener = None
        self._notify()
        if transport is None:
            return
        if listener is None or not listener.is_closed:
            with suppress(Exception):
                transport.send_close(WSCloseCode.OK)
            transport.disconnect()
        closed = asyncio.ensure_future(transport.wait_disconnected())
        done, _ = await asyncio.wait({closed}, timeout=self._config.close_timeout)
        if not done:
            transport.disconnect(False)
            done, _ = await asyncio.wait({closed}, timeout=self._config.close_timeout)
        if done:
            closed.exception()  # picows keeps its own reason there; ours is in the close code
        else:
            closed.cancel()

    # -- subscriptions ----------------------------------------------------------------------------------
    async def _reconcile_now(self) -> None:
        """Reconcile if there is a connection; if it fails, the loop sees to the reconnect."""
        if not self.is_connected():
            return
        async with self._reconciling:
            try:
                await self._reconcile()
            except Disconnected:
                pass
            except WebSocketError as error:
                self._renew = error
                self._notify()

    async def _reconcile(self) -> None:
        connection = self._listener
        strategy = self._strategies.subscription_strategy
        while not self._subscriptions.settled:
            for action, message in self._subscriptions.plan(strategy):
                await self._send(message.payload, (action, message), connection)
            deadline = self._clock() + self._config.ack_timeout
            while self._subscriptions.waiting:
                self._check_open(connection)
                left = deadline - self._clock()
                if left <= 0:
                    raise AcknowledgementTimeout(
                        f"{self._subscriptions.waiting} subscription messages were not acknowledged within "
                        f"{self._config.ack_timeout:g} s"
                    )
                await self._pause(left)

    def _control(self, data: bytes, received: int) -> bool:
        """First look at a cold message, in the socket callback: is it an answer that somebody waits for?"""
        dialogue = self._dialogue
        if dialogue is not None:
            answer = dialogue.matcher(data)
            if answer is not Answer.NOT_MINE:
                self._answer = answer
                self._dialogue = None
                if self._heartbeat_sent:
                    self._ponged(int((self._clock() - self._heartbeat_sent) * 1e9))
                    self._heartbeat_sent = 0.0
                self._notify()
                return True
        if not self._subscriptions.waiting:
            return False
        ack = self._strategies.subscription_strategy.match_acknowledgement(data)
        if ack is None:
            return False
        refused = self._subscriptions.acknowledge(ack)
        if refused is None:
            return False
        if refused:
            names = ", ".join(f"{symbol} {channel}" for symbol, channel in refused)
            self._report(
                self._state, f"the venue refused {names}: {ack.code} {ack.message}".rstrip(), rejected=refused
            )
        self._notify()
        return True

    # -- telling ------------------------------------------------------------------------------------
    def _report(
        self,
        state: ConnectionState,
        reason: str,
        error: BaseException | None = None,
        *,
        alert: bool = False,
        rejected: tuple[Topic, ...] = (),
    ) -> None:
        self._state = state
        self._dispatcher.report(
            ConnectionEvent(
                state=state,
                reason=reason,
                error=error,
                alert=alert,
                rejected=rejected,
                connection=self._tally.connections,
            )
        )

    def _ponged(self, rtt_ns: int) -> None:
        self._tally.last_ping_rtt_ns = rtt_ns
        if self._on_rtt is not None:
            self._on_rtt(rtt_ns)

    # -- sending and waiting ----------------------------------------------------------------------------
    def _may_send(self) -> bool:
        assert self._listener is not None
        now = self._clock()
        while self._pongs_booked < self._listener.pings:  # our pongs count as messages too
            self._pongs_booked += 1
            self._window.take(now)
        return self._window.delay(now) == 0.0

    async def _send(
        self,
        data: bytes,
        question: tuple[SubscriptionAction, SubscriptionMessage] | None = None,
        connection: WireListener | None = None,
    ) -> None:
        while True:
            self._check_open(connection)
            if self._may_send():
                break
            await self._pause(max(0.001, self._window.delay(self._clock())))
        self._window.take(self._clock())
        if question is not None:
            self._subscriptions.sent(*question)  # before the sending: the answer must find it
        assert self._transport is not None
        self._transport.send(WSMsgType.TEXT, data)

    def _check_open(self, connection: WireListener | None = None) -> None:
        if self._renew is not None:
            raise self._renew
        if (
            self._transport is None
            or self._listener is None
            or (connection is not None and connection is not self._listener)
        ):
            raise Disconnected(1006, "given up")
        if self._listener.is_closed:
            raise Disconnected(self._listener.close_code, self._listener.close_reason)

    def _notify(self) -> None:
        news, self._news = self._news, None
        if news is not None and not news.done():
            news.set_result(None)

    async def _pause(self, seconds: float) -> None:
        """Until there is news or the time is over."""
        if self._news is None:
            self._news = asyncio.get_running_loop().create_future()
        timer = asyncio.ensure_future(self._sleep(seconds))
        try:
            await asyncio.wait({self._news, timer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
