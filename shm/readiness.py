"""Ready, defined once: for the worker that stores a feed's state, for `/readyz`, status, metrics and alerts.

A cell's state says whether a market is *delivered*, an instrument's status whether it is *tradable*; neither
stands for the other, a HALTED instrument may be LIVE. Pure: values in, a `Verdict` out.

1. A cell that is LIVE is delivered, whatever its channel's expectation: its own proof is the better one.
2. A cell that has nothing yet and whose channel was acknowledged is *waiting* as long as nothing is overdue:
   until the first event is owed, or for ever where none is.
3. Every other cell that the feed carries is *missing*: not connected, refused, being rebuilt, or STALE. The
   stream's next event alone does not mend it, so no expectation of the stream excuses it.
4. A channel is *overdue* when its next event was owed and did not come, unless its cell is LIVE (1).
5. Ready is a feed of whose listed instruments no cell is missing and no channel is overdue.
6. NOT_LISTED and HALTED instruments owe nothing. They are named, and count only where `require` is "all".
7. A slot that is SUPERSEDED, and an instrument that the configuration does not name any more, do not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from shm.channels import CELLS, Delivery
from shm.layout import InstrumentStatus, Reason, State

Require = Literal["listed", "all"]
REQUIRE: tuple[Require, ...] = ("listed", "all")

# Why a cell has no value yet although its stream may be in order. All other reasons are about something that
# the stream's next event does not mend: a snapshot to be fetched, a refusal, a wrong book, a silence noticed.
_WAITS = frozenset(
    (
        Reason.NONE,
        Reason.START,
        Reason.CONNECTING,
        Reason.DISCONNECTED,
        Reason.SYNCED,
        Reason.FIRST_EVENT,
        Reason.FRESH,
    )
)


class Topic(NamedTuple):
    """One channel of one symbol."""

    symbol: str
    channel: str

    def __str__(self) -> str:
        return f"{self.symbol} {self.channel}"


class Cell(NamedTuple):
    """The state of a top or a book as readers take it, and why."""

    state: State
    reason: Reason = Reason.NONE

    @property
    def carried(self) -> bool:
        """Whether the feed publishes it, or should."""
        return self.state is not State.DOWN or self.reason is not Reason.NONE


class Subject(NamedTuple):
    """What is known of one instrument.

    Attributes:
        cells: by channel (``top``, ``book``); one that the feed does not carry may be there, DOWN(NONE).
        channels: what each subscribed and acknowledged channel delivered last and owes.
    """

    symbol: str
    status: InstrumentStatus
    cells: Mapping[str, Cell]
    channels: Mapping[str, Delivery] = {}

    @property
    def counts(self) -> bool:
        """Rule 7. What the configuration names no more is HALTED by the worker (NOT_LISTED where it was), and
        its cells are DOWN(UNSUBSCRIBED)."""
        if self.status not in (InstrumentStatus.HALTED, InstrumentStatus.NOT_LISTED):
            return self.status is not InstrumentStatus.SUPERSEDED
        carried = [cell for cell in self.cells.values() if cell.carried]
        gone = carried and all(
            cell.state is State.DOWN and cell.reason is Reason.UNSUBSCRIBED for cell in carried
        )
        return not (gone and not self.channels)


@dataclass(slots=True)
class Verdict:
    """What `judge` found.

    Attributes:
        live: cells that are LIVE, of all instruments that count.
        waiting: cells without a value whose channel owes nothing yet (rule 2).
        missing: cells of listed instruments that are not delivered (rule 3), and what they are.
        overdue: channels whose next event is late (rule 4).
        not_listed, halted: symbols.
        halted_missing: cells of HALTED instruments that are not LIVE: nothing is owed there.
    """

    live: int = 0
    waiting: list[Topic] = field(default_factory=list)
    missing: dict[Topic, Cell] = field(default_factory=dict)
    overdue: list[Topic] = field(default_factory=list)
    not_listed: list[str] = field(default_factory=list)
    halted: list[str] = field(default_factory=list)
    halted_missing: dict[Topic, Cell] = field(default_factory=dict)

    def ready(self, require: Require = "listed") -> bool:
        """Rules 5 and 6."""
        if self.missing or self.overdue:
            return False
        return require == "listed" or not (self.not_listed or self.halted)


def judge(instruments: Iterable[Subject]) -> Verdict:
    """The verdict on a feed's instruments; each symbol once, by the slot that carries it now."""
    verdict = Verdict()
    for subject in instruments:
        if not subject.counts:
            continue
        if subject.status is InstrumentStatus.NOT_LISTED:
            verdict.not_listed.append(subject.symbol)
            continue
        halted = subject.status is InstrumentStatus.HALTED
        if halted:
            verdict.halted.append(subject.symbol)
        for channel, cell in subject.cells.items():
            if cell.state is State.LIVE:
                verdict.live += 1
            elif not cell.carried:
                continue
            elif halted:
                verdict.halted_missing[Topic(subject.symbol, channel)] = cell
            elif _waits(cell, subject.channels.get(channel)):
                verdict.waiting.append(Topic(subject.symbol, channel))
            else:
                verdict.missing[Topic(subject.symbol, channel)] = cell
        if not halted:
            verdict.overdue += [
                Topic(subject.symbol, channel)
                for channel, delivery in subject.channels.items()
                if late(channel, delivery, subject.cells)
            ]
    return verdict


def late(channel: str, delivery: Delivery, cells: Mapping[str, Cell]) -> bool:
    """Rule 4, of one channel of an instrument that trades."""
    if not delivery.overdue:
        return False
    cell = cells.get(channel) if channel in CELLS else None
    return cell is None or cell.state is not State.LIVE


def _waits(cell: Cell, delivery: Delivery | None) -> bool:
    """Rule 2. A book of RESYNC waits for its snapshot, whoever sends that: see `_WAITS`."""
    if delivery is None or delivery.overdue or cell.state is State.STALE:
        return False
    return cell.reason in _WAITS
