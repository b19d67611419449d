"""Peers of the worker: WebSocket clients as a user would write them, each in a process of its own.

``python -m bench.clients picows|websockets|aiohttp CORE URL N``: a JSON line for every N messages:
messages, seconds from the first to the last, CPU seconds of the process for them.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import aiohttp
import msgspec
import picows
import uvloop


class Top(msgspec.Struct):
    """bookTicker as floats."""

    u: int
    s: str
    b: float
    B: float
    a: float
    A: float


class Frame(msgspec.Struct):
    """Of a combined stream."""

    stream: str
    data: Top


decode = msgspec.json.Decoder(Frame, strict=False).decode


class Meter:
    """Counts to N, prints, begins anew."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.count = 0
        self.began = self.cpu = 0.0
        self.tops: dict[str, Top] = {}

    def take(self, text: Any) -> None:
        """One message: decoded and kept as the latest."""
        if self.count == 0:
            self.began, self.cpu = time.monotonic(), time.process_time()
        top = decode(text).data
        self.tops[top.s] = top
        self.count += 1
        if self.count == self.n:
            seconds, cpu = time.monotonic() - self.began, time.process_time() - self.cpu
            print(json.dumps({"messages": self.n, "seconds": seconds, "cpu": cpu}), flush=True)
            self.count = 0


class _Listener(picows.WSListener):
    def __init__(self, meter: Meter) -> None:
        self.take = meter.take

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        if frame.msg_type == picows.WSMsgType.TEXT:
            self.take(frame.get_payload_as_memoryview())


async def _run(kind: str, url: str, n: int) -> None:
    meter = Meter(n)
    if kind == "picows":
        transport, _ = await picows.ws_connect(lambda: _Listener(meter), url)
        print("ready", flush=True)
        await transport.wait_disconnected()
    else:
        async with aiohttp.ClientSession() as session, session.ws_connect(url, autoping=True) as socket:
            print("ready", flush=True)
            async for message in socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    meter.take(message.data)


def main() -> None:
    """The process."""
    kind, core, url, n = sys.argv[1:5]
    os.sched_setaffinity(0, {int(core)})
    uvloop.run(_run(kind, url, int(n)))


if __name__ == "__main__":
    main()
