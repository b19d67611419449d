"""MultiClient: four selections, failure counts, and what it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from workers.contract.rest import ReplayClass
from workers.http import (
    BodyUnreadable,
    ConnectFailed,
    ConnectionLost,
    HttpClientOptions,
    HttpError,
    InvalidRequest,
    MultiClient,
    Selection,
    Timeout,
)
from workers.http.base import BaseClient
from workers.http.message import Call, Response

URL = "http://venue.invalid/x"


class Fake(BaseClient):
    """Answers with its name, or fails as told, call by call."""

    def __init__(self, name: str, *plan: Exception | None) -> None:
        super().__init__(HttpClientOptions())
        self.name = name
        self.plan: Iterator[Exception | None] = iter(plan)
        self.calls: list[Call] = []
        self.spend: Callable[[], object] = lambda: None

    async def _exchange(self, call: Call) -> Response:
        self.calls.append(call)
        self.spend()
        error = next(self.plan, None)
        if error is not None:
            raise error
        return Response(200, {}, self.name.encode(), call.url, "")

    async def _shut(self) -> None: ...

    def _connections(self) -> tuple[int, int]:
        return 2, 1


def run(awaitable: Awaitable[Any]) -> Any:
    async def main() -> Any:
        return await awaitable

    return asyncio.run(main())


async def asked(client: MultiClient, times: int, **options: Any) -> str:
    return "".join([(await client.get(URL, **options)).text() for _ in range(times)])


def test_single_uses_the_first_only() -> None:
    first, second = Fake("a", ConnectFailed("down")), Fake("b")
    client = MultiClient([first, second], Selection.SINGLE)
    with pytest.raises(ConnectFailed):
        run(client.get(URL))
    assert run(asked(client, 2)) == "aa"
    assert client.failures == (1, 0)
    assert second.calls == []


def test_failover_goes_on_and_stays() -> None:
    first, second, third = Fake("a", None, ConnectFailed("down")), Fake("b", ConnectionLost("cut")), Fake("c")
    client = MultiClient([first, second, third], Selection.FAILOVER)
    assert run(asked(client, 3)) == "acc"
    assert client.failures == (1, 1, 0)
    assert "failures=[1, 1, 0]" in repr(client)


def test_failover_comes_round() -> None:
    first, second = Fake("a", ConnectFailed("1")), Fake("b", None, ConnectFailed("2"))
    client = MultiClient([first, second], Selection.FAILOVER)
    assert run(asked(client, 3)) == "baa"


def test_failover_when_all_fail_says_whether_any_was_sent() -> None:
    client = MultiClient([Fake("a", ConnectionLost("cut")), Fake("b", ConnectFailed("down"))])
    with pytest.raises(ConnectFailed, match="down") as failure:
        run(client.get(URL))
    assert failure.value.sent


def test_what_meets_all_alike_is_tried_once() -> None:
    second = Fake("b")
    client = MultiClient([Fake("a", BodyUnreadable("damaged")), second])
    with pytest.raises(BodyUnreadable):
        run(client.get(URL))
    assert second.calls == []


def test_round_robin() -> None:
    client = MultiClient([Fake("a"), Fake("b"), Fake("c")], Selection.ROUND_ROBIN)
    assert run(asked(client, 7)) == "abcabca"


def test_round_robin_does_not_repeat_by_itself() -> None:
    client = MultiClient([Fake("a", ConnectFailed("down")), Fake("b")], Selection.ROUND_ROBIN)
    with pytest.raises(ConnectFailed):
        run(client.get(URL))
    assert run(asked(client, 2)) == "ba"
    assert client.failures == (1, 0)


def test_random_by_the_chance_given() -> None:
    chances = iter((0.0, 0.99, 0.34, 0.66))
    client = MultiClient([Fake("a"), Fake("b"), Fake("c")], Selection.RANDOM, chance=lambda: next(chances))
    assert run(asked(client, 4)) == "acbb"


@pytest.mark.parametrize("selection", Selection)
def test_never_is_refused_and_nothing_is_sent(selection: Selection) -> None:
    clients = [Fake("a"), Fake("b")]
    multi = MultiClient(clients, selection)
    refused = [
        multi.get(URL, replay=ReplayClass.NEVER),
        multi.post(URL, content=b"order"),
        multi.delete(URL),
        multi.put(URL),
        multi.request("PATCH", URL),
    ]
    for request in refused:
        with pytest.raises(InvalidRequest, match="must not be repeated") as failure:
            run(request)
        assert not failure.value.sent
    assert [client.calls for client in clients] == [[], []]
    run(multi.post(URL, replay=ReplayClass.BY_CLIENT_ID, content=b"x"))
    assert sum(len(client.calls) for client in clients) == 1


def test_one_deadline_over_all_tries() -> None:
    now = 0.0

    def spend() -> None:
        nonlocal now
        now += 2.0

    clients = [Fake("a", ConnectFailed("1")), Fake("b", ConnectFailed("2")), Fake("c")]
    for client in clients:
        client.spend = spend
    multi = MultiClient(clients, clock=lambda: now)
    with pytest.raises(HttpError, match="2"):
        run(multi.get(URL, timeout=Timeout(total=3.0, connect=1.0)))
    assert [call.timeout for client in clients for call in client.calls] == [
        Timeout(total=3.0, connect=1.0),
        Timeout(total=1.0, connect=1.0),
    ]


def test_closing_closes_all_and_figures_add_up() -> None:
    async def main() -> None:
        clients = [Fake("a"), Fake("b")]
        async with MultiClient(clients) as multi:
            await multi.get(URL)
            await multi.head(URL)
            stats = multi.stats()
            assert (stats.opened, stats.open, stats.requests, stats.in_use) == (4, 2, 2, 0)
            assert not multi.closed
        assert multi.closed
        assert all(client.closed for client in clients)

    asyncio.run(main())


def test_nobody_is_no_client() -> None:
    with pytest.raises(ValueError, match="at least one"):
        MultiClient([])
