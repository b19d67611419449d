"""What the proxy can be told to do to connections, as values; and the orders in force.

An order names connections by their ordinal and a direction, is used up after `count` uses where it is about
single events, and is over after `lasts` seconds in any case.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from typing import TypeVar

import msgspec

MAX_LASTS = 3600.0


class Direction(StrEnum):
    UP = "up"  # client to server
    DOWN = "down"  # server to client
    BOTH = "both"

    def covers(self, one: Direction) -> bool:
        """Whether an order for this direction is about `one`."""
        return self is Direction.BOTH or self is one


class How(StrEnum):
    """How a connection ends."""

    RST = "rst"  # both peers get a reset
    FIN = "fin"  # the receiver of this direction gets an end of stream
    SILENCE = "silence"  # without a sign: this direction carries nothing any more


class Corruption(StrEnum):
    OPCODE = "opcode"  # one that the RFC reserves
    RESERVED = "reserved"  # a reserved bit without an extension
    MASK = "mask"  # masked where it must not be, unmasked where it must be
    UTF8 = "utf8"  # text that is none
    LENGTH = "length"  # 2^62 bytes are announced
    FLIP = "flip"  # one bit of the payload


class FaultError(ValueError):
    """An order that makes no sense; the message says what is allowed."""


class Fault(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag=str.lower
):
    """What all orders have.

    Attributes:
        connection: ordinal of the connection, from 1; 0: every one, those to come included.
        direction: which way.
        lasts: seconds until the order is over by itself.
    """

    connection: int = 0
    direction: Direction = Direction.BOTH
    lasts: float = 60.0

    @property
    def kind(self) -> str:
        """Its name in counts and on the command line."""
        return type(self).__name__.lower()


class Latency(Fault, frozen=True, kw_only=True):
    """Bytes arrive `seconds` later, more or less `jitter`, in order."""

    seconds: float
    jitter: float = 0.0


class Throttle(Fault, frozen=True, kw_only=True):
    """At most so many bytes a second are read, so that the sender's buffers fill up: a slow reader."""

    rate: float


class Stall(Fault, frozen=True, kw_only=True):
    """Nothing passes while the order lasts, then all of it at once: a partition that TCP outlived."""


class Blackhole(Fault, frozen=True, kw_only=True):
    """Bytes are taken and lost. A connection that lost some stays dead; one made after the order is not."""


class Event(Fault, frozen=True, kw_only=True):
    """An order about single events: `count` of them, over all connections."""

    count: int = 1


class Cut(Event, frozen=True, kw_only=True):
    """The connection ends after exactly `after` further bytes of the direction; with 0 at once."""

    after: int = 0
    how: How = How.RST


class Hole(Event, frozen=True, kw_only=True):
    """`size` bytes are missing after `after` further ones, and the stream goes on."""

    after: int = 0
    size: int = 1


class Refuse(Event, frozen=True, kw_only=True):
    """New connections end as soon as they are accepted."""

    how: How = How.RST


class Accept(Event, frozen=True, kw_only=True):
    """New connections are served only after `seconds`."""

    seconds: float


class FrameEvent(Event, frozen=True, kw_only=True):
    """About whole data messages of one frame.

    Attributes:
        after: matching frames to let pass first, on each connection.
        text: what the payload must contain.
    """

    after: int = 0
    text: str = ""


class Drop(FrameEvent, frozen=True, kw_only=True):
    """A frame is missing."""


class Duplicate(FrameEvent, frozen=True, kw_only=True):
    """A frame arrives twice."""


class Reorder(FrameEvent, frozen=True, kw_only=True):
    """A frame arrives after the next one that contains `text`."""


class Half(FrameEvent, frozen=True, kw_only=True):
    """The connection ends in the middle of a frame."""

    how: How = How.RST


class Corrupt(FrameEvent, frozen=True, kw_only=True):
    """A frame breaks a rule of the RFC."""

    what: Corruption = Corruption.OPCODE


KINDS: tuple[type[Fault], ...] = (
    Latency, Throttle, Stall, Blackhole, Cut, Hole, Refuse, Accept, Drop, Duplicate, Reorder, Half, Corrupt,
)  # fmt: skip
AnyFault = (
    Latency | Throttle | Stall | Blackhole | Cut | Hole | Refuse | Accept
    | Drop | Duplicate | Reorder | Half | Corrupt
)  # fmt: skip


def parse(words: str) -> Fault:
    """``kind`` or ``kind:key=value,key=value``, as on the command line.

    Raises:
        FaultError: what is wrong, and what is allowed.
    """
    kind, _, rest = words.strip().partition(":")
    pairs = dict(pair.partition("=")[::2] for pair in rest.split(",") if pair)
    known = {one.__name__.lower(): one for one in KINDS}
    if kind not in known:
        raise FaultError(f"no fault {kind!r}; there are: {', '.join(known)}")
    try:
        return msgspec.convert({"kind": kind, **pairs}, known[kind], strict=False)
    except msgspec.ValidationError as error:
        fields = ", ".join(known[kind].__struct_fields__)
        raise FaultError(f"{kind}: {error}; its keys: {fields}") from None


class Standing:
    """An order in force. `used`: how often it struck."""

    def __init__(self, fault: Fault, number: int, now: float) -> None:
        self.fault = fault
        self.number = number
        self.until = now + fault.lasts
        self.left = fault.count if isinstance(fault, Event) else -1
        self.used = 0

    def __repr__(self) -> str:
        return f"<{self.fault} used={self.used}>"


F = TypeVar("F", bound=Fault)


class Orders:
    """The orders in force, in the order in which they were given, and how often each kind has struck."""

    def __init__(self) -> None:
        self._standing: list[Standing] = []
        self._number = 0
        self.used: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"<Orders {[one.fault.kind for one in self._standing]} used={dict(self.used)}>"

    def __len__(self) -> int:
        return len(self._standing)

    def add(self, fault: Fault, now: float) -> Standing:
        """Give an order.

        Raises:
            FaultError: it would never end, or never begin.
        """
        if not 0 < fault.lasts <= MAX_LASTS:
            raise FaultError(f"lasts={fault.lasts:g}: above 0 and at most {MAX_LASTS:g} seconds")
        if isinstance(fault, Event) and fault.count < 1:
            raise FaultError(f"count={fault.count}: at least 1")
        self._number += 1
        self._standing.append(Standing(fault, self._number, now))
        return self._standing[-1]

    def clear(self) -> None:
        """No order is in force any more."""
        self._standing.clear()

    def matching(
        self, kind: type[F], connection: int, direction: Direction, now: float
    ) -> Iterator[tuple[Standing, F]]:
        """The orders of a kind for one connection and direction; those that are over are forgotten."""
        if not self._standing:
            return
        self._standing = [one for one in self._standing if now < one.until]
        for one in tuple(self._standing):
            fault = one.fault
            if (
                isinstance(fault, kind)
                and fault.connection in (0, connection)
                and fault.direction.covers(direction)
            ):
                yield one, fault

    def strike(self, one: Standing) -> None:
        """It has been applied once more."""
        one.used += 1
        self.used[one.fault.kind] += 1
        if one.left > 0:
            one.left -= 1
            if one.left == 0 and one in self._standing:
                self._standing.remove(one)
