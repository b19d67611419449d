"""The interface of a dialect's REST API: the requests it gets, the answers it gives, and its context."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from workers.sim.faults import Faults
from workers.sim.hub import Hub
from workers.sim.keys import SimKey
from workers.sim.replay import Replay
from workers.sim.synthetic import Synthetic


class Request(NamedTuple):
    """An HTTP request.

    Attributes:
        query: the decoded query parameters.
        raw_query: the query as it was sent; signatures are computed over it.
        headers: names in lower case.
    """

    method: str
    path: str
    query: Mapping[str, str] = {}
    raw_query: str = ""
    headers: Mapping[str, str] = {}
    body: bytes = b""


class Answer(NamedTuple):
    """An HTTP answer; a body that begins with ``<`` is sent as HTML, any other as JSON."""

    status: int
    body: bytes
    headers: Mapping[str, str] = {}


@dataclass(frozen=True, kw_only=True)
class RestContext:
    """What a dialect's `Rest` is built from.

    Attributes:
        source: the synthetic markets or the replay; both have `listings`, `symbols`, `depth`, `snapshot`,
            `stale` and `recorded`, the synthetic one also `symbol` (candles, funding).
        faults: the pending faults. Take ``("rest",)`` with the path, ``("stale_snapshot",)`` with the
            `hub.stream_info` of the book's stream, and kinds of your own.
        hub: the WebSocket connections.
        clock: monotonic seconds, for rate limits.
        wall_ns: the venue's wall clock, nanoseconds since 1970.
        budget: what the venue's rate limit allows per window, in its own unit; None: the dialect's default.
        keys: the API keys that are accepted.
    """

    source: Synthetic | Replay
    faults: Faults
    hub: Hub
    clock: Callable[[], float]
    wall_ns: Callable[[], int]
    budget: int | None = None
    keys: tuple[SimKey, ...] = field(default=(), repr=False)


class Rest(Protocol):
    """Answers the requests to a venue's REST API. `counters` are the requests by endpoint."""

    counters: dict[str, int]

    def handle(self, request: Request) -> Answer:
        """Answer one request. Errors of the client are answered, never raised."""
