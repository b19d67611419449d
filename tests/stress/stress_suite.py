"""What the proof of the shared-memory protocol consists of, and how each part is compiled and run.

`run.py` prints it as one table; `tests/shm` runs it at CI size. A run of the unchanged header must show no
forbidden outcome, a mutant must show the one it is named for, a model must have 0 errors, its mutants some.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
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
    Mutant("SILENT_TAKE_OVER", "steps", ("wait", "--quick=1"), "wake-up lost"),
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
