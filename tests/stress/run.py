"""Runs the proof of the shared-memory protocol and prints one table.

    python tests/stress/run.py [--full] [--seed N] [--only TEXT] [--json]

Each line is a run of the unchanged header (every forbidden outcome must be 0), a mutant (its named forbidden
outcome must appear), a model (0 errors; an error for a mutant) or a sanitizer run. Exit status 1 when one
line is not as it must be. The CI size is what `tests/shm` runs; `--full` is `make stress`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stress_suite import (
    ADDRESS,
    FUZZ_MUTANTS,
    MODELS,
    RUNS,
    STEP_MUTANTS,
    THREAD,
    HarnessError,
    Model,
    Mutant,
    Run,
    checked_model,
    compiled,
    forbidden,
    missing_evidence,
    run,
    sanitized,
)


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    what: str
    amount: str
    result: str
    good: bool
    seconds: float


CHANCES = 10


def _lines(full: bool, seed: int) -> Iterator[tuple[str, Any]]:
    for case in RUNS:
        yield case.name, lambda case=case: _run_line(case, full, seed)
    for mutant in (*STEP_MUTANTS, *FUZZ_MUTANTS):
        yield f"mutant {mutant.macro}, {mutant.program}", lambda mutant=mutant: _mutant_line(mutant, seed)
    for model in MODELS:
        name = (
            f"model {model.file} {' '.join(model.full if full else model.ci)} {model.mutant or ''}".rstrip()
        )
        yield name, lambda model=model: _model_line(model, full)
    messages = 3_000_000 if full else 100_000
    for flags, macro, name in (
        (THREAD, None, "ThreadSanitizer"),
        (THREAD, "PLAIN_PAYLOAD", "ThreadSanitizer, mutant PLAIN_PAYLOAD"),
        (ADDRESS, None, "AddressSanitizer, UBSan"),
    ):
        yield name, lambda flags=flags, macro=macro: _sanitizer_line(flags, macro, messages)


def _run_line(case: Run, full: bool, seed: int) -> tuple[str, str, bool]:
    answer = run(compiled(case.program), case.full if full else case.ci, seed)
    bad, absent = forbidden(answer), missing_evidence(case, answer)
    seen = ", ".join(f"{name} {count:,}" for name, count in answer["acceptable"].items() if count)
    result = (
        f"FORBIDDEN {bad} {answer['trace']}"
        if bad
        else f"NOT SEEN {absent}"
        if absent
        else f"0 forbidden ({seen})"
    )
    return f"{answer['amount']:,} {answer['unit']}", result, not bad and not absent


def _mutant_line(mutant: Mutant, seed: int) -> tuple[str, str, bool]:
    # By chance a race may not happen in one run (two busy cores do not run at once): it gets several.
    for attempt in range(CHANCES if mutant in FUZZ_MUTANTS else 1):
        answer = run(compiled(mutant.program, mutant.macro), mutant.options, seed + attempt)
        count = answer["forbidden"][mutant.outcome]
        if count:
            break
    result = f"caught: {mutant.outcome} ({count:,})" if count else f"NOT CAUGHT: {mutant.outcome}"
    return f"{answer['amount']:,} {answer['unit']}", result, count > 0


def _model_line(model: Model, full: bool) -> tuple[str, str, bool]:
    if not shutil.which("spin"):
        return "", "NOT RUN: spin is not installed", False
    errors, states, violated = checked_model(model, full)
    good = (errors > 0) == (model.mutant is not None)
    return f"{states:,} states", f"{'caught' if model.mutant else 'errors'}: {violated or errors}", good


def _sanitizer_line(flags: tuple[str, ...], macro: str | None, messages: int) -> tuple[str, str, bool]:
    reports, first = sanitized(flags, macro, messages)
    good = (reports > 0) == (macro is not None)
    return f"{messages:,} messages", f"{reports} reports{': ' + first if reports else ''}", good


def main() -> int:
    """Runs the table; 0 when all of it is as it must be."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="the sizes of `make stress`")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="lines whose name contains this")
    parser.add_argument("--json", action="store_true", help="the table as JSON at the end")
    options = parser.parse_args()
    compiler = subprocess.run(["gcc", "--version"], capture_output=True, text=True, check=False).stdout.split(
        "\n"
    )[0]
    print(f"seed {options.seed}, {'full' if options.full else 'CI'} size, {os.cpu_count()} CPUs, {compiler}")
    table = []
    for name, make in _lines(options.full, options.seed):
        if options.only not in name:
            continue
        started = time.monotonic()
        try:
            amount, result, good = make()
        except (HarnessError, subprocess.TimeoutExpired) as error:
            amount, result, good = "", f"ERROR {error}", False
        line = Line(name, amount, result, good, time.monotonic() - started)
        table.append(line)
        print(
            f"{'ok  ' if good else 'FAIL'} {name:<46} {amount:>26} {line.seconds:7.1f} s  {result}",
            flush=True,
        )
    failed = [line.what for line in table if not line.good]
    print(
        f"{len(table)} lines, {len(failed)} not as they must be{': ' + '; '.join(failed) if failed else ''}"
    )
    if options.json:
        print(json.dumps([line.__dict__ for line in table]))
    return 1 if failed or not table else 0


if __name__ == "__main__":
    sys.exit(main())
