"""One reconnect loop: a set of desired topics, and the connection that is subscribed to them.

A lost connection is made again after a pause (`backoff`). Where its end is known before, it is replaced
without a gap (`renewal`). There is one connection at a time, and a second one during a replacement; one that
has been given up delivers nothing any more, and is closed in the background.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from workers.contract.errors import ErrorClass, HandshakeRefused, NotConnected, WebSocketError
from workers.contract.protocols import (
    ConnectionEvent,
    ConnectionState,
    PublicWebsocketChannelType,
    ReconnectionPolicy,
    WebSocketStrategySet,
)
from workers.decode.sink import FrameSink
from workers.websocket.backoff import Backoff
from workers.websocket.buffered_handover import Handover
from workers.websocket.cancel import meant_for_us
from workers.websocket.connection import Connection, SharedContext
from workers.websocket.first_events import MESSAGE_TYPES, NOT_EXPECTED, FirstEvents
from workers.websocket.refusals import Refusals
from workers.websocket.renewal import Renewal
from workers.websocket.subscriptions import Topic
from workers.websocket.wakeup import Wakeup

TRADE_CHANNELS = (PublicWebsocketChannelType.EXECUTION, PublicWebsocketChannelType.AGG_EXECUTION)
AGE_SPREAD = 0.1  # share of `max_age` that is varied, so that connections are not all replaced at once


class Planned(WebSocketError):
    """We have closed the connection ourselves in order to replace it; the next attempt follows at once."""

    kind = ErrorClass.ABNORMAL


class Shard:
    """Keeps the topics of one shard subscribed, from `start` to `close`.

    Args:
        number: of the shard, from 0.
        shared: what all connections of the manager share.
        strategies: returns the strategies for the next connection.
        desired: the topics to subscribe to; the manager changes the mapping, then calls `reconcile`.
        sink: takes market data in the socket callback; None: everything goes to the message handler.
        handover: topics -> what makes a replacement with a sink gapless; None: with a sink, a planned
            replacement is a plain reconnect.
        delivered: see `FirstEvents`; None: without a sink, an own record of the messages handled.
        proven: see `WebSocketManager`.

    Attributes:
        connection: the present one; None between two attempts.
        connected: done when the first connection was made; fails when the shard has given up its normal pace
            of attempts before.
        tried: done when the first attempt is over, however it ended.
    """

    def __init__(
        self,
        number: int,
        shared: SharedContext,
        strategies: Callable[[], WebSocketStrategySet],
        desired: dict[Topic, None],
        *,
        sink: FrameSink | None = None,
        handover: Callable[[Sequence[Topic]], Handover] | None = None,
        delivered: Callable[[str, str], int] | None = None,
        proven: Callable[[str, str], int] | None = None,
    ) -> None:
        self.number = number
        self.desired = desired
        self.state = ConnectionState.DISCONNECTED
        self.connection: Connection | None = None
        self._shared = shared
        self._config = shared.config
        self._clock = shared.clock
        self._strategies = strategies
        self._sink = sink
        self._handover = handover
        self._gapless = sink is None or handover is not None
        self._wakeup = Wakeup(shared.sleep)
        self._backoff = Backoff(self._policy(), shared.chance)
        self._renewal_backoff = Backoff(self._policy(), shared.chance)

        self._records_events = sink is None and delivered is None
        self._first_events = FirstEvents(self._config.first_event_after, delivered or self._last_handled)
        self._last_sign_of_life = proven or delivered or _expected_by_channel
        self._refusals = Refusals()
        self._connected_before = False
        self._ordinal = 0
        self._renew_at = 0.0
        self._renewal_reason = ""  # why the connection is to be replaced; "": it is not
        self._renewal: Renewal | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._renewal_after = 0.0
        self._took_over_at = 0.0  # clock time at which the present connection was ready
        self._renewal_spaced = False  # was replaced, and the new one has not lasted `overlap` yet

        loop = asyncio.get_running_loop()
        self.connected: asyncio.Future[None] = loop.create_future()
        self.tried: asyncio.Future[None] = loop.create_future()
        for future in (self.connected, self.tried):
            future.add_done_callback(_retrieve)
        self._run_task: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # -- for the manager ----------------------------------------------------------------------------------
    def start(self) -> None:
        self._report(ConnectionState.CONNECTING, "connecting")
        self._run_task = asyncio.create_task(self._run())

    def is_connected(self) -> bool:
        """Connected and subscribed, and the socket is there."""
        return (
            self.state is ConnectionState.CONNECTED
            and self.connection is not None
            and not self.connection.listener.is_closed
        )

    @property
    def connections(self) -> list[Connection]:
        """The connection, and during a replacement the new one."""
        new = self._renewal.new if self._renewal is not None else None
        return [connection for connection in (self.connection, new) if connection is not None]

    async def reconcile(self) -> None:
        """The desired topics have changed: subscribe and unsubscribe on all present connections. If that
        fails, the connection is lost and the next one subscribes to them."""
        self._first_events.forget_undesired(self.desired)
        self._refusals.forget_undesired(self.desired)
        if self.is_connected():
            await asyncio.gather(*(self._reconcile_shielded(connection) for connection in self.connections))

    async def resubscribe(self, topics: Iterable[Topic], *, planned: bool = False) -> None:
        """Unsubscribe and subscribe again. Unless it is `planned`, it is counted, and the topics are reported
        to `on_missed`: nothing comes in between."""
        if self.is_connected() and self.connection is not None:
            topics = tuple(topics)
            if not planned:
                self._shared.stats.resubscribes += 1
                missed = [topic for topic in topics if topic in self.connection.topics.active]
                self._shared.dispatcher.missed(missed)
            self.connection.topics.request_again(topics)
            await self._reconcile_shielded(self.connection)

    def refresh(self, topics: Iterable[Topic]) -> None:
        """A caller has found that these topics do not deliver: subscribe again, or if that has not helped
        before, replace the connection; with growing pauses, as callers may repeat themselves."""
        now = self._clock()
        may_retry = {
            symbol: self._first_events.may_retry(symbol, now) for symbol in {topic[0] for topic in topics}
        }
        self._retry([topic for topic in topics if may_retry[topic[0]]])

    def _retry(self, topics: Iterable[Topic]) -> None:
        by_symbol: dict[str, list[Topic]] = {}
        for topic in topics:
            by_symbol.setdefault(topic[0], []).append(topic)
        again: list[Topic] = []
        for symbol, mine in by_symbol.items():
            if self._first_events.retry_replaces_connection(symbol):
                self.renew(f"{symbol} stays silent after a new subscription")
            else:
                again += mine
        if again:
            self._spawn(self.resubscribe(again))

    def renew(self, reason: str) -> None:
        """Have the connection replaced without a gap."""
        if self.is_connected() and not self._renewal_reason:
            self._renewal_reason = reason
            self._renewal_after = 0.0
            self._wakeup.set()

    async def answered(self) -> tuple[Topic, ...]:
        """Ping, and wait until the answer is here and all messages before it are handled.

        Returns:
            The subscribed topics: nothing that the venue had sent of them before is missing. Empty: the
            connection is lost, or there is none.
        """
        while self.is_connected() and (connection := self.connection) is not None:
            try:
                await connection.round_trip()
                await connection.slow_path_idle()
            except WebSocketError:
                if self.connection is connection:
                    return ()
                continue  # it was replaced without a gap: ask the new one
            if self.connection is connection:
                return tuple(connection.topics.active)
        return ()

    def reconnect(self, error: WebSocketError) -> None:
        """Give up the present connection; the loop makes another one with the usual backoff."""
        for connection in self.connections:
            connection.fail(error)

    async def close(self) -> None:
        """Close the connections and end all tasks."""
        if self.state in (ConnectionState.CLOSING, ConnectionState.CLOSED):
            return
        self._report(ConnectionState.CLOSING, "closing")
        connections = self.connections
        for connection in connections:
            connection.detach()
        tasks = [task for task in (self._run_task, self._renewing) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in connections:
            self._spawn(connection.close())
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        for future in (self.connected, self.tried):
            if not future.done():
                future.set_exception(NotConnected("the manager was closed before it had connected"))
        self._report(ConnectionState.CLOSED, "closed")

    # -- the one loop -----------------------------------------------------------------------------------
    async def _run(self) -> None:
        while True:
            error = await self._attempt()
            delay = self._after_loss(error)
            if not self.tried.done():
                self.tried.set_result(None)
            if delay > 0:
                await self._shared.sleep(delay)

    async def _attempt(self) -> WebSocketError:
        """One connection, and those that replace it without a gap, until it is lost; returns why."""
        try:
            await self._wait_for_permit()
            self._refusals.clear()
            self.connection = self._dial(self._sink)
            self._ordinal = self.connection.ordinal
            await self.connection.open()
            self._connected(self.connection)
            return await self._supervise()
        except WebSocketError as error:
            return error
        except (Exception, asyncio.CancelledError) as error:
            if meant_for_us(error):
                raise
            return _wrapped(error)  # a bug in a strategy or library must not end the loop

    async def _wait_for_permit(self) -> None:
        """Wait until the venue's limit of connection attempts, or its ban (429, 418), allows one more."""
        connects = self._shared.connects
        while True:
            if wait := connects.reserve(self._clock()):
                await self._shared.sleep(wait)
            if not connects.held(self._clock()):
                return

    def _dial(self, sink: FrameSink | None) -> Connection:
        connection = Connection(
            self._shared,
            self._strategies(),
            self.desired,
            self._wakeup,
            sink,
            lambda topics, answer: self._refused(connection, topics, answer),
            self._last_sign_of_life,
        )
        if self._records_events:
            connection.events = {}
        return connection

    async def _supervise(self) -> WebSocketError:
        """Check the connection regularly until it fails, and start planned replacements; returns why."""
        shortest = min(self._config.message_timeout, self._config.first_event_after)
        while True:
            connection = self.connection
            assert connection is not None
            if connection.data:
                self._backoff.on_data()
                if (
                    self._renewal_spaced
                    and connection.announced_end is None
                    and self._clock() - self._took_over_at >= self._config.overlap
                ):
                    self._renewal_spaced = False
                    self._renewal_backoff.on_data()
            if connection.fault() is None:
                connection.ping_if_due()
                self._ask_refused_again(connection)
                self._check_first_events(connection)
                self._renew_if_due(connection)
            fault = connection.fault()
            if fault is not None and (self._renewal is None or not self._renewal.may_take_over()):
                return fault
            await self._wakeup.wait(min(1.0, max(0.005, min(shortest, connection.shortest_timeout) / 5)))

    def _connected(self, connection: Connection) -> None:
        """The connection is subscribed, and there was none before it."""
        if self._connected_before:
            self._shared.stats.reconnections += 1
        self._connected_before = True
        self._take_over(connection)
        self._renewal_reason = ""
        self._report(ConnectionState.CONNECTED, "connected and subscribed")
        for future in (self.connected, self.tried):
            if not future.done():
                future.set_result(None)

    def _take_over(self, connection: Connection) -> None:
        self.connection, self._ordinal = connection, connection.ordinal
        self._first_events.reset()
        self._took_over_at = self._clock()
        age = connection.max_age * (1.0 - AGE_SPREAD * self._shared.chance())
        self._renew_at = self._clock() + age if age > 0 else float("inf")

    def _after_loss(self, error: WebSocketError) -> float:
        """Clean up after a connection that is lost, or could not be made; report it, and return the seconds
        until the next attempt."""
        for connection in self.connections:
            if connection is self.connection and connection.data:
                self._backoff.on_data()
            self._detach(connection)
        if self._renewing is not None:
            self._renewing.cancel()
        self.connection = self._renewal = self._renewing = None
        self._shared.stats.error_count += 1
        gave_up_before = self._backoff.exhausted
        delay = self._delay(self._backoff, error)
        if self._backoff.exhausted:
            failures = self._backoff.failures
            self._report(
                ConnectionState.ERROR,
                f"{error}; {failures} failures in a row, next attempt in {delay:.1f} s",
                error,
                alert=not gave_up_before,
            )
            if not self.connected.done():
                self.connected.set_exception(error)
        else:
            self._report(ConnectionState.RECONNECTING, f"{error}; next attempt in {delay:.2f} s", error)
        return delay

    # -- planned replacements ---------------------------------------------------------------------------
    def _renew_if_due(self, connection: Connection) -> None:
        """Start a planned replacement when there is a reason for one."""
        if self._renewal is not None:
            return
        if not self._renewal_reason and connection.announced_end is not None:
            self._renewal_reason = "the venue has announced the end of this connection"
        elif not self._renewal_reason and self._clock() >= self._renew_at:
            self._renewal_reason = "this connection has reached its age"
        elif not self._renewal_reason and connection.budget_nearly_spent:
            self._renewal_reason = "this connection has sent nearly all the messages that the venue takes"
        if not self._renewal_reason or self._clock() < self._renewal_after:
            return
        if not self._gapless:
            self._space_renewals()
            connection.fail(Planned(self._renewal_reason))
            return
        self._renewal = Renewal(self._shared, self._wakeup, connection, self._dial, self._handover)
        self._renewing = self._spawn(self._replace(self._renewal, self._renewal_reason))

    async def _replace(self, renewal: Renewal, reason: str) -> None:
        try:
            connection = await renewal.run()
        except (Exception, asyncio.CancelledError) as error:
            if meant_for_us(error):
                raise
            self._not_replaced(renewal, error if isinstance(error, WebSocketError) else _wrapped(error))
        else:
            old, self._renewal, self._renewing, self._renewal_reason = self.connection, None, None, ""
            self._space_renewals()
            self._shared.stats.renewals += 1
            self._take_over(connection)
            if old is not None:
                self._detach(old)
            self._report(ConnectionState.CONNECTED, f"replaced without a gap: {reason}")
            if connection.buffer_incomplete:
                self._shared.dispatcher.missed(connection.affected_topics())
        self._wakeup.set()

    def _space_renewals(self) -> None:
        """Put a growing pause before the next planned replacement, because each new connection may announce
        its end at once. A connection that lasts for `overlap` seconds without doing so ends that."""
        self._renewal_spaced = True
        self._renewal_after = self._clock() + self._renewal_backoff.failed(WebSocketError.kind)

    def _not_replaced(self, renewal: Renewal, error: WebSocketError) -> None:
        """A planned replacement has failed: the old connection goes on, and it is tried again later."""
        self._renewal = self._renewing = None
        if renewal.new is not None:
            self._detach(renewal.new)
        self._shared.stats.renewals_failed += 1
        delay = self._delay(self._renewal_backoff, error)
        self._renewal_after = self._clock() + delay
        self._report(self.state, f"not replaced: {error}; next attempt in {delay:.1f} s", error)

    # -- refusals and first events ----------------------------------------------------------------------
    def _ask_refused_again(self, connection: Connection) -> None:
        if taken := self._refusals.accepted(connection.topics.active):
            self._report(self.state, f"the venue has taken {_listed(taken)} after all", accepted=taken)
        if due := self._refusals.due(connection.topics.rejected, self._clock()):
            connection.topics.request_again(due)
            self._spawn(self._reconcile(connection))

    def _refused(self, connection: Connection, topics: tuple[Topic, ...], answer: str) -> None:
        if connection is not self.connection:
            return  # of a replacement: `Renewal` handles it
        if fresh := self._refusals.refused(topics, self._clock()):
            self._report(self.state, f"the venue refused {_listed(fresh)}: {answer}", rejected=fresh)

    def _check_first_events(self, connection: Connection) -> None:
        now = self._clock()
        self._first_events.follow(connection.topics.active, connection.topics.requested_at, self.desired, now)
        late = self._first_events.overdue(now)
        if not late:
            return
        self._shared.stats.first_event_misses += len(late)
        if fresh := self._first_events.newly_overdue(late):
            self._report(self.state, f"no first event in time: {_listed(fresh)}", overdue=tuple(fresh))
        self._retry(late)

    def _last_handled(self, symbol: str, channel: str) -> int:
        """ns of the clock at which the message handler last got a message of the topic, as `delivered`."""
        kind = MESSAGE_TYPES.get(channel)
        if (
            not self._records_events
            or kind is None
            or self.connection is None
            or self.connection.events is None
        ):
            return NOT_EXPECTED
        return int(self.connection.events.get((symbol, kind), 0.0) * 1e9)

    # -- helpers ----------------------------------------------------------------------------------------
    async def _reconcile(self, connection: Connection) -> None:
        try:
            await connection.reconcile()
        except WebSocketError as error:
            connection.fail(error)

    async def _reconcile_shielded(self, connection: Connection) -> None:
        """As `_reconcile`; it is completed even if the caller is cancelled."""
        await asyncio.shield(self._spawn(self._reconcile(connection)))

    def _detach(self, connection: Connection) -> None:
        connection.detach()
        self._spawn(connection.close())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        _retrieve(task)

    def _delay(self, backoff: Backoff, error: WebSocketError) -> float:
        """Seconds until the next attempt, by the present policy of the strategies."""
        try:
            backoff.policy = self._policy()
            hopeless = not self._strategies().connection_strategy.should_reconnect(error)
        except (Exception, asyncio.CancelledError):  # a bug in a strategy: keep the last policy
            hopeless = False
        retry_after = error.retry_after if isinstance(error, HandshakeRefused) else 0.0
        delay = backoff.failed(error.kind, retry_after=retry_after, hopeless=hopeless)
        if error.kind is ErrorClass.RATE_LIMITED:  # the venue limits our address: all shards wait
            self._shared.connects.hold(self._clock(), retry_after or delay)
        return delay

    def _policy(self) -> ReconnectionPolicy:
        policy = self._strategies().connection_strategy.get_reconnection_policy()
        if policy is None:
            return ReconnectionPolicy(self._config.max_reconnect_attempts, self._config.reconnect_delay)
        return policy

    def _report(
        self,
        state: ConnectionState,
        reason: str,
        error: BaseException | None = None,
        *,
        alert: bool = False,
        rejected: tuple[Topic, ...] = (),
        accepted: tuple[Topic, ...] = (),
        overdue: tuple[Topic, ...] = (),
    ) -> None:
        self.state = state
        self._shared.dispatcher.report(
            ConnectionEvent(
                state=state,
                reason=reason,
                error=error,
                alert=alert,
                rejected=rejected,
                accepted=accepted,
                overdue=overdue,
                connection=self._ordinal,
                shard=self.number,
                symbols=tuple(dict.fromkeys(symbol for symbol, _ in self.desired)),
                channels=tuple(dict.fromkeys(channel for _, channel in self.desired)),
            )
        )

    def __repr__(self) -> str:
        return f"Shard({self.number}, {self.state.value}, {self.connection!r}, {self._backoff!r})"


def _expected_by_channel(symbol: str, channel: str) -> int:
    """`delivered` where nobody records it: trades may be silent for any time, the rest has not delivered."""
    return NOT_EXPECTED if channel in TRADE_CHANNELS else 0


def _listed(topics: Sequence[Topic]) -> str:
    names = ", ".join(f"{symbol} {channel}" for symbol, channel in topics[:5])
    return f"{names} and {len(topics) - 5} more" if len(topics) > 5 else names


def _wrapped(error: BaseException) -> WebSocketError:
    wrapped = WebSocketError(f"{type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped


def _retrieve(future: asyncio.Future[None]) -> None:
    """Retrieve the exception, so that asyncio does not warn of one that nobody waits for."""
    if not future.cancelled():
        future.exception()
