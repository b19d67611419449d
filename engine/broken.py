"""A broken installation: what cannot be imported, and why, in one line. Imports nothing that can be broken.

A module that is missing, was built for another Python, or raises anything while it is imported, ends a
command with one line that says so; ``tickring doctor`` goes on and lists all of them.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from engine import errors

ROOT = Path(__file__).resolve().parent.parent
NATIVE = (
    "shm._cells",
    "shm._cursor",
    "shm._ring",
    "workers.books.book",
    "workers.books.checksum",
    "workers.books.python_publisher",
    "workers.books.hotpath",
    "workers.books.staleness",
    "workers.books.publish",
    "workers.books.window",
    "workers.decode._scan",
    "workers.decode.native",
    "workers.decode.sink",
    "workers.decode.symbols",
    "workers.handover.handover",
    "workers.handover.shadow",
    "workers.handover.tracker",
    "workers.venues.binance_futures._decode",
    "workers.venues.binance_spot._decode",
    "workers.venues.kraken._checksum",
    "workers.venues.kraken._decode",
    "workers.venues.mexc_spot._decode",
    "workers.venues.okx._checksum",
    "workers.venues.okx._decode",
    "workers.venues.okx._market",
    "workers.websocket.wire",
)
LIBRARIES = (  # by the names that are imported
    "aiohttp",
    "click",
    "cryptography",
    "google.protobuf",
    "msgspec",
    "multidict",
    "numpy",
    "picows",
    "posix_ipc",
    "prometheus_client",
    "rich",
    "uvloop",
    "yarl",
)
# What the processes of an engine import, at once or later.
ALL = (
    *LIBRARIES,
    *NATIVE,
    "workers.worker.worker",
    "workers.rest",
    "workers.http.aiohttp_adapter",
    "engine.http.server",
)


def why_not(module: str) -> str | None:
    """Why `module` cannot be imported, in one line; None when it can be."""
    try:
        importlib.import_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: whatever a half-installed module does
        return reason(error)
    return None


def first(modules: Sequence[str]) -> str | None:
    """Why the first of `modules` that cannot be imported cannot be."""
    return next((reason for module in modules if (reason := why_not(module)) is not None), None)


def reason(error: BaseException) -> str:
    """What went wrong while something was imported: the module where it began, and the error's first line."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"no module {error.name}"
    message = (str(error).splitlines() or [""])[0]
    return f"{_culprit(error)}: {type(error).__name__}" + (f": {message}" if message else "")


def ours(error: BaseException) -> bool:
    """Whether it is our own native code, or a library that we need, that could not be imported: not, for
    example, a venue that somebody is writing."""
    if _culprit(error) in NATIVE:
        return True
    roots = {name.partition(".")[0] for name in LIBRARIES}
    return any(name.partition(".")[0] in roots for name in [_culprit(error), *_modules(error)])


def _culprit(error: BaseException) -> str:
    if isinstance(error, ImportError) and error.name:
        return error.name
    return next(reversed(_modules(error)), "")


def _modules(error: BaseException) -> list[str]:
    """The modules whose code was running, the innermost last."""
    names = [str(frame.tb_frame.f_globals.get("__name__", "")) for frame in _frames(error.__traceback__)]
    return [
        name for name in names if not name.startswith(("importlib", "_frozen_importlib", "engine.broken"))
    ]


def by_import(error: BaseException) -> BaseException | None:
    """The error that an import has ended with, when `error` is one or was raised because of one."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ImportError) or any(
            frame.tb_frame.f_code.co_filename.startswith("<frozen importlib")
            for frame in _frames(seen.__traceback__)
        ):
            return seen
        seen = seen.__cause__
    return None


def line(error: BaseException) -> str:
    """As printed for a command that could not be run."""
    return sentence(reason(error))


def sentence(reason: str) -> str:
    return f"the installation is broken ({reason}); run: tickring doctor"


def advice(kind: str) -> str:
    """What makes a broken one whole: `kind` is a target of the Makefile."""
    return f"make {kind}" if (ROOT / "Makefile").is_file() else "pip install --force-reinstall tickring"


class Probe:
    """Whether all that the engine's processes import can be imported, found out by a process of its own
    beside the command's start: a supervisor would start again and again what cannot run, or notice late."""

    def __init__(self, modules: Sequence[str] = ALL) -> None:
        import subprocess

        program = "import sys; from engine.broken import first; sys.exit(first(sys.argv[1:]))"
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", program, *modules],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )

    def __enter__(self) -> Probe:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Waits for its answer, unless there is an error already.

        Raises:
            EngineError: a module cannot be imported.
        """
        if error is not None:
            self._process.kill()
        _, stderr = self._process.communicate()
        if error is None and self._process.returncode:
            reason = (stderr.strip().splitlines() or [f"ended with {self._process.returncode}"])[-1]
            raise errors.EngineError(sentence(reason))


def _frames(trace: TracebackType | None) -> list[TracebackType]:
    found = []
    while trace is not None:
        found.append(trace)
        trace = trace.tb_next
    return found
