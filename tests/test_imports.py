"""The walls: imports go down only, and a reader needs `shm` alone."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
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


LINE = re.compile(r"^[ ]*(?:from[ ]+([\w.]+)[ ]+c?import\b|c?import[ ]+([\w.]+))", re.MULTILINE)


def floors() -> dict[str, int]:
    """Room of `workers` -> its floor in pyproject, 0 on top."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [layers] = [contract["layers"] for contract in contracts if contract.get("containers") == ["workers"]]
    return {room.strip(): floor for floor, layer in enumerate(layers) for room in layer.split("|")}


def native_imports(sources: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """(dotted name, what it imports) of Cython sources, which import-linter does not read."""
    for name, text in sources:
        for found in LINE.finditer(text):
            yield name, found[1] or found[2]


def upward(imports: Iterator[tuple[str, str]], floor: Mapping[str, int]) -> list[tuple[str, str]]:
    """Those that go up, or to another room on the same floor."""
    found = []
    for name, imported in imports:
        here, there = name.split("."), imported.split(".")
        if here[0] == "shm" and there[0] in ("workers", "engine"):
            found.append((name, imported))
        if here[0] == there[0] == "workers" and here[1] != there[1] and floor[here[1]] >= floor[there[1]]:
            found.append((name, imported))
    return found


def test_native_code_goes_down_too() -> None:
    sources = [
        (".".join(path.relative_to(ROOT).with_suffix("").parts), path.read_text())
        for package in ("shm", "workers")
        for kind in ("pyx", "pxd", "pyi")
        for path in (ROOT / package).rglob(f"*.{kind}")
    ]
    assert len(list(native_imports(sources))) > 100
    assert upward(native_imports(sources), floors()) == []


def test_a_native_import_that_goes_up_is_noticed() -> None:
    """Negative control."""
    sources = [
        ("workers.books.book", "from workers.handover.shadow cimport Shadow\n"),
        ("shm._ring", "import workers\n"),
    ]
    assert upward(native_imports(sources), floors()) == [
        ("workers.books.book", "workers.handover.shadow"),
        ("shm._ring", "workers"),
    ]


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
