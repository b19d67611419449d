"""An order goes to the venue once, whatever happens after it left, and nobody calls its fate by a wrong name.

NEVER x every layer x everything that can go wrong after sending -> exactly one request at the venue (a raw
server counts them) and `OutcomeUnknown` (of a bare client: an `HttpError` with `sent`).

| layer                                   | test                                                   |
|-----------------------------------------|--------------------------------------------------------|
| each HTTP adapter                       | test_an_adapter_sends_once                             |
| an adapter on a kept, dead connection   | test_an_adapter_sends_once_on_a_dead_connection        |
| MultiClient                             | test_several_clients_refuse_it                         |
| RestManager with retries and a budget   | test_the_manager_sends_once                            |
| with each adapter                       | test_the_manager_sends_once_with_every_adapter         |
| with alternates, by failover            | test_no_alternate_gets_it                              |
| with a breaker, before, when, after it opens | test_a_breaker_repeats_nothing                    |
| after a session was made anew           | test_a_fresh_session_repeats_nothing                   |
| on a kept, dead connection              | test_the_manager_sends_once_on_a_dead_connection       |
| redirects                               | test_the_manager_sends_once (302, 303, 307, 308)       |
| timeout, half an answer, 5xx            | test_the_manager_sends_once                            |
| close() in flight, cancel in flight     | test_close_in_flight, test_cancelled_in_flight         |
| RST at every byte of request and answer | test_a_reset_at_every_byte                             |
| a retry after the venue took it         | test_a_retry_is_never_fired_after_the_venue_took_it    |

Negative controls: the same requests as SAFE reach the server more than once (test_safe_is_repeated...), and
aiohttp's own resending, switched on, is caught (test_the_witness_sees_a_library_that_resends).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from tests.faults import Cut, Direction, FaultProxy
from tests.faults.http import BODY, RawServer, Reply, Request
from workers.contract.errors import CircuitOpen, OutcomeUnknown, RateLimited, RestError
from workers.contract.protocols import HTTPMethod, RateLimitStrategy, RequestStrategy, RestStrategySet
from workers.contract.rest import PreparedRequest, ReplayClass, RequestContext
from workers.http import HttpClientFactory, HttpClientOptions, HttpError, InvalidRequest, MultiClient
from workers.http.multi import Selection
from workers.rest import RestManager
from workers.rest.retry import ExponentialRetry, RetryBudget

ADAPTERS = ("aiohttp", "httpx", "curl_cffi")
WRITES = (HTTPMethod.POST, HTTPMethod.PUT, HTTPMethod.DELETE)
READ_TIMEOUT = 0.15
UNKNOWN = [
    Reply.RESET, Reply.END, Reply.SILENT, Reply.HALF_HEAD, Reply.HALF_BODY, Reply.HALF_SILENT, Reply.GARBAGE,
    Reply.NOT_JSON, Reply.BAD_GZIP, Reply.S500, Reply.S502, Reply.S503, Reply.S504, Reply.S408, Reply.S302,
    Reply.S303,
]  # fmt: skip
REFUSED = [Reply.S429, Reply.S307, Reply.S308]  # the venue says that it did not do it: known, and still one
BROKEN = [
    Reply.RESET, Reply.END, Reply.SILENT, Reply.HALF_HEAD, Reply.HALF_BODY, Reply.HALF_SILENT, Reply.GARBAGE,
]  # fmt: skip


class Limits(RateLimitStrategy):
    """No limits: they are not what is tested."""

    def acquire(self, *_: Any, **__: Any) -> float:
        return 0.0

    def release(self, *_: Any) -> None:
        pass

    def observe(self, *_: Any, **__: Any) -> None:
        pass


class Requests(RequestStrategy):
    def __init__(self, replay: ReplayClass, url: str, alternates: tuple[str, ...], client: str) -> None:
        self.replay = replay
        self.url = url
        self.alternates = alternates
        self.client = client

    def create_request_context(self) -> RequestContext:
        return RequestContext(
            base_url=self.url,
            alternates=self.alternates,
            timeout=5.0,
            connection_timeout=2.0,
            read_timeout=READ_TIMEOUT,
            client=self.client,
        )

    def prepare_request(self, method: Any, endpoint: str, params: Any, headers: Any) -> PreparedRequest:
        return PreparedRequest(path=endpoint, params=tuple((params or {}).items()))

    def replay_class(self, method: HTTPMethod, endpoint: str) -> ReplayClass:
        return ReplayClass.SAFE if endpoint == "/time" else self.replay

    def circuit(self, method: HTTPMethod, endpoint: str) -> str:
        return "all"


def manager(
    server: RawServer,
    replay: ReplayClass = ReplayClass.NEVER,
    alternates: tuple[str, ...] = (),
    client: str = "aiohttp",
    url: str = "",
    **options: Any,
) -> RestManager:
    """Three retries without a pause: whatever would be repeated is repeated at once."""
    requests = Requests(replay, url or server.url, alternates, client)
    return RestManager(
        RestStrategySet(requests, Limits(), ExponentialRetry(4, base=0.0)),
        **{"retry_budget": RetryBudget(after=1000, share=1.0, parallel=100), **options},
    )


def run(main: Coroutine[Any, Any, Any]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await main

    asyncio.run(bounded())


async def outcome(order: Awaitable[Any]) -> BaseException | None:
    try:
        await order
    except (RestError, HttpError) as error:
        return error
    return None


async def arrived(server: RawServer) -> None:
    while not server.requests:  # noqa: ASYNC110 - bounded by the test's timeout
        await asyncio.sleep(0.001)


def first_ok(reply: Reply) -> Callable[[Request], Reply]:
    """200 for anything that is no order."""
    return lambda request: reply if request.target.startswith("/order") else Reply.OK


# -- a client alone ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("reply", BROKEN)
def test_an_adapter_sends_once(adapter: str, reply: Reply) -> None:
    async def main() -> None:
        for method in WRITES:
            async with (
                RawServer(first_ok(reply)) as server,
                HttpClientFactory.create_client(adapter, HttpClientOptions(timeout=READ_TIMEOUT)) as client,
            ):
                error = await outcome(client.request(method.value, server.url + "/order", content=b"{}"))
                assert isinstance(error, HttpError), (method, error)
                assert error.sent
                assert server.count() == 1
                assert server.connections == 1

    run(main())


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("end", [Reply.END, Reply.RESET])
@pytest.mark.parametrize("noticed", [False, True])
def test_an_adapter_sends_once_on_a_dead_connection(adapter: str, end: Reply, noticed: bool) -> None:
    """`noticed`: the venue closed while the connection was idle; else on the very order."""

    async def main() -> None:
        for method in WRITES:
            async with (
                RawServer(first_ok(Reply.OK if noticed else end)) as server,
                HttpClientFactory.create_client(adapter, HttpClientOptions(timeout=2.0)) as client,
            ):
                await client.get(server.url + "/time")
                if noticed:
                    server.drop_idle(end)  # the order leaves before or after that is seen here
                error = await outcome(client.request(method.value, server.url + "/order", content=b"{}"))
                assert server.count() <= 1
                if not noticed:
                    assert server.count() == 1
                    assert server.connections == 1  # it was the kept one
                if error is None:
                    assert server.count() == 1
                else:
                    assert isinstance(error, HttpError)
                    assert error.sent or server.count() == 0

    run(main())


@pytest.mark.parametrize("selection", list(Selection))
def test_several_clients_refuse_it(selection: Selection) -> None:
    async def main() -> None:
        async with RawServer(lambda _: Reply.RESET) as server:
            clients = [HttpClientFactory.create_client(), HttpClientFactory.create_client()]
            async with MultiClient(clients, selection) as client:
                for method in WRITES:
                    error = await outcome(client.request(method.value, server.url + "/order", content=b"{}"))
                    assert isinstance(error, InvalidRequest)
                    assert not error.sent
                    assert "nothing was sent" in str(error)
            assert server.connections == 0

    run(main())


# -- the manager -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("reply", UNKNOWN + REFUSED)
@pytest.mark.parametrize("replay", [ReplayClass.NEVER, ReplayClass.BY_CLIENT_ID])
def test_the_manager_sends_once(reply: Reply, replay: ReplayClass) -> None:
    async def main() -> None:
        for method in WRITES:
            async with RawServer(first_ok(reply)) as server, manager(server, replay) as rest:
                error = await outcome(rest.request(method, "/order", json_data={"id": 1}))
                if reply is Reply.S429 and replay is ReplayClass.BY_CLIENT_ID:
                    assert isinstance(
                        error, RateLimited
                    )  # said to be not done: asked again, as often as allowed
                    assert server.count() == 4
                    continue
                assert server.count() == 1, (method, error)
                assert server.connections == 1
                assert isinstance(error, OutcomeUnknown) == (reply in UNKNOWN), (method, repr(error))
                assert isinstance(error, RestError)
                assert error.attempt == 1
                assert error.sent

    run(main())


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("reply", BROKEN)
def test_the_manager_sends_once_with_every_adapter(adapter: str, reply: Reply) -> None:
    async def main() -> None:
        async with RawServer(first_ok(reply)) as server, manager(server, client=adapter) as rest:
            error = await outcome(rest.post("/order", json_data={"id": 1}))
            assert isinstance(error, OutcomeUnknown)
            assert server.count() == 1

    run(main())


@pytest.mark.parametrize("reply", [Reply.OK, *UNKNOWN, *REFUSED])
def test_safe_is_repeated_and_so_the_witness_counts(reply: Reply) -> None:
    """Negative control of all the tests above: what may be repeated is, and the server sees it."""

    async def main() -> None:
        async with RawServer(first_ok(reply)) as server, manager(server, ReplayClass.SAFE) as rest:
            await outcome(rest.get("/order"))
            final = (Reply.OK, Reply.NOT_JSON, Reply.BAD_GZIP, Reply.S408)
            once = reply in final or reply.value.startswith("3")
            assert server.count() == (1 if once else 4)

    run(main())


@pytest.mark.parametrize("reply", [Reply.RESET, Reply.SILENT, Reply.S503, Reply.HALF_BODY])
def test_no_alternate_gets_it(reply: Reply) -> None:
    async def main() -> None:
        async with RawServer(first_ok(reply)) as first, RawServer() as second:
            async with manager(first, alternates=(second.url,)) as rest:
                error = await outcome(rest.post("/order", json_data={}))
                assert isinstance(error, OutcomeUnknown)
                assert (first.count(), second.count()) == (1, 0)
                # The next order is another one, and may go elsewhere: once, too.
                assert await rest.post("/order", json_data={}) == {"orderId": 1, "status": "FILLED"}
                assert (first.count(), second.count()) == (1, 1)
            # Negative control: a read goes on to the alternate by itself.
            async with manager(first, ReplayClass.SAFE, alternates=(second.url,)) as rest:
                await rest.get("/order")
                assert (first.count(), second.count()) == (2, 2)

    run(main())


def test_an_order_that_was_not_sent_is_reported_as_such_and_goes_nowhere_else() -> None:
    async def main() -> None:
        async with (
            RawServer() as second,
            manager(second, url="http://127.0.0.1:1", alternates=(second.url,)) as rest,
        ):
            error = await outcome(rest.post("/order", json_data={}))
            assert isinstance(error, RestError)
            assert not isinstance(error, OutcomeUnknown)
            assert not error.sent
            assert second.count() == 0

    run(main())


def test_a_breaker_repeats_nothing() -> None:
    async def main() -> None:
        async with RawServer(first_ok(Reply.RESET)) as server, manager(server) as rest:
            opened_after = 5
            for n in range(1, opened_after + 1):
                assert isinstance(await outcome(rest.post("/order", json_data={})), OutcomeUnknown)
                assert server.count() == n
            error = await outcome(rest.post("/order", json_data={}))
            assert isinstance(error, CircuitOpen)
            assert not error.sent
            assert server.count() == opened_after

    run(main())


def test_a_fresh_session_repeats_nothing() -> None:
    async def main() -> None:
        async with RawServer(first_ok(Reply.RESET)) as server, manager(server) as rest:
            for n in range(1, 5):
                assert isinstance(await outcome(rest.post("/order", json_data={})), OutcomeUnknown)
                assert server.count() == n
            assert rest.get_metrics().sessions >= 2  # made anew after connection failures in a row

    run(main())


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_the_manager_sends_once_on_a_dead_connection(adapter: str) -> None:
    async def main() -> None:
        for end in (Reply.RESET, Reply.END):
            async with RawServer(first_ok(end)) as server, manager(server, client=adapter) as rest:
                await rest.get("/time")
                error = await outcome(rest.delete("/order"))
                assert isinstance(error, OutcomeUnknown)
                assert server.count() == 1
                assert server.connections == 1

    run(main())


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("reply", [Reply.SILENT, Reply.HALF_SILENT])
def test_close_in_flight(adapter: str, reply: Reply) -> None:
    async def main() -> None:
        async with RawServer(first_ok(reply)) as server:
            rest = manager(server, client=adapter)
            order = asyncio.ensure_future(outcome(rest.post("/order", json_data={})))
            await arrived(server)
            await rest.close(grace=0.01)
            assert isinstance(await order, OutcomeUnknown)
            assert server.count() == 1

    run(main())


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_cancelled_in_flight(adapter: str) -> None:
    async def main() -> None:
        async with RawServer(first_ok(Reply.SILENT)) as server, manager(server, client=adapter) as rest:
            order = asyncio.ensure_future(rest.post("/order", json_data={}))
            await arrived(server)
            order.cancel()
            with pytest.raises(asyncio.CancelledError) as cancelled:
                await order
            assert "may have" in " ".join(cancelled.value.__notes__)
            await asyncio.sleep(0.05)
            assert server.count() == 1

    run(main())


@pytest.mark.parametrize("direction", [Direction.UP, Direction.DOWN])
def test_a_reset_at_every_byte(direction: Direction) -> None:
    """The proxy cuts after k bytes of the request, or of the answer, for every k."""

    async def main() -> None:
        async with RawServer() as server, FaultProxy(("127.0.0.1", server.port)) as proxy:
            url = f"http://127.0.0.1:{proxy.port}"
            async with manager(server, url=url) as rest:
                await rest.post("/order", json_data={"id": 7})
            while proxy.links:  # noqa: ASYNC110 - the proxy's tests say that it ends
                await asyncio.sleep(0.001)
            size = proxy.carried[direction]
            seen = server.count()
            assert size > 60
            unknown = known = 0
            for k in range(size + 1):
                proxy.order(Cut(direction=direction, after=k, connection=proxy.accepted + 1))
                async with manager(server, url=url) as rest:
                    error = await outcome(rest.post("/order", json_data={"id": 7}))
                count, seen = server.count() - seen, server.count()
                assert count <= 1, k
                if error is None:
                    assert (count, k) == (1, size) or direction is Direction.UP
                    known += 1
                elif isinstance(error, OutcomeUnknown):
                    unknown += 1
                else:
                    assert count == 0, (k, repr(error))
                    assert not getattr(error, "sent", True), (k, repr(error))
                proxy.clear()
            assert unknown >= size - 2
            assert known <= 2

    run(main())


def test_a_retry_is_never_fired_after_the_venue_took_it() -> None:
    """The venue books the order and the answer is lost; the order must not be booked a second time."""
    booked: list[bytes] = []

    def decide(request: Request) -> Reply:
        if request.method == "POST":
            booked.append(request.body)
            return Reply.RESET  # the acknowledgement never arrives
        return Reply.OK

    async def main() -> None:
        async with RawServer(decide) as server, manager(server) as rest:
            results = await asyncio.gather(
                *(outcome(rest.post("/order", json_data={"id": n})) for n in range(4))
            )
            assert all(isinstance(error, OutcomeUnknown) for error in results)
            assert sorted(booked) == [b'{"id":%d}' % n for n in range(4)]

    run(main())


# -- the witness -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("resends", [False, True])
def test_the_witness_sees_a_library_that_resends(resends: bool) -> None:
    """Negative control: aiohttp's own resending on a dead connection, switched on again, shows as two."""

    async def main() -> None:
        async with RawServer(first_ok(Reply.END)) as server:
            client: Any = HttpClientFactory.create_client("aiohttp", HttpClientOptions(timeout=2.0))
            async with client:
                await client.get(server.url + "/time")
                client._session._retry_connection = resends
                await outcome(client.delete(server.url + "/order"))
            assert server.count() == (2 if resends else 1)

    run(main())


def test_the_server_of_these_tests_answers() -> None:
    async def main() -> None:
        async with RawServer() as server, HttpClientFactory.create_client() as client:
            assert (await client.get(server.url + "/order?x=1")).content == BODY
            assert server.count() == 1
            assert server.requests == [Request(1, "GET", "/order?x=1", b"")]

    run(main())
