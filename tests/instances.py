"""Names of what a test run puts into /dev/shm: all begin with the run's process, so that the next run finds
what a killed one has left."""

from __future__ import annotations

import os
import re
from pathlib import Path

SHM = Path("/dev/shm")
OF_A_RUN = re.compile(r"tickring\.(?:test|bench)([0-9]+)(?:[.-].*)?\Z")


def mine(what: str = "") -> str:
    """An instance of this process: ``test1234-cli``."""
    return f"test{os.getpid()}-{what}" if what else f"test{os.getpid()}"


def remove_left_over(folder: Path = SHM) -> list[str]:
    """Remove the files of runs whose process is gone; their names. Nothing else is touched."""
    removed = []
    for path in folder.iterdir():
        found = OF_A_RUN.match(path.name)
        if found is not None and not Path("/proc", found[1]).exists():
            path.unlink(missing_ok=True)
            removed.append(path.name)
    return sorted(removed)
