"""Builds what the benchmarks have of native code, into `build/bench/` (gcc, and Cython for the driver)."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.harness import ROOT

BUILD = ROOT / "build" / "bench"
_CC = os.environ.get("CC", "gcc")


def _stale(product: Path, sources: list[Path]) -> bool:
    return not product.exists() or any(s.stat().st_mtime > product.stat().st_mtime for s in sources)


def ring_program() -> Path:
    """The compiled `bench/ring.c`."""
    source, header, program = ROOT / "bench/ring.c", ROOT / "shm/atomics.h", BUILD / "ring"
    BUILD.mkdir(parents=True, exist_ok=True)
    with open(BUILD / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _stale(program, [source, header]):
            command = [_CC, "-O3", "-std=gnu11", f"-I{ROOT}", str(source), "-o", str(program)]
            subprocess.run(command, check=True)
    return program


def ring(*arguments: object) -> list[dict[str, Any]]:
    """Runs it; its lines."""
    command = [str(ring_program()), *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=600)
    return [json.loads(line) for line in done.stdout.splitlines()]


def driver() -> ModuleType:
    """The compiled `bench/drive.pyx`: frames into a sink without a Python call for each."""
    import numpy

    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    source, product = ROOT / "bench/drive.pyx", BUILD / f"bench_drive{suffix}"
    code = BUILD / "bench_drive.c"
    BUILD.mkdir(parents=True, exist_ok=True)
    faces = [ROOT / "workers/websocket/wire.pxd", source]
    with open(BUILD / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _stale(product, faces):
            cython = [sys.executable, "-m", "cython", "-3", "--module-name", "bench_drive", "-I", str(ROOT)]
            subprocess.run([*cython, str(source), "-o", str(code)], check=True, cwd=ROOT)
            paths = [sysconfig.get_path("include"), numpy.get_include(), str(ROOT)]
            flags = [f"-I{path}" for path in paths]
            gcc = [_CC, "-O3", "-shared", "-fPIC", "-w", *flags, str(code), "-o", str(product)]
            subprocess.run(gcc, check=True)
    spec = importlib.util.spec_from_file_location("bench_drive", product)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
