"""Runs the suite and writes `docs/conformance.md` of what it found: ``python -m tests.conformance.table``."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.conformance.report import DOCUMENT, ROOT
from tests.conformance.test_table import WRITE


def main() -> int:
    """0: written, and everything passes."""
    before = DOCUMENT.read_text() if DOCUMENT.exists() else ""
    DOCUMENT.touch()
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "tests/conformance"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, WRITE: "1"}, check=False)
    if done.returncode == 0:
        same = DOCUMENT.read_text() == before
        print(f"{DOCUMENT}: {'as it was' if same else 'written'}")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
