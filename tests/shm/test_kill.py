"""SIGKILL of the writer at random instants under one reader that keeps its mapping (I1, I2, I3, I5, I6)."""

from __future__ import annotations

import pytest
import stress_suite as suite

CASE = next(case for case in suite.RUNS if case.program == "kill")


def test_five_thousand_kills() -> None:
    answer = suite.run(suite.compiled("kill"), CASE.ci)
    assert answer["amount"] >= 5000
    assert not suite.forbidden(answer)
    # Kills that all fell between two updates would prove nothing.
    assert not suite.missing_evidence(CASE, answer), answer


@pytest.mark.parametrize(
    ("macro", "outcome"),
    [("SHORT_SCAN", "sequence re-used with other content"), ("REPAIR", "torn cell accepted")],
)
def test_what_a_careless_successor_would_do_is_seen(macro: str, outcome: str) -> None:
    """Negative control: readers accept what must never be accepted once the take-over is less careful."""
    answer = suite.run(suite.compiled("kill", macro), ("--kills=1500",))
    assert answer["forbidden"][outcome] > 0
