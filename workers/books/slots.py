"""New slots: a symbol whose exponents change gets another slot in the segment.

1. When a number of the stream or of a snapshot does not fit the exponents of a slot, `respec` makes an
   instrument with exponents that it fits. The new instrument gets a slot, the old slot becomes SUPERSEDED,
   the decoder gets the new slot (`register`), and a snapshot is requested for the new book.
2. Until then the old slot goes on with all numbers that fit. A book that could not take a level waits for a
   snapshot without it (rule 2 of `workers/books/snapshots.py`).
3. The old slot also goes on where no exponents hold the number (`respec` raises `ValueError`, or an error
   whose action is HALT), or no slot is left. After that `respec` is called again `ASK_AGAIN` later at the
   earliest, then after twice as long each time, `ASK_AT_MOST` in the end. Any other failure of `respec` is
   tried again after the usual backoff.
4. A symbol that the venue lists with other exponents gets a new slot likewise (`renew`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from shm.errors import Action, ShmError
from shm.events import Code
from shm.instruments import Instrument
from shm.layout import Reason, State
from workers.books.context import BookContext
from workers.books.sync import Snapshot
from workers.books.tasks import Tasks

ASK_AGAIN, ASK_AT_MOST = 60_000_000_000, 3_600_000_000_000  # rule 3, ns

Respec = Callable[[Instrument, bytes | Snapshot], Awaitable[Instrument]]


class Slots:
    """Gives a symbol a new slot when a number does not fit its exponents.

    Args:
        respec: (old instrument, the frame or snapshot that did not fit) -> the instrument that replaces it;
            None: slots are never replaced.
        rebuild: gets a snapshot for the book of a slot.
    """

    def __init__(self, context: BookContext, respec: Respec | None, rebuild: Callable[[int], None]) -> None:
        self._context = context
        self._respec = respec
        self._rebuild = rebuild
        self.tasks = Tasks(context.check)
        # index -> refusals in a row (rule 3), and when the last one was (ns)
        self._refused: dict[int, tuple[int, int]] = {}
        context.on_forget.append(self._forget)

    def replace(self, index: int, evidence: bytes | Snapshot) -> None:
        """Start with rule 1, unless that is under way already, or was refused not long ago."""
        times, at = self._refused.get(index, (0, 0))
        waits = min(ASK_AGAIN << times >> 1, ASK_AT_MOST) if times else 0
        if self._respec is None or index in self.tasks or (times and self._context.clock() < at + waits):
            return
        self.tasks.start(index, self._move(index, self._respec, evidence))

    def renew(self, index: int, spec: Instrument) -> bool:
        """The venue lists the symbol of `index` as `spec` now. False: it is being given a new slot already.

        Raises:
            ShmError: no slot is left; the old one stays.
        """
        if index in self.tasks:
            return False
        self._succeed(index, spec)
        return True

    def __repr__(self) -> str:
        return f"<Slots {len(self.tasks)} new under way, {len(self._refused)} refused>"

    async def _move(self, index: int, respec: Respec, evidence: bytes | Snapshot) -> None:
        context = self._context
        old = context.instruments[index]
        for attempt in range(1_000_000_000):
            try:
                spec = await respec(old, evidence)
                break
            except Exception as error:
                if isinstance(error, ValueError) or getattr(error, "action", None) is Action.HALT:
                    self._refuse(index, error)
                    return
                context.writer.log(Code.ERROR, str(error), instrument=index)
            await context.sleep(context.backoff(attempt))
        try:
            self._succeed(index, spec)
        except ShmError as error:  # no slot is left
            self._refuse(index, error)

    def _refuse(self, index: int, error: Exception) -> None:
        self._refused[index] = self._refused.get(index, (0, 0))[0] + 1, self._context.clock()
        self._context.writer.log(Code.ERROR, str(error), instrument=index)

    def _succeed(self, index: int, spec: Instrument) -> None:
        context, writer, publisher = self._context, self._context.writer, self._context.publisher
        top, book = context.channels[index]
        new = msgspec.structs.replace(spec, index=writer.add_instrument(spec))
        context.tasks.cancel(index)
        writer.supersede_instrument(index)
        writer.log(Code.SUPERSEDED, new.index, new.price_exp, new.size_exp, instrument=index)
        context.forget(index)
        context.carry(new, top=top, book=book)
        if new.symbol in context.disconnected:  # a snapshot without a stream is no book
            publisher.lost(new.index, State.DOWN, Reason.DISCONNECTED)
        elif book and publisher.snapshot_in_stream(new.index):
            self._rebuild(new.index)
        elif book:
            publisher.need_snapshot(new.index)

    def _forget(self, index: int) -> None:
        self._refused.pop(index, None)
