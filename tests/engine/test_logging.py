"""The engine's log lines."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from engine.logging import configure


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(style: str, level: str = "info") -> list[str]:
    stream = io.StringIO()
    configure(level, style, stream)
    log = logging.getLogger("engine")
    log.info("worker started", extra={"feed": "binance_spot", "pid": 7, "cpu": 0, "restarts": None})
    log.warning("two\nlines")
    try:
        raise ValueError("why")
    except ValueError:
        log.exception("broken")
    return stream.getvalue().splitlines()


@pytest.mark.parametrize("style", ["json", "auto"])
def test_json_is_one_object_a_line(style: str) -> None:
    first, second, third = map(json.loads, lines(style))
    assert first.pop("time").endswith("Z")
    assert first == {
        "level": "info",
        "logger": "engine",
        "message": "worker started",
        "feed": "binance_spot",
        "pid": 7,
        "cpu": 0,
    }
    assert second["message"] == "two\nlines"
    assert "ValueError: why" in third["exception"]


def test_text_is_for_people() -> None:
    first = lines("text")[0]
    assert first[13:] == "info    binance_spot: worker started pid=7 cpu=0"


def test_the_level_holds() -> None:
    assert len(lines("json", "warning")) == 2
