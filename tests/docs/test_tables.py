"""Every table of every page is one: a row a line, as many cells as its head."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DELIMITER = re.compile(r"\|(?: *:?-+:? *\|)+\Z")


def pages() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    return [ROOT / name for name in listed] or sorted(ROOT.glob("[!.]*/**/*.md"))


def cells(row: str) -> int:
    """Of a line that begins with ``|``; one in code or behind a backslash parts nothing."""
    return len(re.sub(r"`[^`]*`|\\.", "", row).rstrip().removesuffix("|").split("|")) - 1


def broken(text: str) -> list[str]:
    """The lines that belong to a table, or should, and do not fit into it."""
    found, head, fenced = [], 0, False
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        fenced ^= line.lstrip().startswith("```")
        if fenced or not line.startswith("|"):
            # A table ends with an empty line: what follows a row at once is the rest of one.
            if head and line.strip() and not fenced:
                found.append(f"{number}: {line}")
            head = 0
            continue
        if not head:
            following = lines[number] if number < len(lines) else ""
            head = cells(line)
            if not DELIMITER.match(following):
                found.append(f"{number}: no head of a table: {line}")
        if not line.endswith("|") or cells(line) != head:
            found.append(f"{number}: {line}")
    return found


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_tables(page: Path) -> None:
    assert broken(page.read_text()) == []


WHOLE = "| a | b |\n|---|---|\n| 1 | `x|y` and \\| |\n| 2 | |\n\nText.\n"


@pytest.mark.parametrize(
    "text",
    [
        WHOLE.replace("\n| 2", " | 2"),
        WHOLE.replace("| 1 | `x", "| 1 |\n`x"),
        WHOLE.replace("|---|---|\n", ""),
        WHOLE.replace("| 2 | |", "| 2 |"),
    ],
)
def test_what_is_no_table_is_seen(text: str) -> None:
    """Negative control."""
    assert broken(WHOLE) == []
    assert broken(text)
