"""Every file and folder that a page names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.test_tables import ROOT, pages

ROOMS = ["bench", "config", "docs", "engine", "examples", "shm", "tests", "tickring", "tools", "workers"]
PATH = re.compile(rf"`((?:{'|'.join(ROOMS)})/[\w./-]+)`")


COMING = re.compile(r"^Where the coming things will live: .*?\n\n", re.M | re.S)


def missing(text: str) -> list[str]:
    """The paths that it names and that are not there; those of the toy venue are made by its reader."""
    text = COMING.sub("", text)
    return [path for path in PATH.findall(text) if "toyex" not in path and not (ROOT / path).exists()]


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_the_files_named_are_there(page: Path) -> None:
    assert missing(page.read_text()) == []


def test_one_that_is_not_there_is_seen() -> None:
    assert missing("`shm/layout.py`, `workers/no_such.py`, `shm/`") == ["workers/no_such.py"]
