"""The REST face of a simulated venue, as every dialect sees it: a request, an answer, and what to say."""

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
    """An HTTP request as it came over the wire.

    Attributes:
        query: decoded parameters; `raw_query` the letters, which a signature is over.
        headers: names in lower case.
    """

    method: str
    path: str
    query: Mapping[str, str] = {}
    raw_query: str = ""
    headers: Mapping[str, str] = {}
    body: bytes = b""


class Answer(NamedTuple):
    """An HTTP answer; a body that begins with ``<`` goes as HTML, else as JSON."""

    status: int
    body: bytes
    headers: Mapping[str, str] = {}


@dataclass(frozen=True, kw_only=True)
class Desk:
    """All that a REST face is made from.

    Attributes:
        source: the markets, or the capture; both have `listings`, `symbols`, `depth`, `snapshot`, `stale`
            and `recorded`, a synthetic one also `symbol` (candles, funding).
        faults: take ``("rest",)`` by path, ``("stale_snapshot",)`` by ``hub.stream_info``, and kinds of your
            own.
        hub: the connections.
        budget: what the venue allows in its unit and window, None for the dialect's default.
        keys: API keys.
        clock: monotonic seconds.
        wall_ns: the venue's wall clock.
    """

    source: Synthetic | Replay
    faults: Faults
    hub: Hub
    clock: Callable[[], float]
    wall_ns: Callable[[], int]
    budget: int | None = None
    keys: tuple[SimKey, ...] = field(default=(), repr=False)


class Rest(Protocol):
    """Answers a venue's REST requests. `counters` counts requests by endpoint."""

    counters: dict[str, int]

    def handle(self, request: Request) -> Answer:
        """One request; never raises for what a client sent."""
