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
from workers.websocket.first_events import OWED, OWES_NONE, TYPES
from workers.websocket.stats import ConnectionStats
from workers.websocket.subscriptions import Question, Subscriptions, Topic
from workers.websocket.wakeup import Wakeup
from workers.websocket.wire import WireListener

# A message budget of so many seconds is no pace: who has spent it can neither subscribe nor ping for as long.
LONG = 60.0
# Of such a budget, the share that is kept for the replacement by a connection with a fresh one.
RESERVE = 0.05


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
    """See the module's words.

    Args:
        shared: of the manager.
        strategies: the venue; this connection keeps them to its end.
        desired: the wish, shared.
        wakeup: set whenever something has changed.
        sink: takes market data in the socket callback.
        on_refused: gets (topics, the venue's words) of what was refused, in the socket callback.
        delivered: (symbol, channel) -> ns of the clock of the last proof of delivery, however it came,
            0: none, `OWES_NONE`: this topic may be quiet for as long as it likes, `OWED`: it never is.

    Attributes:
        ordinal: of the manager's connections, from 1.
        topics: what this connection carries.
        held: takes the cold market data of a connection that must not deliver yet; None: it delivers.
        tap: is shown every market-data message that was queued for delivery.
        ending: seconds that the venue gives this connection, once it has announced its end.
        missed: something of it was dropped since its last message was queued.
        missed_held: something that was to be held back is lost: what takes over from the old one has a hole.
        events: (symbol, type) -> when the last such message was handled, if somebody keeps that record.
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
        self.held: Callable[[ParsedMessage], None] | None = None
        self.tap: Callable[[bytes], None] | None = None
        self.ending: float | None = None
        self.events: dict[tuple[str | None, MessageType], float] | None = None
        self.queued = 0
        self.missed = False
        self.missed_held = False
        self._handled = 0  # data messages of the cold path
        self.listener = WireListener(
            sink,
            control=self._cold,
            on_closed=wakeup.set,
            on_pong=self._ponged,
            max_pending=0,  # `_cold` takes all
            max_message=self._context.max_frame,
            timed=self._config.enable_performance_tracking,
        )
        self._transport: Transport | None = None
        self._window = _pace(self._strategy.budget)
        self._pongs_booked = 0
        self._reconciling = asyncio.Lock()
        self._fault: WebSocketError | None = None
        self.parted = False

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
        """Dial, authenticate if required, subscribe to the whole wish.

        Raises `WebSocketError`, and whatever a strategy's bug raises.
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
        """Until everything wished is subscribed or refused, and nothing else is. Raises `WebSocketError`."""
        async with self._reconciling:
            self.topics.forget_unwished()
            while not self.topics.settled:
                for question in self.topics.plan(self._subscription):
                    await self.send(question[1].payload, question)
                deadline = self._clock() + self._config.ack_timeout
                while self.topics.waiting:
                    self.check()
                    left = deadline - self._clock()
                    if left <= 0:
                        raise AcknowledgementTimeout(
                            f"a subscription was not acknowledged within {self._config.ack_timeout:g} s"
                        )
                    await self._wakeup.wait(left)

    def give_up(self, error: WebSocketError) -> None:
        """This connection is of no use any more, for a reason of somebody else's."""
        if self._fault is None:
            self._fault = error
        self._wakeup.set()

    def part(self) -> None:
        """Take no frame any more; its counts are final. The socket is `hang_up`'s."""
        if not self.parted:
            self.parted = True
            self.listener.detach()
            self._shared.stats.absorb(self.listener)
            self.give_up(Disconnected(1006, "given up"))

    async def hang_up(self) -> None:
        """End the connection: politely, then by force, each within `close_timeout`."""
        self.part()
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
        """Raises the fault, if there is one."""
        if (fault := self.fault()) is not None:
            raise fault

    def fault(self) -> WebSocketError | None:
        """Why this connection is of no use any more, once and for all; None: it is."""
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
            and self._owes(now - self._config.message_timeout)
            and not self._unread_since(now)
        ):
            missing = "no data" if self._data_seen else "subscribed, but not one data message"
            return Silent(f"{missing} for {limit:g} s on the whole connection")
        if self.awaiting_pong and now >= self._pong_due and not self._unread_since(now):
            return PingTimeout(f"no answer to our ping within {self._context.ping_timeout:g} s")
        return None

    def _unread_since(self, now: float) -> bool:
        """Whether what is missed may have arrived and was not read yet: after the process stood still, timers
        are due before sockets are read. For at most `ping_timeout`."""
        if not self.unread:
            self._unread_at = 0.0
            return False
        self._unread_at = self._unread_at or now
        return now - self._unread_at < self._context.ping_timeout

    def _owes(self, since: float) -> bool:
        """Whether the topics that may owe data have shown no life since then, elsewhere either (a REST
        snapshot agrees with a quiet book), or one owes data whatever the market does. Where one market is
        known to stand still, silence is no sign in itself: REST says of each what it missed, pings tell of
        the peer."""
        oldest = since * 1e9
        proofs = {self._delivered(*topic) for topic in self.topics.active} - {OWES_NONE}
        return OWED in proofs or (bool(proofs) and max(proofs) <= oldest)

    @property
    def data(self) -> int:
        """Valid data messages of this connection: taken by the sink, or handled without an error."""
        return self.listener.consumed + self._handled

    @property
    def spent(self) -> bool:
        """Whether the venue takes hardly any message of this connection any more, for longer than can be
        waited for; another connection has a budget of its own."""
        window = self._window
        return window.per >= LONG and window.left(self._clock()) <= RESERVE * window.limit

    @property
    def max_age(self) -> float:
        return self._context.max_age

    @property
    def shortest(self) -> float:
        """Seconds of the shortest of this connection's own bounds."""
        return min(self._context.ping_interval, self._context.ping_timeout)

    @property
    def unread(self) -> int:
        """Bytes that have arrived and were not read yet."""
        wire = getattr(self._transport, "underlying_transport", None)
        sock = wire.get_extra_info("socket") if wire is not None else None
        if sock is None or sock.fileno() < 0:
            return 0
        return int.from_bytes(fcntl.ioctl(sock.fileno(), termios.FIONREAD, bytes(4)), sys.byteorder)

    # -- pings ------------------------------------------------------------------------------------------
    @property
    def awaiting_pong(self) -> bool:
        return self.listener.awaiting_pong or self._heartbeat_sent is not None

    def tend(self) -> None:
        """Ping when it is due."""
        if self._clock() >= self._ping_due and not self.awaiting_pong and self._may_send():
            self._ping()

    async def round_trip(self) -> None:
        """A ping sent from now on has been answered: whatever the peer had sent before has arrived.

        Raises `WebSocketError`.
        """
        while self.awaiting_pong or not self._may_send():  # one may be out already, which proves nothing
            await self._next_news()
        self._ping()
        while self.awaiting_pong:
            await self._next_news()
        self.check()

    async def handled(self) -> None:
        """What the cold path has queued by now has been handled. Raises `WebSocketError`."""
        while self.queued:
            await self._next_news()

    async def _next_news(self) -> None:
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

    def _ponged(self, rtt_ns: int) -> None:
        self._shared.stats.last_ping_rtt_ns = rtt_ns
        if self._shared.on_rtt is not None:
            self._shared.on_rtt(rtt_ns)
        self._wakeup.set()

    # -- sending ----------------------------------------------------------------------------------------
    async def send(self, data: bytes, question: Question | None = None) -> None:
        """Send when the message budget allows; raises `WebSocketError` when the connection has a fault."""
        while True:
            self.check()
            if self._may_send():
                break
            await self._wakeup.wait(max(0.001, self._window.delay(self._clock())))
        now = self._clock()
        self._window.take(now)
        if question is not None:
            self.topics.sent(question, now)  # before the sending: the answer must find it
        assert self._transport is not None
        self._transport.send(WSMsgType.TEXT, data)

    def _may_send(self) -> bool:
        now = self._clock()
        while self._pongs_booked < self.listener.pings:  # our pongs count as messages too
            self._pongs_booked += 1
            self._window.take(now)
        return self._window.delay(now) == 0.0

    # -- receiving what the sink leaves -----------------------------------------------------------------
    def _cold(self, data: bytes, received: int) -> bool:
        """In the socket callback: an answer that somebody waits for, or a message for the handler."""
        if not self._taken(data):
            if self.held is None:
                self.deliver(data, received)
            else:
                self._hold(self.held, data, received)
        return True

    def _taken(self, data: bytes) -> bool:
        try:
            return self._answers(data) or self._acknowledges(data)
        except (Exception, asyncio.CancelledError):  # a matcher's bug costs no data
            self._shared.stats.callback_errors += 1
            return False

    def deliver(self, data: bytes, received: int, *, held: bool = False) -> None:
        """Queue a message for `message_handler`."""
        queued = self._shared.dispatcher.put(self, data, received, held=held)
        if queued and self.tap is not None:
            with suppress(Exception):  # what it cannot classify it cannot parse either: told there
                if self.parser.classify(data) in DATA_TYPES:
                    self.tap(data)

    def _hold(self, held: Callable[[ParsedMessage], None], data: bytes, received: int) -> None:
        try:
            message = self.parser.parse(data, received)
        except (Exception, asyncio.CancelledError):
            self._shared.stats.parse_errors += 1
            self.missed_held = self.missed_held or maybe_data(self.parser, data)
            return
        if message.message_type is MessageType.ERROR:
            self.missed_held = True
        if message.message_type in DATA_TYPES:
            held(message)
        else:
            self.deliver(data, received)

    def _answers(self, data: bytes) -> bool:
        dialogue = self._dialogue
        if dialogue is None:
            return False
        answer = dialogue.matcher(data)
        if answer is Answer.NOT_MINE:
            return False
        self._answer, self._dialogue = answer, None
        if self._heartbeat_sent is not None:
            sent, self._heartbeat_sent = self._heartbeat_sent, None
            self._ponged(int((self._clock() - sent) * 1e9))
        self._wakeup.set()
        return True

    def _acknowledges(self, data: bytes) -> bool:
        if not self.topics.waiting:
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
    def carries(self, symbol: str | None = None, kind: MessageType | None = None) -> tuple[Topic, ...]:
        return tuple(
            topic
            for topic in self.topics.desired
            if (symbol is None or topic[0] == symbol) and (kind is None or TYPES.get(topic[1], kind) is kind)
        )

    def proved(self, message: ParsedMessage) -> None:
        self._handled += 1
        if self.events is not None:
            self.events[message.symbol, message.message_type] = self._clock()

    def remarked(self, data: bytes) -> None:
        if (seconds := self._strategy.announced_end(data)) is not None:
            self.ending = seconds
            self._wakeup.set()

    def __repr__(self) -> str:
        return f"Connection({self.ordinal}, {self.topics!r}, data={self.data}, fault={self._fault})"


def _pace(budget: MessageBudget) -> SlidingWindow:
    """Our pace within a venue's limit. One message stays free for the pong that cannot wait, and the window
    is a quarter wider: what leaves here evenly may arrive there closer together."""
    return SlidingWindow(max(1, budget.messages - 1), 1.25 * budget.per)
