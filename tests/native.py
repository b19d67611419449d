"""Native code for tests: a .pyx compiled into a folder of its own, as it stands, changed (a mutant), or under
a sanitizer; and a Python that takes such modules in place of the tree's.

    python -m tests.native workers.books.hotpath=build/x/hotpath.so ... -- <arguments of pytest>
"""

from __future__ import annotations

import fcntl
import importlib.machinery
import importlib.util
import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "tests"
SUFFIX = str(sysconfig.get_config_var("EXT_SUFFIX"))
DIRECTIVES = ("boundscheck=False", "wraparound=False", "cdivision=True", "initializedcheck=False")


def compiled(name: str, text: str, folder: Path, *flags: str) -> Path:
    """The module `name` (dotted) made from `text`; cimports are the tree's."""
    import numpy

    stem = name.rsplit(".", 1)[-1]
    folder.mkdir(parents=True, exist_ok=True)
    source, code, product = folder / f"{stem}.pyx", folder / f"{stem}.c", folder / f"{stem}{SUFFIX}"
    source.write_text(text)
    cython = [sys.executable, "-m", "cython", "-3", "--module-name", name, "-I", str(ROOT)]
    for directive in DIRECTIVES:
        cython += ["-X", directive]
    subprocess.run([*cython, str(source), "-o", str(code)], check=True, cwd=ROOT)
    paths = [f"-I{path}" for path in (sysconfig.get_path("include"), numpy.get_include(), ROOT)]
    optimised = () if any(flag.startswith("-O") for flag in flags) else ("-O1",)
    gcc = [os.environ.get("CC", "gcc"), "-std=gnu11", *optimised, "-shared", "-fPIC", "-w", *paths, *flags]
    subprocess.run([*gcc, str(code), "-o", str(product)], check=True)
    return product


def module(name: str, source: Path, sources: Sequence[Path] = ()) -> ModuleType:
    """A module of the tests' own, compiled when it or one of `sources` (what it cimports) has changed."""
    product = BUILD / f"{name}{SUFFIX}"
    BUILD.mkdir(parents=True, exist_ok=True)
    with open(BUILD / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        newest = max(path.stat().st_mtime for path in (source, *sources))
        if not product.exists() or product.stat().st_mtime < newest:
            compiled(name, source.read_text(), BUILD)
    return load(name, product)


def load(name: str, product: Path) -> ModuleType:
    """An extension module from a file, registered under its name."""
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, product)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    spec.loader.exec_module(made)
    return made


class Instead:
    """Finds some modules elsewhere than in the tree."""

    def __init__(self, products: Mapping[str, str]) -> None:
        self.products = products

    def find_spec(
        self, name: str, path: object = None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in self.products:
            return None
        return importlib.util.spec_from_file_location(name, self.products[name])


def pytest_with(
    products: Mapping[str, Path], *arguments: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """pytest in a process of its own that has these modules in place of the tree's."""
    pairs = [f"{name}={product}" for name, product in products.items()]
    command = [
        sys.executable,
        "-m",
        "tests.native",
        *pairs,
        "--",
        "-x",
        "-p",
        "no:cacheprovider",
        *arguments,
    ]
    environment = {**os.environ, **(env or {})}
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False, env=environment
    )


def main() -> int:
    """The command line."""
    import pytest

    cut = sys.argv.index("--")
    products = dict(pair.split("=", 1) for pair in sys.argv[1:cut])
    sys.meta_path.insert(0, Instead(products))  # type: ignore[arg-type]
    return int(pytest.main(sys.argv[cut + 1 :]))


if __name__ == "__main__":
    sys.exit(main())
