"""Ready, defined once: the rules of `shm.readiness`, one by one."""

from __future__ import annotations

import pytest

from shm.channels import Delivery
from shm.layout import InstrumentStatus, Reason, State
from shm.readiness import Cell, Subject, Topic, Verdict, judge

LIVE = Cell(State.LIVE)
ACTIVE, HALTED = InstrumentStatus.ACTIVE, InstrumentStatus.HALTED
OWED, QUIET, LATE = Delivery(1.0, 30.0), Delivery(1e6, None), Delivery(31.0, 30.0)


def one(
    cell: Cell, delivery: Delivery | None = None, status: InstrumentStatus = ACTIVE, channel: str = "top"
) -> Verdict:
    return judge([Subject("A/B", status, {channel: cell}, {channel: delivery} if delivery else {})])


def test_everything_live() -> None:
    verdict = judge([Subject(symbol, ACTIVE, {"top": LIVE, "book": LIVE}) for symbol in ("A/B", "C/D")])
    assert (verdict.live, verdict.ready(), verdict.ready("all")) == (4, True, True)


def test_no_instrument_is_ready() -> None:
    assert judge([]).ready("all")


@pytest.mark.parametrize("delivery", [OWED, QUIET])
@pytest.mark.parametrize(
    "cell", [Cell(State.RESYNC, Reason.CONNECTING), Cell(State.DOWN, Reason.DISCONNECTED)]
)
def test_acknowledged_and_nothing_overdue_waits(cell: Cell, delivery: Delivery) -> None:
    verdict = one(cell, delivery)
    assert (verdict.ready(), verdict.live, verdict.waiting) == (True, 0, [Topic("A/B", "top")])


@pytest.mark.parametrize(
    ("cell", "delivery"),
    [
        (Cell(State.RESYNC, Reason.CONNECTING), None),  # not acknowledged
        (Cell(State.RESYNC, Reason.CONNECTING), LATE),
        (Cell(State.STALE, Reason.SILENT), OWED),
        (Cell(State.STALE, Reason.NONE), QUIET),
        (Cell(State.DOWN, Reason.UNSUBSCRIBED), QUIET),  # refused
    ],
)
def test_missing(cell: Cell, delivery: Delivery | None) -> None:
    verdict = one(cell, delivery)
    assert verdict.missing == {Topic("A/B", "top"): cell}
    assert not verdict.ready()
    assert not verdict.waiting


@pytest.mark.parametrize(
    "reason",
    [
        Reason.SNAPSHOT,
        Reason.GAP,
        Reason.CROSSED,
        Reason.CHECKSUM,
        Reason.AUDIT,
        Reason.PRECISION,
        Reason.MALFORMED,
        Reason.OUT_OF_WINDOW,
    ],
)
def test_a_book_that_is_rebuilt_is_not_excused_by_its_stream(reason: Reason) -> None:
    """Its updates flow, or owe nothing; its snapshot is missing all the same."""
    assert not one(Cell(State.RESYNC, reason), QUIET, channel="book").ready()


def test_a_reason_of_a_newer_writer_is_no_excuse() -> None:
    assert not one(Cell(State.RESYNC, Reason(99)), QUIET).ready()


def test_channel_without_a_cell_is_overdue() -> None:
    """Kind: of seven channels three owed a first event; what the others did not bring nobody noticed."""
    channels = {"trades": QUIET, "ticker": OWED, "mark": LATE}
    verdict = judge([Subject("A/B", ACTIVE, {"top": LIVE}, channels)])
    assert verdict.overdue == [Topic("A/B", "mark")]
    assert not verdict.ready()


def test_live_cell_has_a_proof_of_its_own() -> None:
    verdict = one(LIVE, LATE)
    assert (verdict.overdue, verdict.ready()) == ([], True)


def test_not_listed_is_named_and_counts_with_all() -> None:
    verdict = one(Cell(State.DOWN, Reason.NOT_LISTED), None, InstrumentStatus.NOT_LISTED)
    assert (verdict.not_listed, verdict.missing) == (["A/B"], {})
    assert (verdict.ready(), verdict.ready("all")) == (True, False)


def test_halted_may_be_live() -> None:
    verdict = one(LIVE, QUIET, HALTED)
    assert (verdict.live, verdict.halted) == (1, ["A/B"])
    assert (verdict.ready(), verdict.ready("all")) == (True, False)


def test_halted_owes_nothing() -> None:
    cell = Cell(State.STALE, Reason.SILENT)
    verdict = one(cell, LATE, HALTED)
    assert verdict.halted_missing == {Topic("A/B", "top"): cell}
    assert (verdict.missing, verdict.overdue, verdict.ready()) == ({}, [], True)


def test_superseded_slot_does_not_count() -> None:
    verdict = one(Cell(State.DOWN, Reason.PRECISION), None, InstrumentStatus.SUPERSEDED)
    assert verdict == Verdict()


def test_symbol_that_the_configuration_names_no_more_does_not_count() -> None:
    """Nor does one that was never listed: its alert says "take it out of `symbols`", and goes when it is."""
    gone = Cell(State.DOWN, Reason.UNSUBSCRIBED)
    for status in (HALTED, InstrumentStatus.NOT_LISTED):
        assert judge([Subject("A/B", status, {"top": gone, "book": gone})]) == Verdict()
    waits = Cell(State.DOWN, Reason.NOT_LISTED)
    assert judge([Subject("A/B", InstrumentStatus.NOT_LISTED, {"top": waits, "book": waits})]).not_listed == [
        "A/B"
    ]
    assert judge([Subject("A/B", InstrumentStatus.NOT_LISTED, {"top": Cell(State.DOWN)})]).not_listed == [
        "A/B"
    ]
    # A halted market of which one channel was refused is carried.
    assert judge([Subject("A/B", HALTED, {"top": gone, "book": LIVE})]).halted == ["A/B"]
    assert judge([Subject("A/B", HALTED, {"top": gone}, {"trades": QUIET})]).halted == ["A/B"]


def test_cell_that_the_feed_does_not_carry_does_not_count() -> None:
    verdict = judge([Subject("A/B", ACTIVE, {"top": LIVE, "book": Cell(State.DOWN)})])
    assert (verdict.live, verdict.missing, verdict.ready()) == (1, {}, True)
