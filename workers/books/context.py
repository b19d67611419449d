"""What the parts of the book manager share: the instruments of a feed, its clock, its tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from shm.events import Code
from shm.instruments import Instrument
from shm.layout import NO_INSTRUMENT
from shm.writer import Writer
from workers.books.config import BookManagerConfig
from workers.books.publish import Publisher
from workers.books.tasks import Tasks


class BookContext:
    """The same object for every part of one book manager.

    Args:
        writer, publisher: of the feed.
        register: gives the decoder an instrument's slot and exponents.
        clock: CLOCK_MONOTONIC ns. sleep: waits so many seconds. chance: a number from 0 to 1, the backoff's
            jitter. Injected for tests.

    Attributes:
        instruments: slot index -> the instrument that it carries now.
        channels: slot index -> whether its top, its book is carried.
        disconnected: canonical symbols whose connection has gone.
        tasks: what works for the books: by slot index, and the sweep.
        on_forget: called with each slot index that is carried no more.
        failures: how many tasks have ended with an unexpected exception, which is an error of this program.
    """

    def __init__(
        self,
        writer: Writer,
        publisher: Publisher,
        config: BookManagerConfig,
        *,
        register: Callable[[Instrument], None],
        clock: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]],
        chance: Callable[[], float],
    ) -> None:
        self.writer = writer
        self.publisher = publisher
        self.config = config
        self.clock = clock
        self.sleep = sleep
        self._register = register
        self._chance = chance
        self.instruments: dict[int, Instrument] = {}
        self.channels: dict[int, tuple[bool, bool]] = {}
        self.disconnected: set[str] = set()
        self.tasks = Tasks(self.check)
        self.on_forget: list[Callable[[int], None]] = []
        self.failures = 0

    # -- instruments -----------------------------------------------------------------------------------------
    def carry(self, instrument: Instrument, *, top: bool, book: bool) -> None:
        """Carry an instrument that has a slot in the segment."""
        self.instruments[instrument.index] = instrument
        self.channels[instrument.index] = (top, book)
        self.publisher.add_instrument(
            instrument.index, instrument.price_exp, instrument.size_exp, top=top, book=book
        )
        self._register(instrument)

    def forget(self, index: int) -> None:
        """Carry it no more; every part drops what it knows of it."""
        self.publisher.drop_instrument(index)
        self.instruments.pop(index, None)
        self.channels.pop(index, None)
        for forget in self.on_forget:
            forget(index)

    def scale(self, index: int) -> tuple[int, int]:
        """Price and size exponent of a slot."""
        instrument = self.instruments[index]
        return instrument.price_exp, instrument.size_exp

    def check(self, task: asyncio.Future[None], index: int = NO_INSTRUMENT) -> None:
        """Count and log the exception that a task has ended with, if any. It is an error of this program; the
        instrument keeps its state, which is not LIVE where that matters."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failures += 1
            self.writer.log(Code.ERROR, repr(error), instrument=index)

    def backoff(self, attempt: int) -> float:
        """Seconds to wait after `attempt` failures and one more: exponential, capped, with jitter."""
        config = self.config
        if attempt + 1 >= config.max_attempts:
            return config.max_delay
        return min(config.first_delay * 2.0**attempt, config.max_delay) * (0.5 + 0.5 * self._chance())
