"""What every venue's book synchronisation speaks: events in, decisions out.

A venue's `sync.py` holds the state machine with its numbered rules; the publisher asks it about every event
that is not the plain next one, and the book keeper about every snapshot.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple, Protocol

from workers.decode.normal import Levels


class Diff(NamedTuple):
    """One depth event, its levels as mantissas in the order sent. `ts_event` and `ts_recv` in ns."""

    first_id: int
    last_id: int
    ts_event: int
    ts_recv: int
    bids: Levels
    asks: Levels


class Step(IntEnum):
    """What to do with an event."""

    APPLY = 0
    IGNORE = 1  # it is older than the book
    BUFFER = 2  # kept until a snapshot comes
    GAP = 3  # the book is void; the event opens the new buffer, a snapshot is needed


class Gap(NamedTuple):
    """A hole in the chain: the update id that should have come, and the one that came."""

    expected: int
    got: int


class Replay(NamedTuple):
    """The snapshot is good: load it, apply these, go LIVE."""

    diffs: list[Diff]


class Refetch(NamedTuple):
    """The snapshot cannot be used; get another one. `reason` is one line for the log."""

    reason: str


class Snapshot(NamedTuple):
    """A full-depth answer of the venue: decimal texts, best first or not."""

    last_update_id: int
    bids: Sequence[tuple[str, str]]
    asks: Sequence[tuple[str, str]]


class Outcome(IntEnum):
    """What became of a snapshot that was given to the publisher."""

    SYNCED = 0
    REFETCH = 1  # older than the stream: get a newer one
    PRECISION = 2  # a number does not fit the instrument's exponents: the symbol needs a new slot
    MALFORMED = 3
    CROSSED = 4  # snapshot and stream together make best bid >= best ask
    TOO_LARGE = 5  # more levels than the book's bound
    TOO_SHALLOW = 6  # it does not reach as deep as the published window
    NOT_NEEDED = 7  # the book is in step, or the instrument is gone


class BookSync(Protocol):
    """One instrument's state machine.

    `synced`: the book is the venue's at `last_id`. `gaps`: holes seen so far, `gap` the last of them.
    """

    synced: bool
    last_id: int
    gaps: int
    gap: Gap | None

    def on_diff(self, diff: Diff) -> Step:
        """Decide over one event; on GAP the state is already waiting, with the event buffered."""
        ...

    def on_snapshot(self, last_update_id: int) -> Replay | Refetch:
        """Decide over a snapshot; after Replay its events count as applied."""
        ...

    def advance(self, last_id: int) -> None:
        """The native path applied events up to `last_id`, each one the plain next."""
        ...

    def reset(self) -> None:
        """The book is void: buffer anew and wait for a snapshot."""
        ...


class Listener(Protocol):
    """Who a publisher turns to, from inside the socket callback: it takes note and does the work later."""

    def request_snapshot(self, index: int) -> None:
        """The book of this slot needs a snapshot."""
        ...

    def on_precision(self, index: int, code: int, frame: bytes) -> None:
        """A number of `frame` does not fit this slot's exponents; `code` is a `DecodeCode`."""
        ...
