"""A planned replacement of one connection by another: make, then break.

1. The new connection is dialled (within the connect budget) and subscribed to the whole wish; what it
   brings is kept by the handover.
2. Once it is subscribed, a ping makes the round on the old one: whatever the old one delivers from then on
   was sent after the new one had begun, so that nothing can lie between the two.
3. When nothing that the old one has delivered since then is missing on the new one, the old one is detached
   and the handover completed, in one turn of the loop.

A wish that changes meanwhile reaches both; steps 2 and 3 then begin anew, with a handover of the topics as
they are now. Whatever fails before 3 leaves the old connection as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from workers.contract.errors import AcknowledgementTimeout, SubscriptionRejected, WebSocketError
from workers.decode.sink import FrameSink
from workers.websocket.buffered_handover import BufferedHandover, Handover
from workers.websocket.connection import Connection, SharedContext
from workers.websocket.subscriptions import Topic
from workers.websocket.wakeup import Wakeup

GRACE = 1.0  # seconds that the new connection is given to catch up when the old one has died
LOOK = 0.02  # seconds between two looks whether it has caught up


class Renewal:
    """See the module's words; `run` once.

    Args:
        old: the connection to be replaced.
        dial: (sink) -> a new connection, not open yet.
        handover: makes one for the topics wished now; None: without a sink, a `BufferedHandover`.

    Attributes:
        new: the replacement; whoever runs this hangs it up when `run` has failed.
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
        self._make = handover
        self._handover: Handover | None = None
        self._topics: tuple[Topic, ...] = ()
        self._covered = False
        self._switched = False
        self._deadline = float("inf")
        self.new: Connection | None = None

    async def run(self) -> Connection:
        """The replacement, delivering. Raises `WebSocketError`, and whatever a strategy's bug raises."""
        try:
            await self._permit()
            handover = self._begin()
            self.new = new = self._dial(handover.sink)
            new.buffer = handover.keep
            await new.open()
            while True:
                await self._overlap(new, handover)
                while self._unchanged() and not self._caught_up(handover):
                    self._check(new, handover)
                    await self._wakeup.wait(LOOK)
                self._check(new, handover)
                if self._unchanged():
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

    def inherits(self) -> bool:
        """The old connection has died: may the new one still take over without a loss?"""
        if not self._covered:
            return False
        self._deadline = min(self._deadline, self._clock() + GRACE)
        return self._clock() < self._deadline

    async def _permit(self) -> None:
        """Within the connect budget; whoever has lost a connection comes first."""
        while wait := self._shared.connects.delay(self._clock()):
            await self._wakeup.wait(wait)
        self._shared.connects.take(self._clock())

    def _begin(self) -> Handover:
        self._covered = False
        if self._handover is not None:
            self._handover.abandon()
        self._topics = tuple(self._old.topics.desired)
        if self._make is not None:
            carried = self._old.topics.active
            self._handover = self._make([topic for topic in self._topics if topic in carried])
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
        self._covered = True

    def _unchanged(self) -> bool:
        """Whether the handover is about what is wished now."""
        return self._topics == tuple(self._old.topics.desired)

    def _caught_up(self, handover: Handover) -> bool:
        # What the old one has brought by the cold path must be handled before anything of the new one is.
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
        """Step 3: one turn of the loop."""
        self._old.detach()
        self._old.observer = None
        if (sink := handover.complete()) is not None:
            new.listener.switch_sink(sink)
            new.buffer = None
        self._switched = True

    def __repr__(self) -> str:
        return f"Renewal({self._old!r} -> {self.new!r}, covered={self._covered})"
