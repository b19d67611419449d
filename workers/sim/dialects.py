"""The registry of dialects: every folder here with a module ``dialect``. They are imported on first use."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from workers.sim.dialect import Dialect

FEEDS: tuple[str, ...] = tuple(
    sorted(path.parent.name for path in Path(__file__).parent.glob("*/dialect.py"))
)
"""The feeds that can be simulated."""


def dialect(feed: str) -> Dialect:
    """The dialect of a feed.

    Raises:
        LookupError: there is none; the message names the feeds that there are.
    """
    if feed not in FEEDS:
        raise LookupError(f"unknown feed {feed!r}; the simulated venue speaks: {', '.join(FEEDS)}")
    found = import_module(f"workers.sim.{feed}.dialect").DIALECT
    assert isinstance(found, Dialect)
    return found
