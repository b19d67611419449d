"""``python -m workers.sim``: see `workers.sim.command`."""

import sys

from workers.sim.command import main

if __name__ == "__main__":
    sys.exit(main())
