"""The examples in the docstrings hold."""

from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize(
    "name",
    [
        "engine.views.board",
        "engine.views.catalogue",
        "engine.demo",
        "engine.settings.problems",
        "engine.supervision.supervisor",
        "engine.views.views",
    ],
)
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
