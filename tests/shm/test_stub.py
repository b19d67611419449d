"""The stub of every compiled module says what the module has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import shm

ROOT = Path(shm.__file__).resolve().parent.parent
ALLOWED = ROOT / "tests" / "stubtest-allowlist.txt"


def compiled() -> list[str]:
    """The modules that are built and have a stub."""
    return [
        ".".join(stub.relative_to(ROOT).with_suffix("").parts)
        for package in ("shm", "workers")
        for stub in sorted((ROOT / package).rglob("*.pyi"))
        if list(stub.parent.glob(stub.stem + ".*.so"))
    ]


def check(*modules: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mypy.stubtest", "--concise", "--ignore-unused-allowlist"]
    command += ["--mypy-config-file", "pyproject.toml", "--allowlist", str(ALLOWED), *modules]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


def test_stubs_say_what_is_there() -> None:
    pytest.importorskip("mypy")
    modules = compiled()
    assert "shm._ring" in modules
    done = check(*modules)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_compiled_module_has_a_stub() -> None:
    for package in ("shm", "workers"):
        for source in (ROOT / package).rglob("*.pyx"):
            assert source.with_suffix(".pyi").exists(), source
