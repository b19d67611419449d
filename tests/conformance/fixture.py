"""The form of `fixtures/<feed>.py`: the facts of a venue that the conformance suite needs.

A venue's author writes one module with ``FIXTURE = Fixture(...)`` and no tests. Every field is needed; where
a venue has no such thing the field is ``NotApplicable("why")``, and its text is shown in
`docs/conformance.md`. `problems` lists what a fixture lacks, and `test_fixtures.py` fails on it.

A fixture is the *independent* side of each comparison: it imports nothing of `workers.venues`, and of
`workers` otherwise only plain types such as `capture.reader.Row`. It uses plain `json`, `Decimal`, `struct`
and `zlib`.

After a change: ``python -m tests.conformance.table`` runs the suite and writes the table again.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol, TypeVar

from workers.books.sync import Snapshot
from workers.capture.reader import Row
from workers.decode.normal import Decoded, MessageFlag, MessageKind, Scale
from workers.venues.venue import Venue

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("TICKRING_SHARED") or ROOT.parent / "shared") / "captures"
OWN = ROOT / "tests" / "fixtures"

TextLevel = tuple[str, str]
"""(price, size) as the venue writes them."""
TROUBLES = ("gap", "duplicate", "reorder", "crossed", "checksum")
REFUSALS = ("refused", "blocked")
Kind = TypeVar("Kind")


@dataclass(frozen=True)
class NotApplicable:
    """The venue has no such thing; `why` is shown in the table."""

    why: str


@dataclass(frozen=True, kw_only=True)
class Book:
    """A book by an oracle: the best levels, best first.

    Attributes:
        symbol: the venue's.
        after: how many of the recording's incoming frames have been played by then; -1: all of them.
        update_id: the book's, or 0 where the oracle has none.
    """

    symbol: str
    bids: Sequence[TextLevel]
    asks: Sequence[TextLevel]
    after: int = -1
    update_id: int = 0


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A capture (format "capture v1", `workers.capture.reader`) with what it must decode to.

    Attributes:
        name: in the test's id.
        path: ``SHARED / feed / "session.jsonl.gz"``, or in `OWN` for one that we made or wrote.
        scales: rows -> venue symbol -> (price_exp, size_exp), of every symbol that shall be decoded; read
            from the capture's own listing where it has one.
        expected: (row of an incoming frame, scales) -> all events of this frame in normal form, decoded
            independently (see the module); None: not judged (acknowledgements, heartbeats, channels that are
            not used).
        judged: for how many frames `expected` gives a list; exact, so that none is left out unnoticed.
        native: of these, how many the native decoder must have taken itself; -1: all.
        snapshot: row of a REST answer -> (venue symbol, snapshot), or None. Each is applied at its place.
        limit: levels a side that those were requested with; 0: the whole book.
        books: -> the oracle's books, in the order of `Book.after`. May be empty for a capture without any.
        booked: how many that are; exact.
        tops: the top's update ids are the book's too: where two are equal, so must be the prices. How many
            such moments there are; 0: the ids are unrelated.
        keys: of `VenueConfig`, that this recording needs (an option such as checksum verification, depth).
    """

    name: str
    path: Path
    scales: Callable[[Sequence[Row]], Mapping[str, tuple[int, int]]]
    expected: Callable[[Row, Mapping[str, Scale]], list[Decoded] | None]
    judged: int
    native: int = -1
    snapshot: Callable[[Row], tuple[str, Snapshot] | None] = lambda row: None
    limit: int = 0
    books: Callable[[], Sequence[Book]] = lambda: ()
    booked: int = 0
    tops: int = 0
    keys: Mapping[str, Any]


@dataclass(frozen=True)
class Sample:
    """One frame as the venue sends it today, byte for byte, and its events (at `Fixture.scales`)."""

    frame: bytes
    forms: tuple[Decoded, ...]


class Wire(Protocol):
    """Writes frames of today's shape. Symbols are the venue's; levels are decimal texts with exactly the two
    decimals of price and three of size that the tests' instruments have; ids rise, times do not matter."""

    def top(self, symbol: str, update_id: int, bid: TextLevel, ask: TextLevel) -> bytes | None:
        """A top of book; None: the venue has none of its own, the top is the best of the book."""

    def begin(
        self, symbol: str, update_id: int, bids: Sequence[TextLevel], asks: Sequence[TextLevel]
    ) -> bytes | Snapshot:
        """A whole book, best first: the stream's snapshot frame, or what REST answers where it comes so."""

    def change(
        self,
        symbol: str,
        previous: int,
        update_id: int,
        bids: Sequence[TextLevel],
        asks: Sequence[TextLevel],
        after: tuple[Sequence[TextLevel], Sequence[TextLevel]],
    ) -> bytes:
        """A change of the book, from the state at update id `previous` to the one at `update_id`, levels in
        the order given. `after`: the book after it (bids, asks; best first), for a checksum."""


@dataclass(frozen=True)
class Trouble:
    """A defect of one symbol's book stream that the simulated venue can make.

    Attributes:
        kind: of `workers.sim.Fault`: ``drop``, ``duplicate``, ``reorder``, ``crossed``, ``bad_checksum``, or
            one that the venue's dialect has.
        heals: False: the book goes RESYNC and is rebuilt. True: the book is not affected, and stays LIVE (an
            event twice, where ids show it).
        counter: of the feed, that must rise by it: ``gaps`` where ids show it; "": none.
    """

    kind: str
    heals: bool = False
    counter: str = ""


@dataclass(frozen=True)
class Limited:
    """An answer that means "too many requests".

    Attributes:
        status, body, headers: as the venue answers.
        wait: seconds after it without a request: those of the answer, or where it has none, the usual ones.
    """

    status: int
    body: bytes
    headers: Mapping[str, str]
    wait: float


Named = tuple[str, dict[str, Any]]
"""The venue's name of an entry of its listing, and the entry as JSON."""


@dataclass(frozen=True)
class Listed:
    """The venue's listing, as REST answers it today.

    Attributes:
        body: (name, entry or what takes its place) of each -> the answer.
        entry: canonical symbol of `Fixture.symbols` -> an entry of it that trades.
        twins: a canonical symbol, its entry that must be chosen, and one of the same symbol that must not.
    """

    body: Callable[[Sequence[tuple[str, Any]]], bytes]
    entry: Callable[[str], Named]
    twins: tuple[str, Named, Named]


@dataclass(frozen=True, kw_only=True)
class Fixture:
    """A venue's facts.

    Attributes:
        feed: its name in the registry.
        symbols: three canonical symbols that the simulated venue lists by default or on demand.
        unknown: a canonical symbol that looks right and is not listed.
        venue_symbol: canonical -> the venue's spelling, for `symbols` and for made-up names such as
            ``D057/USDT`` (where they are in USD or swaps, as in `made_up`).
        made_up: 0..199 -> a made-up canonical symbol.
        channels: what the workers on the simulated venue subscribe; `top` and `book` at least.
        keys: of `VenueConfig`, for all workers and strategies of the tests (an option, a smaller depth).
        recordings: the real captures. own: those in `tests/fixtures`, which are always there.
        scales: venue symbol -> slot and exponents that `samples` are decoded at.
        samples: by channel, one at least for each of `MarketData.channels`, and ``"snapshot"`` where it is in
            the stream. Further ones may have any name (other shapes, several things in one frame).
        frames: further valid frames without normal form, as seeds for mutation: acknowledgements, pongs,
            errors, announcements.
        wire: see `Wire`.
        heartbeats: frames that only show that the connection is alive.
        troubles: by `TROUBLES`.
        accept: a client's text message -> the frames that the venue answers, each as (is binary, bytes):
            acknowledgements of a subscription, a pong; no data.
        refuse: by `REFUSALS`, as `accept`, but a subscription is turned down: with an error; silently or in
            an answer that looks like an acceptance.
        listing: see `Listed`.
        endpoint: a path of the venue's REST, and fine: a good answer's body.
        limited: by name ("429", "418", "code in a 200"), see `Limited`.
        renewable: the venue ends connections, and one can be replaced without a gap.
    """

    feed: str
    symbols: tuple[str, str, str]
    unknown: str
    venue_symbol: Callable[[str], str]
    made_up: Callable[[int], str] = lambda number: f"D{number:03d}/USDT"
    channels: tuple[str, ...]
    keys: Mapping[str, Any]
    recordings: Sequence[Recording]
    own: Sequence[Recording]
    scales: Mapping[str, Scale]
    samples: Mapping[str, Sample]
    frames: Sequence[bytes]
    wire: Wire
    heartbeats: Sequence[bytes] | NotApplicable
    troubles: Mapping[str, Trouble | NotApplicable]
    accept: Callable[[bytes], list[tuple[bool, bytes]]]
    refuse: Mapping[str, Callable[[bytes], list[tuple[bool, bytes]]] | NotApplicable]
    listing: Listed
    endpoint: str
    fine: bytes
    limited: Mapping[str, Limited | NotApplicable]
    renewable: bool | NotApplicable = True


class MissingFixture(Exception):
    """A venue of the registry without its fixture; the text has what to write."""


def load(feed: str) -> Fixture:
    """The fixture of a venue.

    Raises:
        MissingFixture: there is none.
    """
    name = f"tests.conformance.fixtures.{feed}"
    if importlib.util.find_spec(name) is None:
        raise MissingFixture(
            f"the venue {feed!r} has no tests/conformance/fixtures/{feed}.py: "
            "state its facts there (tests/conformance/fixture.py is the form), or it is not known to conform"
        )
    fixture = getattr(importlib.import_module(name), "FIXTURE", None)
    if not isinstance(fixture, Fixture):
        raise MissingFixture(f"tests/conformance/fixtures/{feed}.py has no FIXTURE of the form `Fixture`")
    return fixture


def problems(fixture: Fixture, venue: Venue) -> list[str]:
    """What a fixture lacks for this venue, one line each; empty: nothing."""
    found = []
    if fixture.feed != venue.name:
        found.append(f"feed is {fixture.feed!r}, the venue is {venue.name!r}")
    if not {"top", "book"} <= set(fixture.channels) <= venue.data.channels:
        found.append(
            f"channels {fixture.channels} are not top, book and others of {sorted(venue.data.channels)}"
        )
    needed = set(venue.data.channels) | ({"snapshot"} if venue.books.snapshot is None else set())
    found += [f"samples: none for {name!r}" for name in sorted(needed - set(fixture.samples))]
    for name, stated, wanted in (
        ("troubles", fixture.troubles, TROUBLES),
        ("refuse", fixture.refuse, REFUSALS),
    ):
        found += [f"{name}: {one!r} is missing" for one in wanted if one not in stated]
    if not fixture.own:
        found.append("own: no recording that is always there")
    if not fixture.recordings:
        found.append("recordings: no real capture")
    if not any(isinstance(each, Limited) for each in fixture.limited.values()):
        found.append("limited: no answer for too many requests")
    if not fixture.frames:
        found.append("frames: no acknowledgement, pong or error to mutate")
    for recording in (*fixture.recordings, *fixture.own):
        if recording.judged < 1:
            found.append(f"recording {recording.name!r}: no frame is judged")
    for recording in fixture.own:
        if not recording.path.is_relative_to(OWN) or not recording.path.exists():
            found.append(f"own recording {recording.name!r}: {recording.path} is not in tests/fixtures")
    if not any(recording.booked for recording in (*fixture.recordings, *fixture.own)):
        found.append("no recording has an oracle's book")
    return found


# -- for the independent readings ---------------------------------------------------------------------------
def mantissa(text: str, exponent: int) -> int:
    """A decimal text as an integer at an exponent; ValueError when it does not fit exactly."""
    scaled = Decimal(text).scaleb(exponent)
    if scaled != scaled.to_integral_value():
        raise ValueError(f"{text} has more than {exponent} decimals")
    return int(scaled)


def mark_mantissa(text: str, scale: Scale) -> int:
    """Of a mark, index or liquidation price; `shm/README.md`, "Record", has the exponent."""
    return mantissa(text, min(18, max(8, scale.price_exp + 2)))


def mantissas(levels: Sequence[Sequence[str]], scale: Scale) -> tuple[tuple[int, int], ...]:
    """Levels of (price, size, ...) texts, in their order."""
    return tuple((mantissa(row[0], scale.price_exp), mantissa(row[1], scale.size_exp)) for row in levels)


def padded(*values: int) -> tuple[int, ...]:
    """Of a message: its numbers, zeros behind."""
    return (*values, *[0] * (8 - len(values)))


def lacks(*absent: int) -> int:
    """The flags of a ticker of whose numbers these are absent."""
    return sum(int(MessageFlag.ABSENT) << word for word in absent)


def decimals(text: str) -> int:
    """Decimals that a tick or lot such as ``0.01000000`` needs."""
    return max(0, -int(Decimal(text).normalize().as_tuple().exponent))


SNAPSHOT, CHECKED = int(MessageFlag.SNAPSHOT), int(MessageFlag.CHECKED)
TOP, DEPTH, TRADE, TICKER = MessageKind.TOP, MessageKind.DEPTH, MessageKind.TRADE, MessageKind.TICKER
MARK, LIQUIDATION = MessageKind.MARK, MessageKind.LIQUIDATION
