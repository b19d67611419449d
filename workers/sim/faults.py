"""Faults on command: how venues, proxies and networks misbehave.

A `Fault` is pending until it has been applied `count` times (None: until it is cleared). Faults of frames
select streams by shell pattern, and are applied in the order in which they were added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import NamedTuple

import msgspec

BOOK = ("gap", "crossed", "bad_checksum", "repeat_price")
"""Faults that apply only to frames that change a book."""
OPTIONAL = ("bad_checksum", "repeat_price")
"""Faults that only some dialects have (`dialect.Dialect.faults`)."""
FRAME = ("drop", "duplicate", "reorder", "delay", "malformed", "oversized", "silent", *BOOK)
CONNECTION = ("half_open", "reset", "shutdown")
"""Faults that take effect at once, on all open connections."""
TEAR = ("reset_frame", "reset_handshake")
REST = ("rest", "stale_snapshot")
KINDS = tuple(kind for kind in FRAME + CONNECTION + TEAR + REST if kind not in OPTIONAL)
"""The faults of every simulated venue; a dialect may add others (`dialect.Dialect.faults`)."""


class StreamInfo(NamedTuple):
    """The symbol of a stream, and whether it carries book changes.

    Attributes:
        symbol, venue_symbol: canonical and in the venue's spelling; both empty when the stream has none.
        book: whether its frames change a book; False for partial books, which are sent whole each time.
    """

    symbol: str = ""
    venue_symbol: str = ""
    book: bool = False


class FaultError(ValueError):
    """The fault is not possible; the message says what is allowed."""


class Fault(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One fault to be applied.

    Attributes:
        kind: one of `KINDS`, or one of the dialect's own.
        stream: shell pattern of stream names (``btcusdt@*``); empty: every stream.
        symbol: every stream of this symbol, in canonical or the venue's spelling; empty: every symbol.
        count: how often it is applied; None: until it is cleared.
        after: how many matching frames or requests pass before the first.
        seconds: how long ``delay`` holds a frame back.
        size: bytes of an ``oversized`` message.
        status: HTTP status of ``rest``.
        path: shell pattern of the REST paths that ``rest`` applies to.
        retry_after: seconds in the ``Retry-After`` header of ``rest``; 0: no header.
        id: assigned by `Faults.add`.
    """

    kind: str
    stream: str = ""
    symbol: str = ""
    count: int | None = 1
    after: int = 0
    seconds: float = 0.1
    size: int = 8_388_608
    status: int = 503
    path: str = "*"
    retry_after: int = 0
    id: int = 0

    def matches(self, stream: str, info: StreamInfo = StreamInfo()) -> bool:  # noqa: B008 (immutable)
        """Whether the fault applies to this stream."""
        if self.symbol and self.symbol.upper() not in (info.symbol.upper(), info.venue_symbol.upper()):
            return False
        if self.kind in BOOK and not info.book:
            return False
        return not self.stream or fnmatchcase(stream, self.stream)


class Faults:
    """The pending faults of a venue.

    Attributes:
        kinds: the kinds that this venue has.
        used: how often faults of each kind have been applied.
        on_connection_fault: called with the kind of a fault in `CONNECTION`; assigned by the hub.

    Args:
        extra: kinds beyond `KINDS` that this venue has.
    """

    def __init__(self, extra: Iterable[str] = ()) -> None:
        self.kinds = (*KINDS, *extra)
        self._pending: list[Fault] = []
        self._next = 1
        self.used: dict[str, int] = {}
        self.on_connection_fault: Callable[[str], None] = lambda kind: None

    def __repr__(self) -> str:
        return f"<Faults {[fault.kind for fault in self._pending]} used={self.used}>"

    @property
    def active(self) -> bool:
        """Whether any fault is pending; cheap, to be tested before `take`."""
        return bool(self._pending)

    @property
    def pending(self) -> list[Fault]:
        """The pending faults (a copy)."""
        return list(self._pending)

    def add(self, fault: Fault) -> Fault:
        """Add a fault; one of a kind in `CONNECTION` takes effect at once.

        Raises:
            FaultError: an unknown kind, or a count below 1.
        """
        if fault.kind not in self.kinds:
            raise FaultError(f"unknown fault {fault.kind!r}; allowed: {', '.join(self.kinds)}")
        if fault.count is not None and fault.count < 1:
            raise FaultError(f"count must be at least 1, not {fault.count}")
        fault.id, self._next = self._next, self._next + 1
        if fault.kind in CONNECTION:
            self.used[fault.kind] = self.used.get(fault.kind, 0) + 1
            self.on_connection_fault(fault.kind)
        else:
            self._pending.append(fault)
        return fault

    def clear(self) -> None:
        """Remove all pending faults."""
        self._pending.clear()

    def take(
        self,
        kinds: tuple[str, ...],
        stream: str = "",
        path: str = "",
        info: StreamInfo = StreamInfo(),  # noqa: B008 (immutable)
        fits: Callable[[Fault], bool] | None = None,
    ) -> Fault | None:
        """The first pending fault that matches, counted as applied; None when none does.

        Args:
            kinds: the kinds to look for.
            stream, info: the stream in question, if any, and what it carries.
            path: the REST path in question, if any.
            fits: a last check whether the fault can be applied here; if not, it stays pending.
        """
        for fault in self._pending:
            if fault.kind not in kinds or (path and not fnmatchcase(path, fault.path)):
                continue
            if (stream or info.symbol) and not fault.matches(stream, info):
                continue
            if fits is not None and not fits(fault):
                continue
            if fault.after > 0:
                fault.after -= 1
                continue
            self.used[fault.kind] = self.used.get(fault.kind, 0) + 1
            if fault.count is not None:
                fault.count -= 1
                if fault.count == 0:
                    self._pending.remove(fault)
            return fault
        return None

    # One method per kind, for tests in the same process; `count` and `after` are those of `Fault`.

    def drop(self, stream: str = "", symbol: str = "", count: int | None = 1, after: int = 0) -> Fault:
        """Frames are not sent."""
        return self.add(Fault("drop", stream, symbol, count, after))

    def duplicate(self, stream: str = "", symbol: str = "", count: int | None = 1, after: int = 0) -> Fault:
        """Frames are sent twice."""
        return self.add(Fault("duplicate", stream, symbol, count, after))

    def reorder(self, stream: str = "", symbol: str = "", count: int | None = 1, after: int = 0) -> Fault:
        """A frame is sent after the next one of its stream."""
        return self.add(Fault("reorder", stream, symbol, count, after))

    def delay(
        self, seconds: float, stream: str = "", symbol: str = "", count: int | None = 1, after: int = 0
    ) -> Fault:
        """Frames are sent `seconds` late, and so after younger ones."""
        return self.add(Fault("delay", stream, symbol, count, after, seconds))

    def malformed(self, stream: str = "", symbol: str = "", count: int | None = 1, after: int = 0) -> Fault:
        """Frames are cut in the middle of their payload."""
        return self.add(Fault("malformed", stream, symbol, count, after))

    def oversized(
        self, size: int = 8_388_608, stream: str = "", symbol: str = "", count: int | None = 1
    ) -> Fault:
        """A message of `size` bytes is sent before a frame."""
        return self.add(Fault("oversized", stream, symbol, count, size=size))

    def crossed(self, symbol: str = "", count: int | None = 1) -> Fault:
        """A book update puts the best bid above the best ask."""
        return self.add(Fault("crossed", "", symbol, count))

    def gap(self, symbol: str = "", count: int | None = 1, after: int = 0) -> Fault:
        """Book updates are not sent, so that update ids are missing before the next one."""
        return self.add(Fault("gap", "", symbol, count, after))

    def bad_checksum(self, symbol: str = "", count: int | None = 1, after: int = 0) -> Fault:
        """A book update has a wrong checksum."""
        return self.add(Fault("bad_checksum", "", symbol, count, after))

    def repeat_price(self, symbol: str = "", count: int | None = 1, after: int = 0) -> Fault:
        """A book update contains a price twice; the second size is the right one."""
        return self.add(Fault("repeat_price", "", symbol, count, after))

    def silent(self, symbol: str = "", stream: str = "") -> Fault:
        """Nothing of the streams is sent until the faults are cleared; subscriptions are acknowledged."""
        return self.add(Fault("silent", stream, symbol, None))

    def half_open(self) -> Fault:
        """Open connections neither send nor read any more; their sockets stay open."""
        return self.add(Fault("half_open"))

    def reset(self) -> Fault:
        """All open connections end with RST."""
        return self.add(Fault("reset"))

    def reset_frame(self, stream: str = "", count: int | None = 1) -> Fault:
        """RST in the middle of the next matching frame, on all connections that get it."""
        return self.add(Fault("reset_frame", stream, "", count))

    def reset_handshake(self, count: int | None = 1) -> Fault:
        """RST in the middle of the answer to a WebSocket handshake."""
        return self.add(Fault("reset_handshake", count=count))

    def shutdown(self) -> Fault:
        """A planned disconnect: open connections get the venue's notice (`serverShutdown`), then close."""
        return self.add(Fault("shutdown"))

    def rest(self, status: int = 503, path: str = "*", count: int | None = 1, retry_after: int = 0) -> Fault:
        """REST requests are answered with this status; 429 and 418 with the venue's own error body."""
        return self.add(Fault("rest", count=count, status=status, path=path, retry_after=retry_after))

    def stale_snapshot(self, symbol: str = "", count: int | None = 1) -> Fault:
        """Depth requests are answered with a book that is older than all changes in the stream."""
        return self.add(Fault("stale_snapshot", "", symbol, count))
