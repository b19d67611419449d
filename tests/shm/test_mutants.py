"""Each protection of the protocol is there for a reason: without it, the suite sees a forbidden outcome."""

from __future__ import annotations

import re

import pytest
import stress_suite as suite

# The mutants that the design asks for by name, plus one for each protection that came with the code.
ASKED = {
    "NO_PRE_INVALIDATE",
    "NO_RECHECK",
    "CELL_BEGIN",
    "SHORT_SCAN",
    "ZERO_IS_LAPPED",
    "HEAD_FIRST",
    "NO_RING_SEQ",
    "NO_EPOCH_CHECK",
    "NO_EPOCH",
}


@pytest.mark.parametrize("mutant", suite.STEP_MUTANTS, ids=lambda mutant: mutant.macro)
def test_mutant_is_caught(mutant: suite.Mutant) -> None:
    """In every run: the interleavings are visited one by one."""
    answer = suite.run(suite.compiled(mutant.program, mutant.macro), mutant.options)
    assert answer["forbidden"][mutant.outcome] > 0
    assert answer["status"] == 3


def test_same_runs_without_mutation_are_clean() -> None:
    """The other half of the claim: `test_protocol_steps` runs these scenarios on the unchanged header."""
    scenarios = {mutant.options[0] for mutant in suite.STEP_MUTANTS}
    assert scenarios == {case.ci[0] for case in suite.RUNS if case.program == "steps"}


def test_every_mutant_of_the_header_is_tried() -> None:
    """A macro in atomics.h that nothing tries would be a protection that nothing tests."""
    header = (suite.ROOT / "shm" / "atomics.h").read_text()
    macros = set(re.findall(r"defined\(TR_MUTANT_(\w+)\)", header))
    tried = {mutant.macro for mutant in suite.STEP_MUTANTS}
    # The first is ThreadSanitizer's control, the second needs a store buffer: the model wait.pml, NO_W6.
    assert macros == tried | {"PLAIN_PAYLOAD", "NO_WAKE_FENCE"}
    assert tried >= ASKED
