"""The channels of a feed and what is known of their delivery; their order is their place in the segment."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from shm import layout
from shm.layout import Scope


class Channel(IntEnum):
    """A channel, as its place among those of an instrument."""

    TOP = 0
    BOOK = 1
    TRADES = 2
    AGG_TRADES = 3
    TICKER = 4
    MARK = 5
    LIQUIDATIONS = 6


CHANNELS = tuple(channel.name.lower() for channel in Channel)
CELLS = {"top": Scope.TOP, "book": Scope.BOOK}  # channels that have a cell

assert len(CHANNELS) <= layout.DELIVERY_CHANNELS


class Delivery(NamedTuple):
    """One subscribed channel of one instrument.

    Attributes:
        age: seconds since its last event; before the first one, since its acknowledgement.
        within: seconds from there within which the next event is owed; None: nothing is owed.
    """

    age: float
    within: float | None

    @classmethod
    def at(cls, at: int, within: int, now: int) -> Delivery:
        """From the segment's words, all in ns of CLOCK_MONOTONIC; `at` is not 0."""
        return cls(max(0, now - at) * 1e-9, within * 1e-9 if within else None)

    @property
    def overdue(self) -> bool:
        """Whether an event is owed and has not come in time."""
        return self.within is not None and self.age > self.within
