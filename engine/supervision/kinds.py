"""The kinds of processes that the engine runs, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProcessKind:
    """One kind of process. A new one is a value below, and a method in `Engine._spawners` that makes it.

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
