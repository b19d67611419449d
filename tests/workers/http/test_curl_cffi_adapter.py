"""What only the curl_cffi adapter does; the suite has the rest."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

pytest.importorskip("curl_cffi")

from curl_cffi import CurlError

from workers.http.client import HttpClientOptions, Timeout
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
