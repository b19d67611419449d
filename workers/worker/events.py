"""What happens on a feed beside its messages, and who heeds it.

Each part of the worker that something follows from is a `FeedEvents` with the methods that concern it; the
parts that notice something call the worker's one `FeedEventHub`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shm.instruments import Instrument
    from shm.layout import Scope
    from workers.contract.protocols import ConnectionEvent


class FeedEvents:
    """A listener; it does nothing with what it does not override. All methods are called on the event loop,
    and neither wait nor raise."""

    # -- connections and subscriptions -----------------------------------------------------------------------
    def connection(self, event: ConnectionEvent) -> None:
        """A connection's state has changed, or another attempt at it has failed: what was subscribed by then
        has delivered, and delivers no more."""

    def rejected(self, event: ConnectionEvent) -> None:
        """The venue refuses the subscriptions `event.rejected`."""

    def accepted(self, event: ConnectionEvent) -> None:
        """The venue has taken `event.accepted`, which it had refused before."""

    def overdue(self, event: ConnectionEvent) -> None:
        """The subscriptions `event.overdue` have not delivered a first event in time."""

    # -- the stream ------------------------------------------------------------------------------------------
    def missed(self, topics: Sequence[tuple[str, str]]) -> None:
        """Market data of these (symbol, channel) may be missing from here on."""

    def message_failed(self, error: BaseException, data: bytes) -> None:
        """The venue's code raised `error` over the message `data`."""

    def listing_changed(self, symbol: str) -> None:
        """The venue's own notice: this symbol's entry in its listing may have changed ("": any entry)."""

    def late(self, symbol: str, channel: str) -> None:
        """A channel without a cell owes an event; called again while it does, ever more rarely."""

    def silent(self, index: int, scope: Scope) -> None:
        """The stream of a slot's top or book does not deliver although the market moves."""

    # -- requests --------------------------------------------------------------------------------------------
    def snapshot_failed(self, instrument: Instrument, attempt: int, reason: str) -> None:
        """The `attempt`-th attempt in a row (from 1) has brought no usable snapshot of a book."""

    # -- the operator ----------------------------------------------------------------------------------------
    def report(self, line: str) -> None:
        """One line that the operator should read."""


class FeedEventHub(FeedEvents):
    """Hands every event to each of `listeners`, in their order. One may be added at any time."""

    def __init__(self, *listeners: FeedEvents) -> None:
        self.listeners = list(listeners)

    def connection(self, event: ConnectionEvent) -> None:
        for listener in self.listeners:
            listener.connection(event)

    def rejected(self, event: ConnectionEvent) -> None:
        for listener in self.listeners:
            listener.rejected(event)

    def accepted(self, event: ConnectionEvent) -> None:
        for listener in self.listeners:
            listener.accepted(event)

    def overdue(self, event: ConnectionEvent) -> None:
        for listener in self.listeners:
            listener.overdue(event)

    def missed(self, topics: Sequence[tuple[str, str]]) -> None:
        for listener in self.listeners:
            listener.missed(topics)

    def message_failed(self, error: BaseException, data: bytes) -> None:
        for listener in self.listeners:
            listener.message_failed(error, data)

    def listing_changed(self, symbol: str) -> None:
        for listener in self.listeners:
            listener.listing_changed(symbol)

    def late(self, symbol: str, channel: str) -> None:
        for listener in self.listeners:
            listener.late(symbol, channel)

    def silent(self, index: int, scope: Scope) -> None:
        for listener in self.listeners:
            listener.silent(index, scope)

    def snapshot_failed(self, instrument: Instrument, attempt: int, reason: str) -> None:
        for listener in self.listeners:
            listener.snapshot_failed(instrument, attempt, reason)

    def report(self, line: str) -> None:
        for listener in self.listeners:
            listener.report(line)
