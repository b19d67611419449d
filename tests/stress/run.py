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
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CFLAGS = ("-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror")
# gcc warns that ThreadSanitizer does not model fences; the payload is atomic, there is nothing to report.
THREAD = ("-O1", "-g", "-Wno-tsan", "-fsanitize=thread")
ADDRESS = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@dataclass(frozen=True)
class Run:
    """A program that must show no forbidden outcome. `evidence`: acceptable outcomes that must have happened,
    or the run did not go where it was meant to go."""

    name: str
    program: str
    ci: tuple[str, ...]
    full: tuple[str, ...]
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mutant:
    """A protection taken away: this run must show this forbidden outcome."""

    macro: str
    program: str
    options: tuple[str, ...]
    outcome: str


@dataclass(frozen=True)
class Model:
    """A Spin model; with `mutant` it must give an error."""

    file: str
    ci: tuple[str, ...]
    full: tuple[str, ...]
    mutant: str | None = None


RUNS = (
    Run("interleavings: ring", "steps", ("ring",), ("ring", "--bound=4"), ("empty", "lapped", "got")),
    Run(
        "interleavings: ring, crashes", "steps", ("ring-crash",), ("ring-crash",), ("crash", "lapped", "got")
    ),
    Run("interleavings: cell, crashes", "steps", ("cell",), ("cell", "--bound=4"), ("crash", "cell read")),
    Run("interleavings: late join", "steps", ("join",), ("join", "--bound=4"), ("cell read", "got")),
    Run("interleavings: LIVE", "steps", ("live",), ("live", "--bound=4"), ("crash", "LIVE", "not LIVE")),
    Run("interleavings: waiting", "steps", ("wait",), ("wait", "--bound=5"), ("slept",)),
    Run(
        "tears, 8 slots",
        "tear",
        ("ring", "--messages=5000000"),
        ("ring", "--messages=100000000"),
        ("got", "laps"),
    ),
    Run(
        "tears, 16 slots",
        "tear",
        ("ring", "--messages=5000000", "--slots=16"),
        ("ring", "--messages=100000000", "--slots=16"),
        ("got", "laps"),
    ),
    Run(
        "tears, top cell",
        "tear",
        ("cell", "--messages=1000000"),
        ("cell", "--messages=50000000"),
        ("changed",),
    ),
    Run(
        "tears, book cell",
        "tear",
        ("cell", "--messages=300000", "--words=100"),
        ("cell", "--messages=10000000", "--words=100"),
        ("changed",),
    ),
    Run("late join", "join", ("--joins=50000",), ("--joins=2000000",), ("folded", "already in the cell")),
    Run(
        "SIGKILL",
        "kill",
        ("--kills=5000",),
        ("--kills=100000",),
        ("got", "killed between record and head", "slot left invalid", "cell left odd"),
    ),
    Run(
        "SIGKILL and SIGSTOP, LIVE", "live", ("--rounds=120",), ("--rounds=2000",), ("LIVE", "RESYNC", "DOWN")
    ),
    Run(
        "waiting", "wait", ("--rounds=10000",), ("--rounds=500000",), ("commits with a wake", "dead waiters")
    ),
)

# Deterministic: every interleaving within the bound, so each of these is caught each time.
STEP_MUTANTS = (
    Mutant("NO_PRE_INVALIDATE", "steps", ("ring", "--quick=1"), "torn record accepted"),
    Mutant("NO_RECHECK", "steps", ("ring", "--quick=1"), "torn record accepted"),
    Mutant("CELL_BEGIN", "steps", ("cell", "--quick=1"), "torn cell accepted"),
    Mutant("NO_CELL_RECHECK", "steps", ("cell", "--quick=1"), "torn cell accepted"),
    Mutant("REPAIR", "steps", ("cell", "--quick=1"), "torn cell accepted"),
    Mutant("SHORT_SCAN", "steps", ("ring-crash", "--quick=1"), "sequence re-used with other content"),
    Mutant("ZERO_IS_LAPPED", "steps", ("ring", "--quick=1"), "lapped without a lap"),
    Mutant("NO_SECOND_LOOK", "steps", ("ring", "--quick=1"), "lapped without a lap"),
    Mutant("HEAD_FIRST", "steps", ("join", "--quick=1"), "change missing"),
    Mutant("NO_RING_SEQ", "steps", ("join", "--quick=1"), "change applied twice"),
    Mutant("NO_EPOCH_CHECK", "steps", ("live", "--quick=1"), "LIVE from a dead epoch"),
    Mutant("NO_EPOCH", "steps", ("live", "--quick=1"), "LIVE from a dead epoch"),
    Mutant("NO_HEARTBEAT", "steps", ("live", "--quick=1"), "LIVE past the heartbeat limit"),
    Mutant("LATE_DISARM", "steps", ("wait", "--quick=1"), "wake-up lost"),
)
# The same by chance, in two processes at full speed: the fuzzers are able to see what they look for.
FUZZ_MUTANTS = (
    Mutant("NO_PRE_INVALIDATE", "tear", ("ring", "--messages=10000000"), "torn record accepted"),
    Mutant("NO_RECHECK", "tear", ("ring", "--messages=5000000"), "torn record accepted"),
    Mutant("ZERO_IS_LAPPED", "tear", ("ring", "--messages=5000000"), "lapped without a lap"),
    Mutant("NO_CELL_RECHECK", "tear", ("cell", "--messages=1000000", "--words=100"), "torn cell accepted"),
    Mutant("HEAD_FIRST", "join", ("--joins=30000",), "change missing"),
    Mutant("NO_RING_SEQ", "join", ("--joins=5000",), "change applied twice"),
    Mutant("SHORT_SCAN", "kill", ("--kills=1000",), "sequence re-used with other content"),
    Mutant("CELL_BEGIN", "kill", ("--kills=1000",), "torn cell accepted"),
    Mutant("REPAIR", "kill", ("--kills=1000",), "torn cell accepted"),
    Mutant("NO_EPOCH_CHECK", "live", ("--rounds=40",), "LIVE from a dead epoch"),
    Mutant("NO_EPOCH", "live", ("--rounds=40",), "LIVE from a dead epoch"),
    Mutant("NO_HEARTBEAT", "live", ("--rounds=40",), "LIVE past the heartbeat limit"),
)


RING_MUTANTS = (
    "NO_PRE_INVALIDATE",
    "NO_W2",
    "W4_RELAXED",
    "NO_RECHECK",
    "NO_R3",
    "R1_RELAXED",
    "SHORT_SCAN",
    "ZERO_IS_LAPPED",
    "NO_SECOND_LOOK",
    "W5_RELAXED",
)
JOIN_MUTANTS = (
    "HEAD_FIRST",
    "NO_RING_SEQ",
    "NO_EPOCH_CHECK",
    "CELL_BEGIN",
    "REPAIR",
    "NO_C2",
    "C4_RELAXED",
    "NO_D3",
)


def _models() -> Iterator[Model]:
    ring, join = ("RING", "M=5"), ("JOIN", "M=3")
    yield Model("ring.pml", ring, ("RING", "M=7", "CRASHES=1"))
    yield Model("ring.pml", join, ("JOIN", "M=4"))
    yield Model("wait.pml", (), ())
    yield Model("live.pml", (), ())
    for name in RING_MUTANTS:
        yield Model("ring.pml", ("RING", "M=6"), ("RING", "M=6"), name)
    for name in JOIN_MUTANTS:
        yield Model("ring.pml", join, join, name)
    for name in ("LATE_DISARM", "NO_W6"):
        yield Model("wait.pml", (), (), name)
    for name in ("T2_RELAXED", "T5_RELAXED", "STATE_FIRST", "L3_EARLY"):
        yield Model("live.pml", (), (), name)


MODELS = tuple(_models())


class HarnessError(RuntimeError):
    """A tool is missing or a program did not end as it should: no statement about the protocol."""


@cache
def build_directory() -> Path:
    """Where compiled programs go; kept for the life of this process."""
    holder = tempfile.TemporaryDirectory(prefix="tickring-stress-")
    globals()["_holder"] = holder  # removed when the interpreter ends
    return Path(holder.name)


def _checked(command: list[str], cwd: Path) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise HarnessError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


@cache
def compiled(program: str, macro: str | None = None, flags: tuple[str, ...] = ()) -> Path:
    """Compiles `program`.c against shm/atomics.h, as a mutant if `macro` is given."""
    out = build_directory() / f"{program}-{macro or 'plain'}-{abs(hash(flags)):x}"
    define = [f"-DTR_MUTANT_{macro}"] if macro else []
    command = [os.environ.get("CC", "gcc"), *CFLAGS, *flags, *define, f"-I{ROOT}", f"{HERE / program}.c"]
    _checked([*command, "-o", str(out), "-pthread"], HERE)
    return out


def run(program: Path, options: tuple[str, ...], seed: int = 1, timeout: float = 3600) -> dict[str, Any]:
    """Runs a program; its JSON line as a dict. Forbidden outcomes are data, everything else is an error."""
    command = [str(program), *options, f"--seed={seed}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode not in (0, 3) or not done.stdout.startswith("{"):
        raise HarnessError(f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout)
    answer["status"] = done.returncode
    answer["trace"] = done.stderr.strip()
    return answer


def forbidden(answer: dict[str, Any]) -> dict[str, int]:
    """The forbidden outcomes that were seen."""
    return {name: count for name, count in answer["forbidden"].items() if count}


def missing_evidence(case: Run, answer: dict[str, Any]) -> list[str]:
    """What should have happened in this run and did not."""
    return [name for name in case.evidence if not answer["acceptable"][name]]


def sanitized(flags: tuple[str, ...], macro: str | None, messages: int) -> tuple[int, str]:
    """Reports of the sanitizers on threads.c, and the first of them."""
    program = compiled("threads", macro, flags)
    command = [str(program), f"--messages={messages}"]
    if shutil.which("setarch"):  # older sanitizer runtimes cannot live with much address randomisation
        command = ["setarch", "-R", *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3600, check=False)
    reports = len(re.findall(r"WARNING: ThreadSanitizer|ERROR: AddressSanitizer|runtime error:", done.stderr))
    if not reports and done.returncode:
        raise HarnessError(f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return reports, done.stderr.strip().splitlines()[1] if reports else done.stdout.strip()


def checked_model(model: Model, full: bool = False) -> tuple[int, int, str]:
    """Searches all states of a model: errors, states, the violated assertion."""
    where = (
        build_directory() / f"model-{model.file}-{model.mutant}-{'-'.join(model.full if full else model.ci)}"
    )
    where.mkdir(exist_ok=True)
    defines = [f"-D{name}" for name in (model.full if full else model.ci)]
    if model.mutant:
        defines.append(f"-DM_{model.mutant}")
    shutil.copy(HERE / "model" / model.file, where)
    _checked(["spin", "-a", *defines, model.file], where)
    compiler = [os.environ.get("CC", "gcc"), "-O2" if full else "-O1", "-w"]
    _checked([*compiler, "-DSAFETY", "-DCOLLAPSE", "-o", "pan", "pan.c"], where)
    done = subprocess.run(["./pan", "-m2000000"], cwd=where, capture_output=True, text=True, check=False)
    errors = re.search(r"errors: (\d+)", done.stdout)
    states = re.search(r"(\d+) states, stored", done.stdout)
    if (
        not errors
        or not states
        or "max search depth too small" in done.stdout
        or "out of memory" in done.stdout
    ):
        raise HarnessError(f"{model.file} {' '.join(defines)}: the search was not complete\n{done.stdout}")
    violated = re.search(r"pan:\d+: (.*)", done.stdout)
    return int(errors[1]), int(states[1]), violated[1] if violated else ""


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    what: str
    amount: str
    result: str
    good: bool
    seconds: float


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
    answer = run(compiled(mutant.program, mutant.macro), mutant.options, seed)
    count = answer["forbidden"][mutant.outcome]
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
