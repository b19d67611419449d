"""The console script, apart from every package so that it begins whatever is on the path.

Our packages come first, before anything that is called `engine`, `workers` or `shm` in the PYTHONPATH that
the command is started with; its children are started in the same way (`engine/supervision/process.py`).
"""

import sys
from pathlib import Path


def main() -> None:
    """Run `tickring`; never returns."""
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    from engine.cli import main

    main()


if __name__ == "__main__":
    main()
