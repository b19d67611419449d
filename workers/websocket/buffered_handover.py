"""Replacing a connection without a gap when all its messages go to the message handler (no sink).

Both connections are subscribed to the same topics and bring the same events. The new connection's market
data is buffered until the switch; then what the old one has not delivered is delivered. Afterwards, for
`DUPLICATE_WINDOW` seconds, what the old one has delivered and the new one brings late is skipped. So no
message is missing and none comes twice. Messages have no ids that a manager could know: two are the same when
their bytes are, and what came twice is expected twice.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Protocol

from workers.contract.protocols import ParsedMessage
from workers.decode.sink import FrameSink

DUPLICATE_WINDOW = 10.0  # seconds after the switch in which the new connection may still repeat the old one
SETTLE_TIME = 0.5  # seconds without any message on the old connection after which the new one counts as level


class Handover(Protocol):
    """One planned replacement of one connection by another, for the topics of that connection.

    Attributes:
        sink: for the new connection's listener: buffers market-data frames, leaves the rest to the slow path.
        failed: why it cannot be completed; "": it can.
    """

    @property
    def sink(self) -> FrameSink | None: ...
    @property
    def failed(self) -> str: ...

    def keep(self, message: ParsedMessage) -> None:
        """Buffer a market-data message that the new connection brought by the slow path, in order."""

    def subscribed(self) -> None:
        """The new connection is subscribed: whatever the old one delivers from now on, the venue has sent to
        both."""

    def ready(self) -> bool:
        """Whether the new connection has brought everything that the old one delivered since `subscribed`."""
        ...

    def complete(self) -> FrameSink | None:
        """Deliver what was buffered and the old connection has not delivered; returns the sink to use from
        now on. To be called right after the old listener's `detach`, in the same turn of the event loop."""
        ...

    def abandon(self) -> None:
        """It will not be completed; may be called more than once."""


class BufferedHandover:
    """The `Handover` of connections without a sink.

    Args:
        deliver: called from the switch on with (bytes, receive time in ns) of the new connection's messages.
        bound: buffered messages that the old connection has not delivered; with more, it has `failed`.
        clock: seconds.
        on_finished: called once `DUPLICATE_WINDOW` is over and `keep` need not be called any more.
    """

    sink = None

    def __init__(
        self,
        deliver: Callable[[bytes, int], object],
        bound: int,
        clock: Callable[[], float],
        on_finished: Callable[[], object] = lambda: None,
    ) -> None:
        self.failed = ""
        self._deliver = deliver
        self._bound = bound
        self._clock = clock
        self._on_finished = on_finished
        self._finish_at: float | None = None  # set by `complete`
        self._buffer: deque[_Message] = deque()  # of the new connection, in order
        self._only_new: dict[bytes, deque[_Message]] = {}  # those of them that the old one has not delivered
        self._only_old: Counter[bytes] = Counter()  # delivered by the old one, not seen on the new one
        self._missing: Counter[bytes] | None = None  # the same, since `subscribed`
        self._subscribed_at = 0.0
        self._same_event_seen = False  # on both connections, since `subscribed`

    def delivered(self, data: bytes) -> None:
        """The old connection has delivered a market-data message."""
        if same := self._only_new.get(data):
            same.popleft().delivered = True
            if not same:
                del self._only_new[data]
            self._same_event_seen = True
            return
        self._only_old[data] += 1
        if self._missing is not None:
            self._missing[data] += 1
        if len(self._only_old) > 64 * self._bound:
            self.failed = f"{len(self._only_old)} messages of the old connection did not come on the new one"

    def keep(self, message: ParsedMessage) -> None:
        """A market-data message of the new connection: buffered; after `complete` delivered, unless the old
        connection has delivered it."""
        data = message.raw_data
        if self._only_old[data]:
            _take(self._only_old, data)
            if self._missing is not None:
                _take(self._missing, data)
            self._same_event_seen = True
            return
        if self._finish_at is not None:
            self._deliver(data, message.timestamp)
            if self._clock() >= self._finish_at:
                self.abandon()
                self._on_finished()
            return
        kept = _Message(data, message.timestamp)
        self._only_new.setdefault(data, deque()).append(kept)
        self._buffer.append(kept)
        while self._buffer[0].delivered:
            self._buffer.popleft()
        if len(self._buffer) > self._bound:
            self.failed = f"more than {self._bound} messages that the old connection does not bring"

    def subscribed(self) -> None:
        self._missing = Counter()
        self._subscribed_at = self._clock()
        self._same_event_seen = False

    def ready(self) -> bool:
        if self._missing is None or self._missing:
            return False
        # Both connections have brought the same event; or the market is quiet and there is none to compare.
        return self._same_event_seen or self._clock() - self._subscribed_at >= SETTLE_TIME

    def complete(self) -> None:
        for message in self._buffer:
            if not message.delivered:
                self._deliver(message.data, message.received)
        self._buffer.clear()
        self._only_new.clear()
        self._missing = None
        self._finish_at = self._clock() + DUPLICATE_WINDOW

    def abandon(self) -> None:
        self._buffer.clear()
        self._only_new.clear()
        self._only_old.clear()
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
