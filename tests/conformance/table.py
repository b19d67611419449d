"""Runs the suite and writes its results to `docs/conformance.md`: ``python -m tests.conformance.table``."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.conformance.report import DOCUMENT, ROOT
from tests.conformance.test_table import WRITE


def main(arguments: list[str] | None = None) -> int:
    """The exit code. 0: everything passes, and the document is written."""
    argparse.ArgumentParser(prog="python -m tests.conformance.table", description=__doc__).parse_args(
        arguments
    )
    with tempfile.TemporaryDirectory(prefix="tickring-table-") as folder:
        made = Path(folder, DOCUMENT.name)
        command = [sys.executable, "-m", "pytest", "-q", "-rs", "tests/conformance"]
        done = subprocess.run(command, cwd=ROOT, env={**os.environ, WRITE: str(made)}, check=False)
        if done.returncode != 0 or not made.exists():
            print(f"{DOCUMENT} stays as it was: no whole run that passes")
            return done.returncode or 1
        DOCUMENT.write_text(made.read_text())
        print(f"{DOCUMENT} is written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
