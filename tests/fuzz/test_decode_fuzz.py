"""The harness of `make fuzz` runs, and says so when it cannot."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

HARNESS = Path(__file__).with_name("decode_fuzz.py")
# What a machine without atheris looks like.
WITHOUT = "import runpy, sys; sys.modules['atheris'] = None; runpy.run_path(sys.argv[1], run_name='__main__')"


def run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TICKRING_FUZZ_SECONDS": "1"}
    return subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")
def test_a_second_of_fuzzing_finds_nothing() -> None:
    outcome = run(str(HARNESS))
    assert outcome.returncode == 0, outcome.stderr[-2000:]
    assert "Done " in outcome.stderr


def test_without_atheris_it_is_skipped_with_a_reason() -> None:
    outcome = run("-c", WITHOUT, str(HARNESS))
    assert outcome.returncode == 0
    assert outcome.stdout.startswith("skipped: atheris is not installed")
