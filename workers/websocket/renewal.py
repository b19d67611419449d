"""Replacing a connection by another one without a gap (make-before-break).

1. The new connection is opened (within the venue's limit of attempts) and subscribed to all desired topics;
   what it brings is buffered by the handover.
2. Once it is subscribed, the old connection is pinged: whatever the old one delivers after the answer was
   sent after the new one had been subscribed, so that no message can be missing between the two.
3. When the new connection has brought everything that the old one has delivered since then, the old one is
   detached and the handover completed, in one turn of the event loop.

When the desired topics change meanwhile, both connections follow, and steps 2 and 3 begin again with a new
handover. A failure before step 3 leaves the old connection as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from workers.contract.errors import AcknowledgementTimeout, SubscriptionRejected, WebSocketError
from workers.decode.sink import FrameSink
from workers.websocket.buffered_handover import BufferedHandover, Handover
from workers.websocket.connection import Connection, SharedContext
from workers.websocket.subscriptions import Topic
from workers.websocket.wakeup import Wakeup

INHERIT_WITHIN = 1.0  # seconds that the new connection has to catch up after the old one was lost
CHECK_EVERY = 0.02  # seconds between two checks whether it has caught up


class Renewal:
    """One planned replacement; `run` is called once.

    Args:
        shared: what all connections of the manager share.
        wakeup: the shard's.
        old: the connection to be replaced.
        dial: sink -> a new connection, not opened yet.
        handover: subscribed topics -> the handover of their data; None: there is no sink, and a
            `BufferedHandover` is used.

    Attributes:
        new: the replacement; the caller closes it when `run` has failed.
    """

    def __init__(
        self,
        shared: SharedContext,
        wakeup: Wakeup,
        old: Connection,
        dial: Callable[[FrameSink | None], Connection],
        handover: Callable[[Sequence[Topic]], Handover] | None,
    ) -> None:
        self._shared = shared
        self._clock = shared.clock
        self._wakeup = wakeup
        self._old = old
        self._dial = dial
        self._make_handover = handover
        self._handover: Handover | None = None
        self._topics: tuple[Topic, ...] = ()
        self._overlapping = False
        self._switched = False
        self._deadline = float("inf")
        self.new: Connection | None = None

    async def run(self) -> Connection:
        """Returns the replacement, which has taken over. Raises `WebSocketError`, and whatever a bug in a
        strategy raises."""
        try:
            await self._wait_for_permit()
            handover = self._begin()
            self.new = new = self._dial(handover.sink)
            new.buffer = handover.keep
            await new.open()
            while True:
                await self._overlap(new, handover)
                while self._topics_unchanged() and not self._caught_up(handover):
                    self._check(new, handover)
                    await self._wakeup.wait(CHECK_EVERY)
                self._check(new, handover)
                if self._topics_unchanged():
                    self._switch(new, handover)
                    return new
                handover = self._begin()
                if handover.sink is not None:
                    new.listener.switch_sink(handover.sink)
                new.buffer = handover.keep
        except BaseException:
            self._old.observer = None
            if self._handover is not None:
                self._handover.abandon()
            raise

    def may_take_over(self) -> bool:
        """Whether the new connection may still take over without a loss, now that the old one is lost."""
        if not self._overlapping:
            return False
        self._deadline = min(self._deadline, self._clock() + INHERIT_WITHIN)
        return self._clock() < self._deadline

    async def _wait_for_permit(self) -> None:
        """Wait until the venue's limit allows one more connection attempt. None is reserved before: shards
        that have lost their connection come first."""
        while wait := self._shared.connects.delay(self._clock()):
            await self._wakeup.wait(wait)
        self._shared.connects.take(self._clock())

    def _begin(self) -> Handover:
        self._overlapping = False
        if self._handover is not None:
            self._handover.abandon()
        self._topics = tuple(self._old.topics.desired)
        if self._make_handover is not None:
            carried = self._old.topics.active
            self._handover = self._make_handover([topic for topic in self._topics if topic in carried])
        else:
            bound = self._shared.config.max_pending_messages
            buffered = BufferedHandover(self._deliver, bound, self._clock, self._on_finished)
            self._old.observer = buffered.delivered
            self._handover = buffered
        return self._handover

    def _deliver(self, data: bytes, received: int) -> None:
        assert self.new is not None
        self.new.deliver(data, received, buffered=not self._switched)

    def _on_finished(self) -> None:
        assert self.new is not None
        self.new.buffer = None

    async def _overlap(self, new: Connection, handover: Handover) -> None:
        """Step 2."""
        self._deadline = self._clock() + self._shared.config.overlap
        await new.reconcile()
        if lost := sorted(self._old.topics.active & new.topics.rejected.keys()):
            names = ", ".join(f"{symbol} {channel}" for symbol, channel in lost)
            raise SubscriptionRejected(f"the venue refused {names} on the new connection", tuple(lost))
        await self._old.round_trip()
        handover.subscribed()
        self._overlapping = True

    def _topics_unchanged(self) -> bool:
        """Whether the handover is about the topics that are desired now."""
        return self._topics == tuple(self._old.topics.desired)

    def _caught_up(self, handover: Handover) -> bool:
        # Messages of the old connection that are still queued must be handled before any of the new one.
        return not self._old.queued and handover.ready()

    def _check(self, new: Connection, handover: Handover) -> None:
        new.check()
        new.ping_if_due()
        if handover.failed:
            raise WebSocketError(handover.failed)
        if self._clock() >= self._deadline:
            raise AcknowledgementTimeout(
                f"the new connection did not catch up within {self._shared.config.overlap:g} s"
            )

    def _switch(self, new: Connection, handover: Handover) -> None:
        """Step 3, in one turn of the event loop."""
        self._old.detach()
        self._old.observer = None
        if (sink := handover.complete()) is not None:
            new.listener.switch_sink(sink)
            new.buffer = None
        self._switched = True

    def __repr__(self) -> str:
        return f"Renewal({self._old!r} -> {self.new!r}, overlapping={self._overlapping})"
