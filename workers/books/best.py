"""The top as the best of a book that is built from messages in normal form, where there is no publisher."""

from __future__ import annotations

from shm.layout import Flag
from workers.books.book import Book
from workers.books.sync import BookSync, Diff, Refetch, Step
from workers.decode.normal import (
    DecodeCode,
    Decoded,
    MessageFlag,
    MessageKind,
    Scale,
    TopPayload,
    padded,
)


class Best:
    """The book of one instrument whose snapshots come in the stream; as window.pyx, rule 12.

    Args:
        sync: the venue's state machine of one book, `streamed`.
        scale: of the messages.
    """

    def __init__(self, sync: BookSync, scale: Scale) -> None:
        self._sync = sync
        self._book = Book()
        self._checksum = sync.checksum(scale.price_exp, scale.size_exp) if sync.checksum is not None else None
        self._last_top: TopPayload | None = None

    @property
    def synced(self) -> bool:
        """Whether the book is the venue's; else it waits for a snapshot."""
        return self._sync.synced

    def take(self, form: Decoded) -> Decoded | None:
        """The top after a message of the book; None: it has not changed, or the book is not in step
        (`synced`)."""
        if form.flags & MessageFlag.SNAPSHOT:
            if isinstance(self._sync.on_snapshot(form.update_id), Refetch):
                return None
            self._book.clear()
        else:
            diff = Diff(form.first_id, form.update_id, form.ts_event, 0, form.bids, form.asks)
            step = self._sync.on_diff(diff)
            if step is not Step.APPLY:
                return None
        if not self._apply(form):
            self.invalidate()
            return None
        return self._top(form)

    def invalidate(self) -> None:
        """The book is incomplete or wrong: there is no top before the next snapshot."""
        self._sync.reset()
        self._book.clear()
        self._last_top = None

    def _apply(self, form: Decoded) -> bool:
        try:
            for ask, levels in ((False, form.bids), (True, form.asks)):
                for price, size in levels:
                    self._book.set(ask, price, size)
        except OverflowError:
            return False
        if self._sync.max_depth:
            self._book.truncate(self._sync.max_depth)
        self._book.last_id = form.update_id
        if self._book.crossed():
            return False
        if not form.flags & MessageFlag.CHECKED:
            return True
        if self._checksum is not None:
            return self._checksum.compute(self._book) == form.depth.checksum
        return self._sync.checksum_matches(self._book, form.depth.checksum)

    def _top(self, form: Decoded) -> Decoded | None:
        bid, ask = self._book.best(False), self._book.best(True)
        top = TopPayload(*(bid or (0, 0)), *(ask or (0, 0)))
        if top == self._last_top:
            return None
        self._last_top = top
        flags = (0 if bid else int(Flag.NO_BID)) | (0 if ask else int(Flag.NO_ASK))
        return Decoded(
            DecodeCode.OK,
            MessageKind.TOP,
            form.instrument,
            form.ts_event,
            form.update_id,
            flags=flags,
            payload=padded(top),
        )

    def __repr__(self) -> str:
        return f"<Best {self._book!r} {'synced' if self.synced else 'waiting'}>"
