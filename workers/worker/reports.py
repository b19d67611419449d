"""What a worker writes to stderr for its operator; the supervisor logs each line under the feed's name."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from shm.events import Code
from workers.books.snapshots import OLDER
from workers.worker.events import FeedEvents

if TYPE_CHECKING:
    from shm.instruments import Instrument
    from shm.writer import Writer

PLACES = 16  # places in code whose errors are reported
USUAL = 7  # snapshots in a row, within about half a minute, that may be older than the stream: no fault yet


class Reports(FeedEvents):
    """Prints what is reported, and words what fails again and again so that it is read once."""

    def __init__(self, writer: Writer, feed: str) -> None:
        self._writer = writer
        self._feed = feed
        self._places: set[str] = set()  # places in code

    def report(self, line: str) -> None:
        print(f"worker {self._feed}: {line}", file=sys.stderr, flush=True)

    def message_failed(self, error: BaseException, data: bytes) -> None:
        """Once for each place in code, with the message's beginning."""
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if "/workers/venues/" in frame.filename] or frames
        place = f"{'/'.join(Path(own[-1].filename).parts[-2:])}:{own[-1].lineno}" if own else "?"
        if place in self._places or len(self._places) >= PLACES:
            return
        self._places.add(place)
        message = f"{place}: {type(error).__name__}: {error}".partition("\n")[0]
        self.report(f"a message could not be handled: {message}; it begins {data[:80]!r}")
        self._writer.log(Code.ERROR, message)

    def snapshot_failed(self, instrument: Instrument, attempt: int, reason: str) -> None:
        """The 1st, 2nd, 4th, 8th ... in a row."""
        if reason == OLDER and attempt <= USUAL:
            return
        if attempt & (attempt - 1) == 0:
            self.report(f"{instrument.symbol}: snapshot attempt {attempt} failed: {reason}")
