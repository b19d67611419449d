"""Several clients behind one face: other libraries, proxies or networks for the same requests."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from workers.contract.rest import ReplayClass
from workers.http.client import ClientStats, HttpClient, HttpResponse, Timeout
from workers.http.errors import (
    ConnectFailed,
    ConnectionLost,
    HttpError,
    InvalidRequest,
    PoolTimedOut,
    ProtocolViolation,
    ReadTimedOut,
)
from workers.http.verbs import Verbs

READS = frozenset(("GET", "HEAD", "OPTIONS"))
# What another client may be spared; a redirect too many or a body too large meets all alike.
WORTH_ANOTHER = (ConnectFailed, PoolTimedOut, ReadTimedOut, ConnectionLost, ProtocolViolation)


class Selection(StrEnum):
    """Which client gets a request."""

    SINGLE = "single"  # always the first
    FAILOVER = "failover"  # the one that worked last; the next ones in order when it fails
    ROUND_ROBIN = "round_robin"  # each in turn
    RANDOM = "random"


class MultiClient(Verbs[HttpResponse]):
    """An `HttpClient` made of several. Only FAILOVER sends a failed request again, through another client;
    with the others the next request, or the retry strategy above, meets the next client.

    A request that must not be sent twice does not belong here: `replay=NEVER`, which is what everything but a
    read is unless the caller says otherwise, is refused whatever the selection.

    Args:
        chance: 0 <= chance() < 1, for RANDOM.
    """

    def __init__(
        self,
        clients: Sequence[HttpClient],
        selection: Selection = Selection.FAILOVER,
        *,
        chance: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not clients:
            raise ValueError("MultiClient: at least one client is needed")
        self._clients = tuple(clients)
        self._selection = selection
        self._chance = chance
        self._clock = clock
        self._next = 0
        self._failures = [0] * len(clients)

    @property
    def failures(self) -> tuple[int, ...]:
        """Failed requests since the start, client by client."""
        return tuple(self._failures)

    async def request(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        json: Any = None,
        timeout: Timeout | float | None = None,  # noqa: ASYNC109  bounds by phase, not one deadline
        follow_redirects: bool | None = None,
        replay: ReplayClass | None = None,
    ) -> HttpResponse:
        """Like `HttpClient.request`; `timeout`, when given, bounds all tries together.

        Args:
            replay: whether it may be sent again; None: reads may, all else not.
        """
        if replay is None:
            replay = ReplayClass.SAFE if method.upper() in READS else ReplayClass.NEVER
        if replay is ReplayClass.NEVER:
            raise InvalidRequest(
                f"{method}: a request that must not be repeated goes to one client, not to a MultiClient; "
                "nothing was sent"
            )
        started = self._clock()
        failed: HttpError | None = None
        for index in self._order():
            left = _left(timeout, self._clock() - started)
            if failed is not None and left is not None and left.total is not None and left.total <= 0:
                break
            try:
                answer = await self._clients[index].request(
                    method,
                    url,
                    params=params,
                    headers=headers,
                    content=content,
                    json=json,
                    timeout=left,
                    follow_redirects=follow_redirects,
                )
            except WORTH_ANOTHER as error:
                self._failures[index] += 1
                failed = _merged(failed, error)
            else:
                if self._selection is Selection.FAILOVER:
                    self._next = index
                return answer
        assert failed is not None
        raise failed

    async def close(self, grace: float = 1.0) -> None:
        await asyncio.gather(*(client.close(grace) for client in self._clients))

    @property
    def closed(self) -> bool:
        return all(client.closed for client in self._clients)

    def stats(self) -> ClientStats:
        every = [client.stats() for client in self._clients]
        return ClientStats(
            **{name: sum(getattr(one, name) for one in every) for name in ClientStats.__struct_fields__}
        )

    def __repr__(self) -> str:
        return f"MultiClient({self._selection}, {len(self._clients)} clients, failures={self._failures})"

    def _order(self) -> Iterator[int]:
        """Which clients to try, the first first."""
        count = len(self._clients)
        match self._selection:
            case Selection.SINGLE:
                yield 0
            case Selection.RANDOM:
                yield int(self._chance() * count)
            case Selection.ROUND_ROBIN:
                index, self._next = self._next, (self._next + 1) % count
                yield index
            case Selection.FAILOVER:
                start = self._next
                yield from ((start + step) % count for step in range(count))


def _left(timeout: Timeout | float | None, spent: float) -> Timeout | None:
    if timeout is None:
        return None
    limits = timeout if isinstance(timeout, Timeout) else Timeout(total=timeout)
    if limits.total is None:
        return limits
    return msgspec.structs.replace(limits, total=limits.total - spent)


def _merged(earlier: HttpError | None, error: HttpError) -> HttpError:
    """The last error, `sent` if any of the tries was."""
    error.sent = error.sent or (earlier is not None and earlier.sent)
    return error
