"""The table in the documents is what this run has found."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conformance.report import COMMAND, DOCUMENT, RESULTS, Results, Row, render
from workers.venues import venue as venues

WRITE = "TICKRING_WRITE_CONFORMANCE"


def test_the_document_is_what_the_run_has_found() -> None:
    """Last of the suite. Skipped when only a part of it ran, when a check failed (which fails there), or when
    the real captures are missing: then there is no whole table to compare."""
    feeds = venues.names()
    if RESULTS.absent:
        pytest.skip("the real captures are not on this machine: the table cannot be made without them")
    if missing := RESULTS.missing(feeds, list(RESULTS.cells)):
        pytest.skip(f"not every check has run, or passed: {', '.join(missing[:3])}")
    if len(RESULTS.cells) < 20:
        pytest.skip("only a part of the suite has run")
    made = render(RESULTS.cells, feeds)
    if place := os.environ.get(WRITE):
        Path(place).write_text(made)
        return
    assert DOCUMENT.read_text() == made, f"{DOCUMENT.name} is out of date; make it again: {COMMAND}"


# -- negative controls --------------------------------------------------------------------------------------
def test_a_check_that_fails_or_is_missing_leaves_no_tick() -> None:
    one, other = Row(1, "first"), Row(2, "second")
    results = Results()
    for each in (one, other):
        results.expect(each, "toyex")
    results.passed(one, "toyex", "3/3")
    assert results.missing(["toyex"], [one, other]) == ["second (toyex)"]
    results.skipped(other, "toyex", "not applicable: no checksum")
    assert results.missing(["toyex"], [one, other]) == []
    assert results.missing(["toyex", "other"], [one]) == ["first (other)"]
    assert render(results.cells, ["toyex"]).endswith(
        "| # | check | toyex |\n|---|---|---|\n| 1 | first | ✓ 3/3 |\n| 2 | second | – no checksum |\n"
    )


def test_a_skip_for_any_other_reason_is_no_result() -> None:
    results = Results()
    results.expect(Row(1, "first"), "toyex")
    results.skipped(Row(1, "first"), "toyex", "too slow today")
    assert results.missing(["toyex"], [Row(1, "first")]) == ["first (toyex)"]
