"""The walls: imports go down only, and a reader needs `shm` alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_contracts_hold() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-logo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_a_reader_loads_nothing_of_the_engine() -> None:
    probe = (
        "import sys, shm; heavy = {'workers', 'engine', 'aiohttp', 'picows', 'uvloop', 'click'} & "
        "{name.partition('.')[0] for name in sys.modules}; print(sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_worker_starts_without_numpy_and_http() -> None:
    probe = (
        "import sys, workers.worker.worker, workers.venues.venue; workers.venues.venue.load('binance_spot'); "
        "loaded = {name.partition('.')[0] for name in sys.modules}; "
        "print(sorted({'numpy', 'aiohttp', 'click', 'engine'} & loaded))"
    )
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_contract_notices_an_upward_import(tmp_path: Path) -> None:
    """Negative control: the same contract over a tree in which `low` imports `high` fails."""
    for package, line in (("high", ""), ("low", "import high\n")):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(line)
    (tmp_path / ".importlinter").write_text(
        "[importlinter]\nroot_packages =\n    high\n    low\n"
        "[importlinter:contract:1]\nname = down\ntype = layers\nlayers =\n    high\n    low\n"
    )
    done = subprocess.run(
        [
            Path(sys.executable).parent / "lint-imports",
            "--no-logo",
            "--config",
            ".importlinter",
            "--no-cache",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
    )
    assert done.returncode == 1, done.stdout + done.stderr
