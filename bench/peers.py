"""Peers that are no dependency of ours, each in a throw-away environment of its own.

``python -m bench.peers`` installs them (it needs a package index) under ``TICKRING_BENCH_PEERS``, by default
a folder in the system's temporary directory. A benchmark whose peer is not there says so in its results.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

PEERS = {
    "iceoryx2": "iceoryx2",
    "cryptofeed": "cryptofeed<3",
    "ccxt": "ccxt",
    "circuitbreaker": "circuitbreaker purgatory aiobreaker pybreaker",
}  # cryptofeed 2.x: XFree86 licence


def home() -> Path:
    """Where the environments are."""
    default = Path(tempfile.gettempdir()) / f"tickring-bench-peers-{os.getuid()}"
    return Path(os.environ.get("TICKRING_BENCH_PEERS", default))


def python_of(peer: str) -> Path | None:
    """The interpreter of a peer's environment, or None: it is not installed."""
    python = home() / peer / "bin" / "python"
    if not python.exists():
        return None
    probe = subprocess.run([python, "-c", f"import {peer}"], capture_output=True, check=False)
    return python if probe.returncode == 0 else None


def main() -> int:
    """Install what is missing; a peer that does not install is only reported."""
    for peer, wanted in PEERS.items():
        if python_of(peer):
            print(f"{peer}: there")
            continue
        place = home() / peer
        venv.create(place, with_pip=True, clear=True)
        command = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", *wanted.split()]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        ready = done.returncode == 0 and python_of(peer) is not None
        print(f"{peer}: {'installed' if ready else 'not installed: ' + done.stderr.strip()[-300:]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
