"""Every venue of the registry states its facts, or this fails."""

from __future__ import annotations

import dataclasses

import pytest

from tests.conformance import fixture as form
from tests.conformance.fixture import MissingFixture, NotApplicable, load, problems
from workers import venue as venues


@pytest.mark.parametrize("feed", venues.names())
def test_a_venue_states_its_facts(feed: str) -> None:
    assert problems(load(feed), venues.load(feed)) == []


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
