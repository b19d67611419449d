"""The Spin models: all states of writer, crash, take-over and reader in a memory weaker than TSO.

0 errors, and an error for each of the models' own mutants."""

from __future__ import annotations

import shutil

import pytest
import stress_suite as suite

pytestmark = pytest.mark.skipif(not shutil.which("spin"), reason="spin is not installed (apt install spin)")

# What only a weak memory shows, and one of each kind; run.py tries all.
WEAK = {"NO_W2", "W4_RELAXED", "W5_RELAXED", "NO_R3", "R1_RELAXED", "NO_C2", "C4_RELAXED", "NO_D3", "NO_W6"}
CI = [
    model
    for model in suite.MODELS
    if model.mutant is None or model.mutant in WEAK | {"SHORT_SCAN", "LATE_DISARM", "T5_RELAXED", "L3_EARLY"}
]


@pytest.mark.parametrize("model", CI, ids=lambda model: f"{model.file}-{'-'.join(model.ci)}-{model.mutant}")
def test_model(model: suite.Model) -> None:
    errors, states, violated = suite.checked_model(model)
    if model.mutant:
        assert errors > 0, f"{model.mutant} was not caught in {states} states"
        assert "assertion violated" in violated
    else:
        assert errors == 0, violated


def test_model_has_the_labels_of_the_header() -> None:
    header = (suite.ROOT / "shm" / "atomics.h").read_text()
    models = "".join(path.read_text() for path in sorted((suite.HERE / "model").glob("*.pml")))
    labels = [f"W{i}" for i in range(1, 8)] + [f"R{i}" for i in range(1, 8)]
    labels += ["C1", "C2", "C3", "C4", "D1", "D2", "D3", "D4", "T1", "T2", "T3", "T4", "T5", "W5a"]
    labels += ["L1", "L2", "L3", "A1", "A2", "A3", "A4"]
    for text in (header, models):
        assert [label for label in labels if label not in text] == []
