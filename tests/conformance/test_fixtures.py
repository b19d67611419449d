"""Every venue of the registry states its facts, or this fails."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
from pathlib import Path

import pytest

from tests.conformance import fixture as form
from tests.conformance.fixture import MissingFixture, NotApplicable, load, problems
from workers.venues import venue as venues

FOREIGN = ("workers.venues", "workers.sim")


@pytest.mark.parametrize("feed", venues.names())
def test_a_venue_states_its_facts(feed: str) -> None:
    assert problems(load(feed), venues.load(feed)) == []


@pytest.mark.parametrize("feed", venues.names())
def test_what_it_says_is_an_independent_reading(feed: str) -> None:
    """A comparison of the venue's code with itself would prove nothing."""
    module = importlib.util.find_spec(f"tests.conformance.fixtures.{feed}")
    assert module is not None
    assert module.origin is not None
    assert borrowed(Path(module.origin).read_text()) == []


def borrowed(source: str) -> list[str]:
    """Imports of what is to be judged, or of the venue that it is played against."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        found += [name for name in names if name.startswith(FOREIGN) and name != "workers.capture.reader"]
    return found


def test_a_borrowed_reading_is_noticed() -> None:
    """Negative control."""
    assert borrowed("from workers.venues.kraken.parser import normalise") == ["workers.venues.kraken.parser"]
    assert borrowed("def f():\n    import workers.sim.kraken.protocol") == ["workers.sim.kraken.protocol"]
    assert borrowed("from workers.capture.reader import Row\nimport json") == []


def test_a_venue_without_a_fixture_fails() -> None:
    """Negative control: the name of a made-up venue goes the same way as those of the registry."""
    with pytest.raises(MissingFixture, match=r"tests/conformance/fixtures/toyex\.py"):
        load("toyex")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"feed": "toyex"}, "feed is 'toyex'"),
        ({"samples": {}}, "samples: none for 'top'"),
        ({"troubles": {"gap": NotApplicable("so")}}, "troubles: 'crossed' is missing"),
        ({"refuse": {}}, "refuse: 'blocked' is missing"),
        ({"own": ()}, "own: no recording"),
        ({"recordings": (), "own": ()}, "no recording has an oracle's book"),
        ({"limited": {"429": NotApplicable("so")}}, "limited: no answer"),
        ({"frames": ()}, "frames: no acknowledgement"),
        ({"channels": ("top",)}, "channels"),
    ],
)
def test_a_fact_that_is_missing_is_named(changes: dict[str, object], words: str) -> None:
    """Negative control of `problems`."""
    whole = load("binance_spot")
    assert any(
        words in line for line in problems(dataclasses.replace(whole, **changes), venues.load("binance_spot"))
    )


def test_a_module_without_a_fixture_is_no_fixture(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.conformance.fixtures import binance_spot

    monkeypatch.setattr(binance_spot, "FIXTURE", None)
    with pytest.raises(form.MissingFixture, match="has no FIXTURE"):
        load("binance_spot")
