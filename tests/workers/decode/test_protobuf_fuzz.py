"""`protobuf.h` under ASan and UBSan against slow oracles; its mutants must fail (`protobuf_fuzz.c`)."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ROUNDS = os.environ.get("TICKRING_FUZZ_ROUNDS", "300000")
SEED = os.environ.get("TICKRING_FUZZ_SEED", "7")


def run(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    program = folder / "protobuf_fuzz"
    how = [
        "-std=gnu11",
        "-O1",
        "-g",
        f"-I{ROOT}",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
    ]
    warnings = [] if flags else ["-Wall", "-Wextra", "-Werror"]
    source = ROOT / "tests/fuzz/protobuf_fuzz.c"
    subprocess.run([compiler, *how, *warnings, *flags, source, "-o", program], check=True)
    return subprocess.run([program, ROUNDS, SEED], capture_output=True, text=True, timeout=300, check=False)


def test_it_is_right_and_reads_nothing_beyond(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{ROUNDS} rounds")


@pytest.mark.parametrize(
    ("mutant", "signs"),
    [
        ("SPAN", ("span differs", "heap-buffer-overflow", "cursor differs")),
        ("SKIP", ("cursor differs", "heap-buffer-overflow")),
        ("CUT", ("heap-buffer-overflow",)),
    ],
)
def test_mutants_are_caught(tmp_path: Path, mutant: str, signs: tuple[str, ...]) -> None:
    done = run(tmp_path, f"-DTR_MUTANT_{mutant}")
    assert done.returncode != 0
    assert any(sign in done.stderr for sign in signs), done.stderr
