"""The kinds of processes that the engine runs, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProcessKind:
    """One kind of process. A new kind is a value below, a method in `Engine._spawners` that starts a process
    of it, and the names of its processes among the children in `Engine.__init__`.

    Attributes:
        title: what the log calls it.
        module: what ``python -m`` runs.
        writes_feed: each process of it writes the segment of the feed whose name it has. When it ends, DOWN
            is stored there, and the engine's status names it.
    """

    title: str
    module: str
    writes_feed: bool = False


WORKER = ProcessKind("worker", "workers.worker", writes_feed=True)
HTTP = ProcessKind("HTTP server", "engine.http.server")
