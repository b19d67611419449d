"""What can go wrong with shared memory: each error says whose fault it is and what to do next."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shm.layout import Reason, State


class Action(Enum):
    """What a caller should do about an error, of shared memory or of a venue (`workers.contract.errors`)."""

    RETRY = "retry"  # the same again, soon
    BACKOFF = "backoff"  # the same again, after a delay: the error's `retry_after`, where it has one
    RECONNECT = "reconnect"  # the connection is of no use any more: make a new one
    RESYNC = "resync"  # the local copy of the venue's state is not the venue's: wait for it, or fetch it anew
    HALT = "halt"  # repeating cannot help: configuration, credentials or code must change


class ShmError(Exception):
    """Base of every error of this package."""

    action = Action.HALT


class NotFound(ShmError):
    """No segment of that name: the engine does not run, or the name or the instance is another."""

    action = Action.RETRY


class Incompatible(ShmError):
    """The segment is not ours to read: wrong magic, another layout, a truncated file; the text names it."""


class Locked(ShmError):
    """Another process holds the writer's lock: there is one writer a feed, one engine an instance."""


class BadName(ShmError, ValueError):
    """No feed or instance can have that name; the text says what is allowed."""


class NotOwner(ShmError):
    """The name exists and belongs to another user: a writer never touches it, a reader reads it only where
    that user is trusted (`shm.files.trusted`)."""


class NoSpace(ShmError):
    """/dev/shm has no room for the segment; reserved up front, so that it is never a SIGBUS later."""


class Closed(ShmError):
    """The object was closed."""


class UnknownSymbol(ShmError, KeyError):
    """The feed has no such instrument; the text names the nearest ones."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class Busy(ShmError):
    """No whole state of the cell was seen in 64 tries; the writer was writing each time."""

    action = Action.RETRY


class Stale(ShmError):
    """The value is not LIVE. `allow_stale=True` gives it anyway, with its state and age.

    Attributes:
        symbol: the instrument.
        state: what the cell is instead (a feed without a fresh heartbeat is DOWN).
        reason: why it was put there, as far as the writer stored it.
        age: seconds since the last event of the instrument, or None where there was none.
    """

    action = Action.RESYNC

    def __init__(self, symbol: str, state: State, reason: Reason, age: float | None) -> None:
        self.symbol = symbol
        self.state = state
        self.reason = reason
        self.age = age
        since = "never had an event" if age is None else f"last event {age:.3f} s ago"
        super().__init__(f"{symbol} is {state.name} ({reason.name}), {since}")
