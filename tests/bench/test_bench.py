"""Every benchmark runs and answers in the agreed form; what it measures is nobody's assertion."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.__main__ import NAMES
from bench.harness import in_turn, percentile, result

ROOT = Path(__file__).resolve().parents[2]
KEYS = {"metric", "unit", "value", "peer", "peer_value", "ratio", "target", "met"}


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_answers_in_json(name: str, tmp_path: Path) -> None:
    # Without the peers that live in environments of their own: what is there must not matter here.
    environment = {**os.environ, "TICKRING_BENCH_PEERS": str(tmp_path)}
    command = [sys.executable, "-m", f"bench.{name}", "--json", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["bench"] == name
    assert report["machine"]["cpu"]
    assert report["results"]
    for row in report["results"]:
        assert row.keys() >= KEYS
        assert row["value"] is None or row["value"] > 0


def test_a_target_is_met_from_the_right_side() -> None:
    assert result("m", "us", [1.0, 2.0, 9.0], target=2.0).met is True
    assert result("m", "us", [1.0, 2.1, 9.0], target=2.0).met is False
    assert result("m", "M/s", [1.0, 2.1, 9.0], target=2.0, at_most=False).met is True
    assert result("m", "M/s", [1.0, 1.9, 9.0], target=2.0, at_most=False).met is False


def test_a_ratio_is_that_of_rounds_taken_together() -> None:
    one = result("m", "us", [1.0, 4.0, 3.0], "peer", [2.0, 8.0, 6.0])
    assert (one.value, one.peer_value, one.ratio) == (3.0, 6.0, 0.5)


def test_the_first_round_warms_and_is_not_recorded() -> None:
    calls = iter(range(10))
    assert in_turn({"a": lambda: next(calls)}, 3) == {"a": [1, 2, 3]}


def test_percentiles_are_samples() -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], 0.5) == 3.0
    assert percentile([1.0, 2.0, 3.0, 4.0], 0.999) == 4.0


def test_a_name_that_is_none_is_reported(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.__main__ import main

    monkeypatch.setattr(sys, "argv", ["bench", "latency"])
    assert main() == 2
    assert "there are: ring_latency" in capsys.readouterr().err
