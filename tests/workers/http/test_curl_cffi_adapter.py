"""What only the curl_cffi adapter does; the suite has the rest."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

pytest.importorskip("curl_cffi")

from curl_cffi import CurlError

from workers.http import curl_cffi_adapter as adapter
from workers.http.client import HttpClientOptions, Timeout
from workers.http.compliance.rows_wire import ok
from workers.http.compliance.server import serve
from workers.http.curl_cffi_adapter import CurlClient


class Multi:
    """Of libcurl's multi interface what the adapter sees: futures."""

    def __init__(self) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def add_handle(self, curl: object) -> asyncio.Future[None]:
        return self.done

    async def close(self) -> None:
        pass


def test_cancelled_in_the_turn_of_its_failure_it_leaves_nothing_to_log() -> None:
    """asyncio would log "exception was never retrieved" once the future is collected."""
    logged: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: logged.append(context))
        async with CurlClient(HttpClientOptions(timeout=Timeout(read=5.0))) as client:
            multi = client._multi = Multi()
            request = asyncio.ensure_future(client.get("http://127.0.0.1:1/"))
            for _ in range(3):
                await asyncio.sleep(0)
            multi.done.set_exception(CurlError("broken", 56))
            request.cancel()
            with pytest.raises(asyncio.CancelledError):
                await request
            client._multi = None
        del multi, request
        gc.collect()

    asyncio.run(main())
    assert logged == []


def test_a_connection_whose_socket_is_not_known_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """What came on it while it was idle could not be seen: refused, before anything is sent."""
    monkeypatch.setattr(adapter._Sockets, "link", lambda *_: None)

    async def main() -> None:
        async with serve(ok) as server, CurlClient() as client:
            with pytest.raises(RuntimeError, match="a socket that it did not open here"):
                await client.post(server.url, content=b"order")
            assert server.requests == []

    asyncio.run(main())


def test_a_second_beginning_has_only_what_is_left_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that starts again on another connection keeps its caller's bound."""
    bounds: list[float | None] = []
    clock = [0.0]
    attempt = CurlClient._attempt

    async def slow(client: CurlClient, call: Any) -> Any:
        bounds.append(call.timeout.total)
        clock[0] += 1.5
        if len(bounds) < 3:
            raise adapter._Astray
        return await attempt(client, call)

    async def main() -> None:
        async with serve(ok) as server, CurlClient() as client:
            monkeypatch.setattr(CurlClient, "_attempt", slow)
            monkeypatch.setattr(adapter, "time", Clock(clock))
            assert (await client.get(server.url, timeout=10.0)).status_code == 200

    asyncio.run(main())
    assert bounds == [10.0, 8.5, 7.0]


class Clock:
    """`time` as the adapter uses it, at the time that a test says."""

    def __init__(self, now: list[float]) -> None:
        self._now = now

    def monotonic(self) -> float:
        return self._now[0]
