"""`scan.h` under ASan and UBSan against slow oracles; its mutants must fail (tests/fuzz/scan_fuzz.c)."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ROUNDS = os.environ.get("TICKRING_FUZZ_ROUNDS", "1000000")
SEED = os.environ.get("TICKRING_FUZZ_SEED", "7")


def build(folder: Path, *flags: str) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    program = folder / ("scan_fuzz" + "".join(flags).replace("-", "_"))
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    source = str(ROOT / "tests/fuzz/scan_fuzz.c")
    warnings = ["-Wall", "-Wextra", "-Werror"] if not any("MUTANT" in flag for flag in flags) else []
    subprocess.run(
        [
            compiler,
            "-std=gnu11",
            "-O1",
            "-g",
            f"-I{ROOT}",
            *warnings,
            *sanitizers,
            *flags,
            source,
            "-o",
            program,
        ],
        check=True,
    )
    return program


def run(program: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, ROUNDS, SEED], capture_output=True, text=True, timeout=300, check=False)


def test_fast_and_portable_build_are_right_and_equal(tmp_path: Path) -> None:
    fast, portable = run(build(tmp_path)), run(build(tmp_path, "-DTR_SCAN_PORTABLE"))
    assert fast.returncode == 0, fast.stderr
    assert portable.returncode == 0, portable.stderr
    assert fast.stdout == portable.stdout


@pytest.mark.parametrize(
    ("mutant", "sign"),
    [("ROUND", "decimal differs"), ("WRAP", "decimal differs"), ("OVERREAD", "heap-buffer-overflow")],
)
def test_mutants_are_caught(tmp_path: Path, mutant: str, sign: str) -> None:
    outcome = run(build(tmp_path, f"-DTR_MUTANT_{mutant}"))
    assert outcome.returncode != 0
    assert sign in outcome.stderr
