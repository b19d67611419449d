"""The HTTP server, its own process: ``python -m engine.http.server --instance I --feeds a,b --socket N --fd
N``.

It reads shared memory like any reader; rendering many series takes tens of milliseconds of Python, which must
not be taken from supervision. ``/metrics`` for Prometheus, ``/healthz`` (this process serves), ``/readyz``
(200 while every feed is ready by `shm.readiness`, else 503; its body names what is missing), ``/status`` (as
`tickring status --json`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from aiohttp import web

from engine.http import metrics, sample
from engine.supervision import status as engine_status
from shm.readiness import REQUIRE, Require
from workers.worker.process import die_with_parent

BEAT = 0.25  # s
Result = TypeVar("Result")

INDEX = """tickring
/metrics  Prometheus
/healthz  this process serves
/readyz   every feed is ready, or what is missing
/status   feeds as JSON
"""


def application(instance: str, feeds: list[str], require: Require = "listed") -> web.Application:
    """The routes over one instance; `feeds` are those that must be ready for `/readyz`, and `require` says
    whether symbols that are not listed or halted count against them."""

    # Looks are taken in one thread: many symbols take tens of milliseconds, on a busy machine a multiple, and
    # meanwhile the loop must beat.
    looks = ThreadPoolExecutor(1, "look")

    async def look(what: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(looks, what)

    async def close(_: web.Application) -> None:
        looks.shutdown(wait=False, cancel_futures=True)

    def take() -> list[sample.FeedSample]:
        return sample.take(instance, feeds, engine_status.read(instance))

    async def index(_: web.Request) -> web.Response:
        return web.Response(text=INDEX)

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"ok": True})

    async def readyz(_: web.Request) -> web.Response:
        document = await look(lambda: sample.readyz_document(take(), require))
        return web.json_response(document, status=200 if document["ready"] else 503)

    async def status(_: web.Request) -> web.Response:
        def document() -> dict[str, object]:
            return sample.status_document(instance, take(), engine_status.read(instance))

        return web.json_response(await look(document))

    async def exposition(_: web.Request) -> web.Response:
        body = await look(lambda: metrics.render(take, require))
        return web.Response(body=body, headers={"Content-Type": metrics.CONTENT_TYPE})

    app = web.Application()
    app.on_cleanup.append(close)
    app.add_routes(
        [
            web.get("/", index),
            web.get("/healthz", healthz),
            web.get("/readyz", readyz),
            web.get("/status", status),
            web.get("/metrics", exposition),
        ]
    )
    return app


async def serve(app: web.Application, listening: socket.socket, channel: socket.socket) -> None:
    """Serve until SIGTERM or the end of `channel`, into which a byte goes every `BEAT` as our heartbeat."""
    loop = asyncio.get_running_loop()
    leave = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leave.set)
    channel.setblocking(False)

    def ended() -> None:
        try:
            data = channel.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            loop.remove_reader(channel)
            leave.set()

    loop.add_reader(channel, ended)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.SockSite(runner, listening).start()
    try:
        while not leave.is_set():
            with contextlib.suppress(OSError):  # a full channel means nobody looks: its end is noticed above
                channel.send(b".")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(leave.wait(), BEAT)
    finally:
        await runner.cleanup()


def main(arguments: list[str] | None = None) -> int:
    """The process's entry; returns its exit code."""
    parser = argparse.ArgumentParser(prog="engine.http.server", description=__doc__)
    parser.add_argument("--instance", required=True)
    parser.add_argument("--feeds", required=True, help="names, separated by commas")
    parser.add_argument("--socket", required=True, type=int, help="a listening socket, inherited")
    parser.add_argument(
        "--fd", required=True, type=int, help="the supervisor's channel; its end is the order to leave"
    )
    parser.add_argument("--require", choices=REQUIRE, default="listed", help="what `/readyz` asks for")
    given = parser.parse_args(arguments)
    die_with_parent(0)  # for the case that this loop hangs: else the end of the channel is enough
    app = application(given.instance, [name for name in given.feeds.split(",") if name], given.require)
    with socket.socket(fileno=given.socket) as listening, socket.socket(fileno=given.fd) as channel:
        asyncio.run(serve(app, listening, channel))
    return 0


if __name__ == "__main__":
    sys.exit(main())
