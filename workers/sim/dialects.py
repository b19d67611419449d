"""The dialects there are: every folder here with a module ``dialect`` is one. Loaded when asked for."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from workers.sim.dialect import Dialect

FEEDS: tuple[str, ...] = tuple(
    sorted(path.parent.name for path in Path(__file__).parent.glob("*/dialect.py"))
)
"""What can be simulated."""


def dialect(feed: str) -> Dialect:
    """One dialect.

    Raises:
        LookupError: there is none of this feed; the message says which there are.
    """
    if feed not in FEEDS:
        raise LookupError(f"unknown feed {feed!r}; the simulated venue speaks: {', '.join(FEEDS)}")
    found = import_module(f"workers.sim.{feed}.dialect").DIALECT
    assert isinstance(found, Dialect)
    return found
