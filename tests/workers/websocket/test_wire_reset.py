"""A reset that comes right behind data is seen at once, on both loops.

Through a transport that reads with `add_reader` under uvloop it is not: libuv reports the reset once and
polls no more, that one read gets the data, and the connection looks alive until our next ping, its last
prices LIVE.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from workers.contract.protocols import ConnectionContext
from workers.sim.transport import accept_key, encode
from workers.websocket.connect import open_connection
from workers.websocket.wire import CallbackSink, WireListener

RESETS = 150


def venue(server: socket.socket) -> None:
    """Shakes hands, sends some frames, and resets some microseconds after the last, later each time."""
    for n in range(RESETS):
        client, _ = server.accept()
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(4096)
        key = head.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0].decode()
        client.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept_key(key).encode() + b"\r\n\r\n"
        )
        for _ in range(3):
            time.sleep(0.001)
            client.sendall(encode(b'{"n":1}'))
        due = time.perf_counter() + n * 1e-6
        while time.perf_counter() < due:
            pass
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run])
def test_a_reset_behind_data_is_seen_at_once(runner: Callable[[Any], Any]) -> None:
    async def main() -> None:
        server = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=venue, args=(server,))
        thread.start()
        url = f"ws://127.0.0.1:{server.getsockname()[1]}/"
        try:
            for n in range(RESETS):
                closed = asyncio.Event()
                listener = WireListener(CallbackSink(lambda data, ns: True), on_closed=closed.set)
                await open_connection(ConnectionContext(url=url), listener)
                async with asyncio.timeout(2.0):
                    await closed.wait()
                assert listener.is_closed, n
        finally:
            server.close()
            thread.join(10)

    runner(main())
