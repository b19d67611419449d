"""What a run of the suite found: one result a check and venue, and the table made of them.

A check is a test with `@row(number, title)` and a `case`; the title may name the test's other parameters in
braces. The number is its place in the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest

from tests.conformance.fixture import ROOT, Fixture, NotApplicable
from workers.venues.venue import Venue

DOCUMENT = ROOT / "docs" / "conformance.md"
COMMAND = ".venv/bin/python -m tests.conformance.table"
ABSENT = "the real captures are not on this machine"
Test = TypeVar("Test", bound=Callable[..., Any])
Fact = TypeVar("Fact")

HEAD = f"""# Conformance

What each venue has been shown to do. Every cell is a test of `tests/conformance`, which `make test` runs for
every venue of the registry; a venue without a fixture, or without a fact in it, fails. This file is made from
the results of that run, and compared with them by a test:

```console
$ {COMMAND}
```

✓: the test passes; figures are what it has compared, agreements / comparisons. –: not applicable, and why.
What a venue's author states for it is in `tests/conformance/fixtures/<venue>.py`.

"""


@dataclass
class Case:
    """One venue under test. `figure` is the test's result in the table, beside the tick."""

    fixture: Fixture
    venue: Venue
    figure: str = ""

    def fact(self, stated: Fact | NotApplicable) -> Fact:
        """What is stated; the test is not applicable where that is so."""
        if isinstance(stated, NotApplicable):
            pytest.skip(f"not applicable: {stated.why}")
        return stated


@dataclass(frozen=True)
class Row:
    """A check: its number in the table, and its title."""

    number: int
    title: str


def row(number: int, title: str) -> Callable[[Test], Test]:
    """Marks a test as a row of the table."""

    def mark(test: Test) -> Test:
        test.row = Row(number, title)  # type: ignore[attr-defined]
        return test

    return mark


@dataclass
class Results:
    """By row and venue; a cell is what stands in the table, None where the test failed or did not run."""

    cells: dict[Row, dict[str, str | None]] = field(default_factory=dict)
    absent: bool = False

    def expect(self, one: Row, feed: str) -> None:
        """The test is part of this run."""
        self.cells.setdefault(one, {})[feed] = None

    def passed(self, one: Row, feed: str, figure: str) -> None:
        self.cells[one][feed] = f"✓ {figure}".strip()

    def skipped(self, one: Row, feed: str, reason: str) -> None:
        if reason.startswith("not applicable: "):
            self.cells[one][feed] = f"– {reason.removeprefix('not applicable: ')}"
        elif reason == ABSENT:
            self.absent = True

    def missing(self, feeds: Sequence[str], titles: Sequence[Row]) -> list[str]:
        """Cells that this run has no result for."""
        return [
            f"{one.title} ({feed})"
            for one in titles
            for feed in feeds
            if self.cells.get(one, {}).get(feed) is None
        ]


def render(cells: Mapping[Row, Mapping[str, str | None]], feeds: Sequence[str]) -> str:
    """The document."""
    lines = [
        f"| # | check | {' | '.join(feeds)} |",
        "|---" * (len(feeds) + 2) + "|",
    ]
    for one in sorted(cells, key=lambda one: (one.number, one.title)):
        found = [cells[one].get(feed) or "" for feed in feeds]
        lines.append(f"| {one.number} | {one.title} | {' | '.join(found)} |")
    return HEAD + "\n".join(lines) + "\n"


RESULTS = Results()
