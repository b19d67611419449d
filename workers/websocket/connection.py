"""One WebSocket connection: opening, login, subscriptions, pings, and noticing that it has failed.

Three things are watched separately: pings (is the peer there), market data (does the connection deliver;
acknowledgements, pings and pongs do not count), and acknowledgements (has the venue accepted the
subscriptions). A connection only reports its failure (`fault`); reconnecting is done by its shard.
"""

from __future__ import annotations

import asyncio
import fcntl
import sys
import termios
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from picows import WSCloseCode, WSMsgType

from workers.contract.errors import (
    AcknowledgementTimeout,
    AuthenticationFailed,
    Disconnected,
    PingTimeout,
    Silent,
    WebSocketError,
)
from workers.contract.protocols import (
    DATA_TYPES,
    Answer,
    Dialogue,
    MessageBudget,
    MessageType,
    ParsedMessage,
    Transport,
    WebSocketManagerConfig,
    WebSocketStrategySet,
)
from workers.decode.sink import FrameSink
from workers.websocket.backoff import SlidingWindow, TokenBucket
from workers.websocket.dispatch import Dispatcher, maybe_data
from workers.websocket.first_events import ALWAYS_EXPECTED, MESSAGE_TYPES, NOT_EXPECTED
from workers.websocket.stats import ConnectionStats
from workers.websocket.subscriptions import PendingRequest, Subscriptions, Topic
from workers.websocket.wakeup import Wakeup
from workers.websocket.wire import WireListener

# Seconds. Where the venue's message limit counts over a window as long as this, a connection that has used it
# up can neither subscribe nor ping for minutes: it is replaced before, by one whose count begins at zero.
LONG_WINDOW = 60.0
# Share of such a limit at which that is done: what is left is used while the replacement is made.
RENEWAL_RESERVE = 0.05


@dataclass(frozen=True)
class SharedContext:
    """What all connections of a manager share.

    Attributes:
        config: bounds and timeouts.
        dispatcher: the queue to `message_handler`, and the handler of connection events.
        stats: counters over all connections.
        connects: the venue's limit of connection attempts.
        clock: monotonic seconds.
        sleep: as `asyncio.sleep`, on that clock.
        chance: a random number in [0, 1), for jitter.
        on_rtt: called with the round trip of each of our pings, in ns.
    """

    config: WebSocketManagerConfig
    dispatcher: Dispatcher
    stats: ConnectionStats
    connects: TokenBucket
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[Any]]
    chance: Callable[[], float]
    on_rtt: Callable[[int], object] | None


class Connection:
    """One connection, from `open` to `close`; a shard makes a new one for each attempt.

    Args:
        shared: what all connections of the manager share.
        strategies: how to talk to the venue; this connection uses them until it is closed.
        desired: the topics to subscribe to; the mapping is the shard's own, which changes it.
        wakeup: set whenever something has changed, so that the shard looks at this connection.
        sink: takes market data in the socket callback; None: all messages go to the message handler.
        on_refused: called in the socket callback with (topics, the venue's code and message) of a refusal.
        delivered: (symbol, channel) -> ns of the clock at which the topic was last known to be up to date,
            by a message or otherwise. 0: never; `NOT_EXPECTED`: it may be silent for any time;
            `ALWAYS_EXPECTED`: the venue sends messages of it whatever the market does.

    Attributes:
        ordinal: number of this connection among all of the manager, from 1.
        topics: what it is subscribed to.
        buffer: called with the market data that the sink leaves, instead of delivering it: for a replacement
            that has not taken over yet. None: it is delivered.
        observer: called with every market-data message that was queued for delivery; None: nobody.
        announced_end: seconds until the venue ends this connection, once it has announced that; else None.
        queued: messages of this connection that wait for the message handler or are in it.
        missed: a message was dropped since the last one was queued.
        buffer_incomplete: a message for `buffer` could not be read: after the switch data may be missing.
        events: (symbol, type) -> clock time at which the last such message was handled; None: not recorded.
        detached: it delivers nothing any more.
    """

    def __init__(
        self,
        shared: SharedContext,
        strategies: WebSocketStrategySet,
        desired: Mapping[Topic, None],
        wakeup: Wakeup,
        sink: FrameSink | None,
        on_refused: Callable[[tuple[Topic, ...], str], None],
        delivered: Callable[[str, str], int] = lambda symbol, channel: 0,
    ) -> None:
        self._shared = shared
        self._config = shared.config
        self._clock = shared.clock
        self._wakeup = wakeup
        self._on_refused = on_refused
        self._delivered = delivered
        self._strategy = strategies.connection_strategy
        self._subscription = strategies.subscription_strategy
        self._context = self._strategy.context
        self.parser = strategies.message_parser

        self.ordinal = shared.stats.connecting()
        self.topics = Subscriptions(desired)
        self.buffer: Callable[[ParsedMessage], None] | None = None
        self.observer: Callable[[bytes], None] | None = None
        self.announced_end: float | None = None
        self.events: dict[tuple[str | None, MessageType], float] | None = None
        self.queued = 0
        self.missed = False
        self.buffer_incomplete = False
        self._handled = 0  # market-data messages that went through the message handler
        self.listener = WireListener(
            sink,
            control=self._slow_path,
            on_closed=wakeup.set,
            on_pong=self._on_pong,
            max_pending=0,  # `_slow_path` takes all
            max_message=self._context.max_frame,
            timed=self._config.enable_performance_tracking,
        )
        self._transport: Transport | None = None
        self._window = _message_window(self._strategy.budget)
        self._pongs_counted = 0
        self._reconciling = asyncio.Lock()
        self._fault: WebSocketError | None = None
        self.detached = False

        self._dialogue: Dialogue | None = None
        self._answer = Answer.NOT_MINE
        self._heartbeat_sent: float | None = None  # an application-level ping is out since then
        self._ping_due = self._pong_due = 0.0
        self._established = False
        self._data_seen = 0
        self._data_at = 0.0
        self._unread_at = 0.0

    # -- life -------------------------------------------------------------------------------------------
    async def open(self) -> None:
        """Connect, authenticate if required, and subscribe to all desired topics.

        Raises `WebSocketError`, and whatever a bug in a strategy raises.
        """
        self._transport = await self._strategy.connect(self.listener)
        if self._context.auth_required:
            await self._authenticate()
        await self.reconcile()
        now = self._clock()
        self._data_seen, self._data_at = self.data, now
        self._ping_due = now + self._context.ping_interval
        self._established = True

    async def _authenticate(self) -> None:
        dialogue = self._strategy.authenticate()
        if dialogue is None:
            raise AuthenticationFailed("authentication is required, but the strategy offers none")
        self._dialogue, self._answer = dialogue, Answer.NOT_MINE
        try:
            for frame in dialogue.frames:
                await self.send(frame)
            deadline = self._clock() + self._config.ack_timeout
            while self._answer is Answer.NOT_MINE:
                self.check()
                if self._clock() >= deadline:
                    raise AcknowledgementTimeout(
                        f"no answer to the authentication within {self._config.ack_timeout:g} s"
                    )
                await self._wakeup.wait(deadline - self._clock())
        finally:
            self._dialogue = None
        if self._answer is Answer.REJECTED:
            raise AuthenticationFailed("the venue refused our credentials; check key, secret and permissions")

    async def reconcile(self) -> None:
        """Subscribe and unsubscribe until every desired topic is subscribed or refused, and no other is
        subscribed. Raises `WebSocketError` when the connection fails meanwhile."""
        async with self._reconciling:
            self.topics.forget_undesired()
            while not self.topics.settled:
                for request in self.topics.plan(self._subscription):
                    await self.send(request.message.payload, request)
                deadline = self._clock() + self._config.ack_timeout
                while self.topics.pending:
                    self.check()
                    left = deadline - self._clock()
                    if left <= 0:
                        raise AcknowledgementTimeout(
                            f"a subscription was not acknowledged within {self._config.ack_timeout:g} s"
                        )
                    await self._wakeup.wait(left)

    def fail(self, error: WebSocketError) -> None:
        """Mark this connection as failed for a reason found elsewhere; the first reason stays."""
        if self._fault is None:
            self._fault = error
        self._wakeup.set()

    def detach(self) -> None:
        """Stop delivering at once, and add its counters to the manager's. The socket is left to `close`."""
        if not self.detached:
            self.detached = True
            self.listener.detach()
            self._shared.stats.absorb(self.listener)
            self.fail(Disconnected(1006, "given up"))

    async def close(self) -> None:
        """Close the connection with a CLOSE frame; abort the socket when that takes `close_timeout`."""
        self.detach()
        transport, self._transport = self._transport, None
        if transport is None:
            return
        if not self.listener.is_closed:
            with suppress(Exception):
                transport.send_close(WSCloseCode.OK)
            transport.disconnect()
        closed = asyncio.ensure_future(transport.wait_disconnected())
        try:
            if not await self._wakeup.done_within(self._config.close_timeout, closed):
                transport.disconnect(False)
                await self._wakeup.done_within(self._config.close_timeout, closed)
        except asyncio.CancelledError:
            transport.disconnect(False)
            raise
        finally:
            if not closed.done():
                closed.cancel()
            elif not closed.cancelled():
                closed.exception()  # picows keeps its own reason there; ours is in the close code

    # -- watching ---------------------------------------------------------------------------------------
    def check(self) -> None:
        """Raise the error with which this connection has failed, if it has."""
        if (fault := self.fault()) is not None:
            raise fault

    def fault(self) -> WebSocketError | None:
        """The error with which this connection has failed, once and for all; None: it is in order."""
        if self._fault is None:
            self._fault = self._find_fault()
        return self._fault

    def _find_fault(self) -> WebSocketError | None:
        if self.listener.is_closed:
            return Disconnected(self.listener.close_code, self.listener.close_reason)
        if not self._established:
            return None
        now = self._clock()
        if (count := self.data) != self._data_seen or not self.topics.active:
            self._data_seen, self._data_at = count, now
        limit = self._config.message_timeout if self._data_seen else self._config.first_event_after
        if (
            now - self._data_at >= limit
            and self._data_expected(now - self._config.message_timeout)
            and not self._unread_since(now)
        ):
            missing = "no data" if self._data_seen else "subscribed, but not one data message"
            return Silent(f"{missing} for {limit:g} s on the whole connection")
        if self.awaiting_pong and now >= self._pong_due and not self._unread_since(now):
            return PingTimeout(f"no answer to our ping within {self._context.ping_timeout:g} s")
        return None

    def _unread_since(self, now: float) -> bool:
        """Whether the missing answer or data may lie unread in the socket: after the process was suspended,
        timers fire before sockets are read. True for at most `ping_timeout` seconds in a row."""
        if not self.unread:
            self._unread_at = 0.0
            return False
        self._unread_at = self._unread_at or now
        return now - self._unread_at < self._context.ping_timeout

    def _data_expected(self, since: float) -> bool:
        """Whether the silence of all topics since then means that the connection has stopped delivering.

        It does when one topic sends messages whatever the market does, or when nothing, neither a message nor
        a REST snapshot that agrees with a quiet book, has shown any topic to be up to date since then. Where
        REST has shown that one market stands still, silence says nothing: missed changes of other markets are
        found by REST, a dead peer by pings.
        """
        oldest = since * 1e9
        proofs = {self._delivered(*topic) for topic in self.topics.active} - {NOT_EXPECTED}
        return ALWAYS_EXPECTED in proofs or (bool(proofs) and max(proofs) <= oldest)

    @property
    def data(self) -> int:
        """Number of valid market-data messages: taken by the sink, or handled without an error."""
        return self.listener.consumed + self._handled

    @property
    def budget_nearly_spent(self) -> bool:
        """Whether hardly any message may be sent before the venue's long window ends (see `LONG_WINDOW`)."""
        window = self._window
        return window.per >= LONG_WINDOW and window.left(self._clock()) <= RENEWAL_RESERVE * window.limit

    @property
    def max_age(self) -> float:
        return self._context.max_age

    @property
    def shortest_timeout(self) -> float:
        """Seconds; the shard must look at this connection several times within it."""
        return min(self._context.ping_interval, self._context.ping_timeout)

    @property
    def unread(self) -> int:
        """Bytes that wait in the socket's receive buffer."""
        wire = getattr(self._transport, "underlying_transport", None)
        sock = wire.get_extra_info("socket") if wire is not None else None
        if sock is None or sock.fileno() < 0:
            return 0
        return int.from_bytes(fcntl.ioctl(sock.fileno(), termios.FIONREAD, bytes(4)), sys.byteorder)

    # -- pings ------------------------------------------------------------------------------------------
    @property
    def awaiting_pong(self) -> bool:
        return self.listener.awaiting_pong or self._heartbeat_sent is not None

    def ping_if_due(self) -> None:
        """Send a ping if one is due and the message limit allows it."""
        if self._clock() >= self._ping_due and not self.awaiting_pong and self._may_send():
            self._ping()

    async def round_trip(self) -> None:
        """Send a ping and wait for its answer: what the venue had sent before has then arrived.

        Raises `WebSocketError`.
        """
        while self.awaiting_pong or not self._may_send():  # the answer to an earlier ping would be too early
            await self._wait()
        self._ping()
        while self.awaiting_pong:
            await self._wait()
        self.check()

    async def slow_path_idle(self) -> None:
        """Wait until all messages queued for the message handler are handled. Raises `WebSocketError`."""
        while self.queued:
            await self._wait()

    async def _wait(self) -> None:
        self.check()
        await self._wakeup.wait(max(0.01, self._window.delay(self._clock())))

    def _ping(self) -> None:
        assert self._transport is not None
        now = self._clock()
        self._window.take(now)
        self._shared.stats.pings_sent += 1
        self._ping_due, self._pong_due = now + self._context.ping_interval, now + self._context.ping_timeout
        dialogue = self._strategy.handle_heartbeat()
        if dialogue is None:
            self.listener.ping(self._transport)
            return
        self._dialogue, self._heartbeat_sent = dialogue, now
        for frame in dialogue.frames:
            self._transport.send(WSMsgType.TEXT, frame)

    def _on_pong(self, rtt_ns: int) -> None:
        self._shared.stats.last_ping_rtt_ns = rtt_ns
        if self._shared.on_rtt is not None:
            self._shared.on_rtt(rtt_ns)
        self._wakeup.set()

    # -- sending ----------------------------------------------------------------------------------------
    async def send(self, data: bytes, request: PendingRequest | None = None) -> None:
        """Send as soon as the message limit allows; raises `WebSocketError` when the connection fails."""
        while True:
            self.check()
            if self._may_send():
                break
            await self._wakeup.wait(max(0.001, self._window.delay(self._clock())))
        now = self._clock()
        self._window.take(now)
        if request is not None:
            self.topics.sent(request, now)  # before sending it: the answer may come at once
        assert self._transport is not None
        self._transport.send(WSMsgType.TEXT, data)

    def _may_send(self) -> bool:
        now = self._clock()
        while self._pongs_counted < self.listener.pings:  # our pongs count as messages too
            self._pongs_counted += 1
            self._window.take(now)
        return self._window.delay(now) == 0.0

    # -- slow path: messages that the sink does not take ------------------------------------------------
    def _slow_path(self, data: bytes, received: int) -> bool:
        """In the socket callback: an answer that is waited for, or a message for the message handler."""
        if not self._is_answer(data):
            if self.buffer is None:
                self.deliver(data, received)
            else:
                self._buffer_message(self.buffer, data, received)
        return True

    def _is_answer(self, data: bytes) -> bool:
        try:
            return self._answers_dialogue(data) or self._acknowledges(data)
        except (Exception, asyncio.CancelledError):  # a bug in a matcher must not lose the message
            self._shared.stats.callback_errors += 1
            return False

    def deliver(self, data: bytes, received: int, *, buffered: bool = False) -> None:
        """Queue a message for `message_handler`."""
        queued = self._shared.dispatcher.put(self, data, received, buffered=buffered)
        if queued and self.observer is not None:
            with suppress(Exception):  # what cannot be classified fails in the parser, and is counted there
                if self.parser.classify(data) in DATA_TYPES:
                    self.observer(data)

    def _buffer_message(self, buffer: Callable[[ParsedMessage], None], data: bytes, received: int) -> None:
        try:
            message = self.parser.parse(data, received)
        except (Exception, asyncio.CancelledError):
            self._shared.stats.parse_errors += 1
            self.buffer_incomplete = self.buffer_incomplete or maybe_data(self.parser, data)
            return
        if message.message_type is MessageType.ERROR:
            self.buffer_incomplete = True
        if message.message_type in DATA_TYPES:
            buffer(message)
        else:
            self.deliver(data, received)

    def _answers_dialogue(self, data: bytes) -> bool:
        dialogue = self._dialogue
        if dialogue is None:
            return False
        answer = dialogue.matcher(data)
        if answer is Answer.NOT_MINE:
            return False
        self._answer, self._dialogue = answer, None
        if self._heartbeat_sent is not None:
            sent, self._heartbeat_sent = self._heartbeat_sent, None
            self._on_pong(int((self._clock() - sent) * 1e9))
        self._wakeup.set()
        return True

    def _acknowledges(self, data: bytes) -> bool:
        if not self.topics.pending:
            return False
        ack = self._subscription.match_acknowledgement(data)
        refused = self.topics.acknowledge(ack) if ack is not None else None
        if ack is None or refused is None:
            return False
        if ack.ok:
            self._shared.stats.acks += 1
        else:
            self._shared.stats.rejects += 1
        if refused:
            self._on_refused(refused, f"{ack.code} {ack.message}".rstrip())
        self._wakeup.set()
        return True

    # -- for the dispatcher -----------------------------------------------------------------------------
    def affected_topics(
        self, symbol: str | None = None, kind: MessageType | None = None
    ) -> tuple[Topic, ...]:
        return tuple(
            topic
            for topic in self.topics.desired
            if (symbol is None or topic[0] == symbol)
            and (kind is None or MESSAGE_TYPES.get(topic[1], kind) is kind)
        )

    def on_data(self, message: ParsedMessage) -> None:
        self._handled += 1
        if self.events is not None:
            self.events[message.symbol, message.message_type] = self._clock()

    def on_control(self, data: bytes) -> None:
        if (seconds := self._strategy.announced_end(data)) is not None:
            self.announced_end = seconds
            self._wakeup.set()

    def __repr__(self) -> str:
        return f"Connection({self.ordinal}, {self.topics!r}, data={self.data}, fault={self._fault})"


def _message_window(budget: MessageBudget) -> SlidingWindow:
    """The window in which our own messages are counted. One message less than the venue allows, for a pong,
    which cannot wait; and a quarter longer, as messages may arrive closer together than they were sent."""
    return SlidingWindow(max(1, budget.messages - 1), 1.25 * budget.per)
