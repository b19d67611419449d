"""What every benchmark shares: options, rounds in turn with the peer, percentiles, the report and its JSON.

Method, for all of them: ours and the peers take turns in short rounds, in one run, so that a busy machine
disturbs all of them alike. A reported value is the median over rounds; a ratio is the median of the ratios
of single rounds, value / peer value. Percentiles are those of the pooled samples of a round.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_PACKAGES = ("numpy", "msgspec", "picows", "uvloop", "aiohttp", "faster-fifo", "cython")


@dataclass(frozen=True)
class Budget:
    """How much may be spent: `seconds` of measuring for the whole benchmark, in about `rounds` rounds."""

    seconds: float
    rounds: int
    quick: bool

    def scale(self, full: int, least: int) -> int:
        """A count for the full run, cut down for a quick one."""
        return least if self.quick else max(least, int(full * self.seconds / 20.0))


@dataclass
class Result:
    """One figure. `ratio` is value / peer_value; `target` is in `unit`; None where there is none."""

    metric: str
    unit: str
    value: float | None
    peer: str | None = None
    peer_value: float | None = None
    ratio: float | None = None
    target: float | None = None
    met: bool | None = None
    detail: dict[str, Any] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """As it stands in the JSON."""
        return {
            "metric": self.metric,
            "unit": self.unit,
            "value": _short(self.value),
            "peer": self.peer,
            "peer_value": _short(self.peer_value),
            "ratio": _short(self.ratio),
            "target": _short(self.target),
            "met": self.met,
            "detail": {
                key: _short(value) if isinstance(value, float) else value
                for key, value in self.detail.items()
            },
        }


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def result(
    metric: str,
    unit: str,
    ours: Sequence[float],
    peer: str | None = None,
    theirs: Sequence[float] | None = None,
    *,
    target: float | None = None,
    at_most: bool = True,
    **detail: Any,
) -> Result:
    """A figure out of the rounds of ours and of one peer's, which were taken in turn.

    Args:
        target: the value to reach; `at_most`: less is better.
        detail: what else to say (n, spread, percentiles).
    """
    value = statistics.median(ours)
    detail.setdefault("rounds", len(ours))
    detail.setdefault("best", min(ours) if at_most else max(ours))
    detail.setdefault("worst", max(ours) if at_most else min(ours))
    peer_value = ratio = None
    if theirs:
        peer_value = statistics.median(theirs)
        pairs = [a / b for a, b in zip(ours, theirs, strict=False) if b]
        ratio = statistics.median(pairs) if pairs else None
    met = None if target is None else (value <= target if at_most else value >= target)
    return Result(metric, unit, value, peer, peer_value, ratio, target, met, detail)


def absent(metric: str, unit: str, peer: str, why: str, ours: Sequence[float] = ()) -> Result:
    """The row of a peer that could not be measured, and why."""
    value = statistics.median(ours) if ours else None
    return Result(metric, unit, value, f"{peer} (not measured: {why})")


def in_turn(contenders: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[Any]]:
    """Every contender once a round, `rounds` times; one unrecorded round first warms caches and clocks."""
    taken: dict[str, list[Any]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, run in contenders.items():
            value = run()
            if number:
                taken[name].append(value)
    return taken


def percentile(ordered: Sequence[float], share: float) -> float:
    """Of an ordered sequence, the nearest rank."""
    return float(ordered[min(len(ordered) - 1, int(share * len(ordered)))])


def spread(samples: Sequence[float]) -> dict[str, float]:
    """n, min, p50, p99, p99.9 and max of one round's samples."""
    ordered = sorted(samples)
    return {
        "n": len(ordered),
        "min": float(ordered[0]),
        "p50": percentile(ordered, 0.5),
        "p99": percentile(ordered, 0.99),
        "p99.9": percentile(ordered, 0.999),
        "max": float(ordered[-1]),
    }


@functools.cache
def cores() -> tuple[int, int]:
    """Two cores that this process might use at its start; twice the same one where there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """This process on one core, and back."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.lower().startswith(("model name", "cpu part"))
        ),
        platform.machine(),
    )
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    flags = Path("/proc/cpuinfo").read_text()
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "virtual": " hypervisor " in flags,
        "architecture": platform.machine(),
        "kernel": platform.release(),
        "load": [round(value, 2) for value in os.getloadavg()],
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": versions,
    }


def main(name: str, method: str, measure: Callable[[Budget], list[Result]], *, seconds: float = 20.0) -> int:
    """The command line of one benchmark."""
    parser = argparse.ArgumentParser(prog=f"python -m bench.{name}", description=method)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    parser.add_argument("--quick", action="store_true", help="a tiny budget: does it run, not how fast")
    parser.add_argument(
        "--seconds", type=float, default=seconds, help=f"about how long (default {seconds:g})"
    )
    options = parser.parse_args()
    cores()  # before anything is pinned
    quick = options.quick or os.environ.get("TICKRING_BENCH_QUICK") == "1"
    budget = Budget(0.5 if quick else options.seconds, 1 if quick else 9, quick)
    before = machine()
    began = time.monotonic()
    results = measure(budget)
    report = {
        "bench": name,
        "machine": before,
        "method": " ".join(method.split()),
        "seconds": round(time.monotonic() - began, 1),
        "quick": quick,
        "results": [one.row() for one in results],
    }
    if options.json:
        print(json.dumps(report))
    else:
        print(table(report))
    return 0


def table(report: Mapping[str, Any]) -> str:
    """The report for people."""
    import textwrap

    host = report["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in host["versions"].items())
    quick = ", QUICK: not a measurement" if report["quick"] else ""
    lines = [
        f"== {report['bench']} ({report['seconds']} s{quick})",
        *textwrap.wrap(report["method"], 108),
        f"machine: {host['cpu']}, {host['cores']} cores{', virtual' if host['virtual'] else ''}, "
        f"Linux {host['kernel']}, load {host['load'][0]}; {versions}",
        "",
        f"{'metric':<44} {'value':>10} {'unit':<10} {'target':>8} met  {'peer value':>10} {'ratio':>9}  peer",
    ]
    for row in report["results"]:
        met = {True: "yes", False: "NO", None: ""}[row["met"]]
        lines.append(
            f"{row['metric']:<44} {_text(row['value']):>10} {row['unit']:<10} {_text(row['target']):>8} "
            f"{met:<4} {_text(row['peer_value']):>10} {_text(row['ratio']):>9}  {row['peer'] or ''}"
        )
        if row["detail"]:
            detail = ", ".join(f"{key} {_text(value)}" for key, value in row["detail"].items())
            lines.append(f"    {detail}")
    return "\n".join(lines)


def _text(value: Any) -> str:
    return "" if value is None else f"{value:,.4g}" if isinstance(value, float) else str(value)


def run_all(names: Sequence[str], arguments: Sequence[str]) -> int:
    """Each benchmark in a process of its own; with ``--json`` one list of their reports."""
    reports, worst = [], 0
    for name in names:
        command = [sys.executable, "-m", f"bench.{name}", "--json", *(a for a in arguments if a != "--json")]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=False)
        if done.returncode:
            print(f"bench.{name} failed with exit code {done.returncode}", file=sys.stderr)
            worst = 1
            continue
        report = json.loads(done.stdout)
        reports.append(report)
        if "--json" not in arguments:
            print(table(report), end="\n\n", flush=True)
    if "--json" in arguments:
        print(json.dumps(reports))
    return worst
