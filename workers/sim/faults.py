"""Faults on command: what a venue, a proxy or a network does on its bad days.

Each order is one `Fault`; it is used up after `count` uses (None: until cleared). Orders about frames
match a stream by shell pattern and are taken in the order in which they were given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import NamedTuple

import msgspec

BOOK = ("gap", "crossed", "bad_checksum", "repeat_price")
"""About frames that change a book, and no others."""
OPTIONAL = ("bad_checksum", "repeat_price")
"""Only where the venue's dialect says that it has them."""
FRAME = ("drop", "duplicate", "reorder", "delay", "malformed", "oversized", "silent", *BOOK)
CONNECTION = ("half_open", "reset", "shutdown")
"""Strike at once, at every connection that is open."""
TEAR = ("reset_frame", "reset_handshake")
REST = ("rest", "stale_snapshot")
KINDS = tuple(kind for kind in FRAME + CONNECTION + TEAR + REST if kind not in OPTIONAL)
"""What every simulated venue has; a dialect adds its own (`dialect.Dialect.faults`)."""


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
    """An order that makes no sense; the message says what is allowed."""


class Fault(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One order.

    Attributes:
        kind: one of `KINDS`, or of the dialect's own.
        stream: shell pattern of stream names (``btcusdt@*``); empty is every stream.
        symbol: shorthand for every stream of one symbol, in the venue's or the canonical spelling.
        count: uses before it is gone; None is until cleared.
        after: matching uses to let pass first.
        seconds: how long `delay` holds a frame.
        size: bytes of an `oversized` message.
        status: HTTP status of a `rest` fault.
        path: shell pattern of the REST paths that `rest` hits.
        retry_after: seconds in the ``Retry-After`` header; 0 leaves it out.
        id: given by the venue.
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
        """Whether the order is about this stream."""
        if self.symbol and self.symbol.upper() not in (info.symbol.upper(), info.venue_symbol.upper()):
            return False
        if self.kind in BOOK and not info.book:
            return False
        return not self.stream or fnmatchcase(stream, self.stream)


class Faults:
    """The orders in force. `active` is False when there are none, so the clean path pays one test.

    Args:
        extra: kinds beyond `KINDS` that this venue has.
    """

    def __init__(self, extra: Iterable[str] = ()) -> None:
        self.kinds = (*KINDS, *extra)
        self._orders: list[Fault] = []
        self._next = 1
        self.used: dict[str, int] = {}
        self.on_connection_fault: Callable[[str], None] = lambda kind: None

    def __repr__(self) -> str:
        return f"<Faults {[order.kind for order in self._orders]} used={self.used}>"

    @property
    def active(self) -> bool:
        """Whether any order waits."""
        return bool(self._orders)

    @property
    def orders(self) -> list[Fault]:
        """The orders in force (a copy)."""
        return list(self._orders)

    def add(self, fault: Fault) -> Fault:
        """Give an order.

        Raises:
            FaultError: unknown kind or a count below 1.
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
            self._orders.append(fault)
        return fault

    def clear(self) -> None:
        """Forget every order."""
        self._orders.clear()

    def take(
        self,
        kinds: tuple[str, ...],
        stream: str = "",
        path: str = "",
        info: StreamInfo = StreamInfo(),  # noqa: B008 (immutable)
        fits: Callable[[Fault], bool] | None = None,
    ) -> Fault | None:
        """Use up one matching order; None when nothing matches.

        Args:
            kinds: the kinds asked for.
            stream, info: the stream in question, if any, and what it carries.
            path: the REST path in question, if any.
            fits: a last check whether the fault can be applied here; if not, it stays pending.
        """
        for order in self._orders:
            if order.kind not in kinds or (path and not fnmatchcase(path, order.path)):
                continue
            if (stream or info.symbol) and not order.matches(stream, info):
                continue
            if fits is not None and not fits(order):
                continue
            if order.after > 0:
                order.after -= 1
                continue
            self.used[order.kind] = self.used.get(order.kind, 0) + 1
            if order.count is not None:
                order.count -= 1
                if order.count == 0:
                    self._orders.remove(order)
            return order
        return None

    # One method a fault: the face that in-process tests use; `count` and `after` as in `Fault`.

    def drop(self, stream: str = "", symbol: str = "", count: int | None = 1, after: int = 0) -> Fault:
        """Frames never arrive."""
        return self.add(Fault("drop", stream, symbol, count, after))

    def duplicate(self, stream: str = "", symbol: str = "", count: int | None = 1, after: int = 0) -> Fault:
        """Frames arrive twice."""
        return self.add(Fault("duplicate", stream, symbol, count, after))

    def reorder(self, stream: str = "", symbol: str = "", count: int | None = 1, after: int = 0) -> Fault:
        """A frame arrives after the next one of its stream."""
        return self.add(Fault("reorder", stream, symbol, count, after))

    def delay(
        self, seconds: float, stream: str = "", symbol: str = "", count: int | None = 1, after: int = 0
    ) -> Fault:
        """Frames arrive late (and so behind younger ones)."""
        return self.add(Fault("delay", stream, symbol, count, after, seconds))

    def malformed(self, stream: str = "", symbol: str = "", count: int | None = 1, after: int = 0) -> Fault:
        """Frames whose JSON stops half way."""
        return self.add(Fault("malformed", stream, symbol, count, after))

    def oversized(
        self, size: int = 8_388_608, stream: str = "", symbol: str = "", count: int | None = 1
    ) -> Fault:
        """A message of `size` bytes goes before a frame."""
        return self.add(Fault("oversized", stream, symbol, count, size=size))

    def crossed(self, symbol: str = "", count: int | None = 1) -> Fault:
        """A depth update leaves the book's bid above its ask."""
        return self.add(Fault("crossed", "", symbol, count))

    def gap(self, symbol: str = "", count: int | None = 1, after: int = 0) -> Fault:
        """Depth updates of one symbol are lost: the next one's first id does not follow."""
        return self.add(Fault("gap", "", symbol, count, after))

    def bad_checksum(self, symbol: str = "", count: int | None = 1, after: int = 0) -> Fault:
        """A book's frame carries a checksum that is not the book's."""
        return self.add(Fault("bad_checksum", "", symbol, count, after))

    def repeat_price(self, symbol: str = "", count: int | None = 1, after: int = 0) -> Fault:
        """A book's frame names one price twice; the last word counts, and is the true one."""
        return self.add(Fault("repeat_price", "", symbol, count, after))

    def silent(self, symbol: str = "", stream: str = "") -> Fault:
        """Nothing of it is sent until the orders are cleared; subscriptions are acknowledged."""
        return self.add(Fault("silent", stream, symbol, None))

    def half_open(self) -> Fault:
        """Every connection open now goes deaf and dumb; the sockets stay."""
        return self.add(Fault("half_open"))

    def reset(self) -> Fault:
        """RST on every connection open now."""
        return self.add(Fault("reset"))

    def reset_frame(self, stream: str = "", count: int | None = 1) -> Fault:
        """RST in the middle of the next matching frame, on every connection that gets it."""
        return self.add(Fault("reset_frame", stream, "", count))

    def reset_handshake(self, count: int | None = 1) -> Fault:
        """RST in the middle of the upgrade's answer."""
        return self.add(Fault("reset_handshake", count=count))

    def shutdown(self) -> Fault:
        """The planned disconnect: a `serverShutdown` event, then the close, on connections open now."""
        return self.add(Fault("shutdown"))

    def rest(self, status: int = 503, path: str = "*", count: int | None = 1, retry_after: int = 0) -> Fault:
        """REST answers with this status (429 and 418 with the venue's own words)."""
        return self.add(Fault("rest", count=count, status=status, path=path, retry_after=retry_after))

    def stale_snapshot(self, symbol: str = "", count: int | None = 1) -> Fault:
        """Depth answers with a state older than anything that streams since."""
        return self.add(Fault("stale_snapshot", "", symbol, count))
