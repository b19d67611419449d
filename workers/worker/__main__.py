"""``python -m workers.worker``: the process of one exchange, as the supervisor starts it."""

import sys

from workers.worker.worker import main

if __name__ == "__main__":
    sys.exit(main())
