"""The soak in short: it runs and passes, and a process that leaks does not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SHARE = 0.25  # a young process still grows into its memory; the long run judges that


def soak(*arguments: str) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, "-m", "tests.soak.soak", "--json", "--share", str(SHARE), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, report


def test_a_short_soak_passes() -> None:
    kinds = "reset,half_a_frame,cut_handshake,blackhole,lost_frames,rest_reset,rest_5xx,venue_killed"
    code, report = soak("--minutes", "0.2", "--every", "0.5", "--seed", "3", "--only", kinds)
    assert report["broken"] == []
    assert code == 0
    assert report["faults"] >= 4
    assert report["looks"] > 50
    assert report["live"] > 100
    assert report["trades"] > 0
    assert sum(report["struck"]["ws"].values()) >= 2  # the proxy had a part in it


def test_a_leak_per_fault_is_flagged() -> None:
    code, report = soak(
        "--minutes", "0.08", "--every", "0.3", "--seed", "3", "--only", "reset", "--leak", "fd,task,memory"
    )  # fmt: skip
    assert code == 1
    output = "; ".join(report["broken"])
    for name in ("fds", "tasks", "memory"):
        assert f"{name} grew" in output, report["findings"]
    assert "sockets grew" not in output


def test_a_wrong_word_is_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak.soak", "--only", "rset"],
        cwd=ROOT, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "no fault 'rset'; there are: reset" in done.stderr
