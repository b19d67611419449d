"""Every interleaving of a writer (that may die anywhere) and a reader, within a bound of preemptions; and the
fuzzers in two processes at CI size. `make stress` runs the same at full size."""

from __future__ import annotations

import pytest
import stress_suite as suite

HERE = [case for case in suite.RUNS if case.program != "kill"]


@pytest.mark.parametrize("case", HERE, ids=lambda case: case.name)
def test_no_forbidden_outcome(case: suite.Run) -> None:
    answer = suite.run(suite.compiled(case.program), case.ci)
    assert not suite.forbidden(answer), answer["trace"]
    assert not suite.missing_evidence(case, answer), answer
