"""Builds every .pyx of the tree as an extension of the same dotted name; all else is in pyproject.toml."""

from __future__ import annotations

import os
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

ROOT = Path(__file__).parent
# TICKRING_EXT=workers.books.book[,...] builds those modules alone, TICKRING_EXT=none not one (the Makefile's
# editable install); TICKRING_CFLAGS adds flags (mutants).
ONLY = set(filter(None, os.environ.get("TICKRING_EXT", "").split(",")))
CFLAGS = ["-O3", "-std=gnu11", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Wno-cast-function-type"]
# Where functions and loops begin is not left to what stands before them: a line added elsewhere has cost
# the book 3 to 5 % by that alone. Calls go straight to where they lead, and no function of libm sets errno.
CFLAGS += ["-falign-functions=64", "-falign-loops=32"]
CFLAGS += ["-fno-plt", "-fno-semantic-interposition", "-fno-math-errno"]


def extensions() -> list[Extension]:
    """One for each .pyx.

    Raises:
        SystemExit: there is nothing to compile, or no such module as TICKRING_EXT names: what was built would
            be noticed only by whoever installs it.
    """
    found = []
    for package in ("shm", "workers"):
        for source in sorted((ROOT / package).rglob("*.pyx")):
            path = source.relative_to(ROOT)
            name = ".".join(path.with_suffix("").parts)
            if ONLY and name not in ONLY:
                continue
            found.append(
                Extension(
                    name,
                    [str(path)],
                    include_dirs=[".", numpy.get_include()],
                    define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
                    depends=[str(header) for header in sorted(Path(package).rglob("*.h"))],
                    extra_compile_args=CFLAGS + os.environ.get("TICKRING_CFLAGS", "").split(),
                )
            )
    missing = ONLY - {extension.name for extension in found} - {"none"}
    if missing:
        raise SystemExit(f"TICKRING_EXT: no module {', '.join(sorted(missing))} to compile")
    if not found and not ONLY:
        raise SystemExit("nothing to compile: no .pyx under shm/ and workers/; the sources are incomplete")
    return found


setup(
    ext_modules=cythonize(
        extensions(),
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "embedsignature": True,
        },
        quiet=True,
    )
)
