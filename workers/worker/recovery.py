"""What is done at once about data that may be missing, without waiting for a gap to show it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from shm.channels import CELLS
from shm.layout import Scope
from workers.worker.events import FeedEvents
from workers.worker.feed_state import book_channels

if TYPE_CHECKING:
    from shm.writer import Writer
    from workers.books.publish import Publisher
    from workers.worker.connections import Connections
    from workers.worker.symbols import Symbols


class Recovery(FeedEvents):
    """Rebuilds books, and subscribes again what does not deliver."""

    def __init__(
        self, writer: Writer, publisher: Publisher, connections: Connections, symbols: Symbols
    ) -> None:
        self._writer = writer
        self._publisher = publisher
        self._connections = connections
        self._symbols = symbols

    def missed(self, topics: Sequence[tuple[str, str]]) -> None:
        """A book whose updates have ids finds out by itself; one without would be LIVE and wrong: it is
        rebuilt."""
        slots = self._symbols.slots([topic for topic in topics if topic[1] in CELLS])
        books = {index for index, channel in slots if channel in book_channels(self._publisher, index)}
        if books:
            self._publisher.invalidate_without_ids(sorted(books))

    def late(self, symbol: str, channel: str) -> None:
        """A new subscription may bring what is owed."""
        self._connections.refresh(symbol, [channel])

    def silent(self, index: int, scope: Scope) -> None:
        """This one stream is subscribed again, then on a fresh connection. The others of the same instrument
        go on: a new subscription of theirs would be a hole in them."""
        if self._connections.manager is None:
            return
        channels: Sequence[str] = ["top"]
        if scope is Scope.BOOK:
            self._publisher.invalidate_without_ids([index])
            channels = book_channels(self._publisher, index)
        self._connections.refresh(self._writer.instrument(index).symbol, channels)
