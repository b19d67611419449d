"""Make-before-break for connections whose messages all go to the message handler.

The new connection's messages are held. At the switch those are delivered that the old one did not deliver,
and for `FORGET` after it what the old one has delivered and the new one is late with is passed over: no gap,
no duplicate. Both carry the same events, but nothing names them (the managers know no ids): "the same" means
the same bytes, and as many of them.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Protocol

from workers.contract.protocols import ParsedMessage
from workers.decode.sink import FrameSink

FORGET = 10.0  # seconds after the switch: a repetition of what the old connection delivered can come no more
SETTLE = 0.5  # seconds: when the old connection is quiet, that the new one is given to show it is no later


class Handover(Protocol):
    """One planned replacement of one connection by another, for the topics of that connection.

    Attributes:
        sink: for the new connection's listener: keeps market-data frames, leaves the rest to the cold path.
        failed: why it cannot be completed; "" = it can.
    """

    @property
    def sink(self) -> FrameSink | None: ...
    @property
    def failed(self) -> str: ...

    def keep(self, message: ParsedMessage) -> None:
        """A cold market-data message of the new connection, in order."""

    def subscribed(self) -> None:
        """From now on whatever the old connection delivers was sent after the new one was subscribed."""

    def ready(self) -> bool:
        """Nothing that the old connection has delivered since then is missing on the new one."""
        ...

    def complete(self) -> FrameSink | None:
        """In one turn of the loop, after the old listener is detached: what was kept and not delivered by the
        old one is delivered. Answers the sink to use from now on."""
        ...

    def abandon(self) -> None:
        """It will not be completed; idempotent."""


class Hold:
    """The `Handover` without a sink.

    Args:
        deliver: takes (bytes, receive time) of the new connection, at the switch.
        bound: messages held that the old connection has not delivered; beyond it the replacement has failed.
        clock: seconds.
        forgotten: called when `keep` is of no use any more.
    """

    sink = None

    def __init__(
        self,
        deliver: Callable[[bytes, int], object],
        bound: int,
        clock: Callable[[], float],
        forgotten: Callable[[], object] = lambda: None,
    ) -> None:
        self.failed = ""
        self._deliver = deliver
        self._bound = bound
        self._clock = clock
        self._forgotten = forgotten
        self._forget_at: float | None = None  # set by `complete`
        self._held: deque[_Message] = deque()  # of the new connection, in order
        self._ahead: dict[bytes, deque[_Message]] = {}  # those of them that the old one has not delivered
        self._behind: Counter[bytes] = Counter()  # delivered by the old one, not seen on the new one
        self._missing: Counter[bytes] | None = None  # the same, since `subscribed`
        self._since = 0.0
        self._met = False

    def delivered(self, data: bytes) -> None:
        """The old connection has delivered a market-data message."""
        if same := self._ahead.get(data):
            same.popleft().delivered = True
            if not same:
                del self._ahead[data]
            self._met = True
            return
        self._behind[data] += 1
        if self._missing is not None:
            self._missing[data] += 1
        if len(self._behind) > 64 * self._bound:
            self.failed = f"{len(self._behind)} messages of the old connection did not come on the new one"

    def keep(self, message: ParsedMessage) -> None:
        data = message.raw_data
        if self._behind[data]:
            _take(self._behind, data)
            if self._missing is not None:
                _take(self._missing, data)
            self._met = True
            return
        if self._forget_at is not None:
            self._deliver(data, message.timestamp)
            if self._clock() >= self._forget_at:
                self.abandon()
                self._forgotten()
            return
        kept = _Message(data, message.timestamp)
        self._ahead.setdefault(data, deque()).append(kept)
        self._held.append(kept)
        while self._held[0].delivered:
            self._held.popleft()
        if len(self._held) > self._bound:
            self.failed = f"more than {self._bound} messages that the old connection does not bring"

    def subscribed(self) -> None:
        self._missing = Counter()
        self._since = self._clock()
        self._met = False

    def ready(self) -> bool:
        if self._missing is None or self._missing:
            return False
        # Both have been seen at the same event; or there is nothing to be seen.
        return self._met or self._clock() - self._since >= SETTLE

    def complete(self) -> None:
        for message in self._held:
            if not message.delivered:
                self._deliver(message.data, message.received)
        self._held.clear()
        self._ahead.clear()
        self._missing = None
        self._forget_at = self._clock() + FORGET

    def abandon(self) -> None:
        self._held.clear()
        self._ahead.clear()
        self._behind.clear()
        self._missing = None


class _Message:
    __slots__ = ("data", "delivered", "received")

    def __init__(self, data: bytes, received: int) -> None:
        self.data = data
        self.received = received
        self.delivered = False


def _take(counts: Counter[bytes], data: bytes) -> None:
    if counts[data] > 1:
        counts[data] -= 1
    else:
        del counts[data]
