"""What can go wrong above the workers: each error is one clear line and the exit code that goes with it."""

from __future__ import annotations

# Exit codes of the command line, documented in `tickring --help` and the README.
OK = 0
FAILED = 1  # it could not be done: the line on stderr says why
USAGE = 2  # a wrong command line or wrong settings
NOT_LIVE = 3  # `status`: some feed is not LIVE
NOT_FOUND = 4  # no such instance, feed or symbol


class EngineError(Exception):
    """Something the user can act on. `str(error)` is what is printed, line by line; `exit_code` is what is
    returned."""

    exit_code = FAILED


class UsageError(EngineError):
    """A command line that names something impossible."""

    exit_code = USAGE


class NotFoundError(EngineError):
    """No such instance, feed or symbol here."""

    exit_code = NOT_FOUND
