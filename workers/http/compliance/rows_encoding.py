"""Bodies that are compressed, damaged or too large."""

from __future__ import annotations

import os
import zlib
from contextlib import suppress
from importlib import import_module

from workers.http import encoding
from workers.http.compliance.server import Received, Wire, serve
from workers.http.compliance.trial import NotOffered, Trial, fails, row, same
from workers.http.errors import BodyUnreadable

MB = 1_000_000


def _gzip(body: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(body) + packer.flush()


def _raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(body) + packer.flush()


def _brotli(body: bytes) -> bytes:
    if "br" not in encoding.accepted():
        raise NotOffered("brotli is not installed")
    return bytes(import_module("brotli").compress(body))


@row
async def encodings(trial: Trial) -> None:
    body = b'{"price":"1.5"}' * 5000
    packed = {
        "gzip": _gzip(body),
        "deflate": zlib.compress(body),
        "Deflate": _raw_deflate(body),
        "x-gzip": _gzip(body[:1000]) + _gzip(body[1000:]),
        "identity": body,
        "deflate, gzip": _gzip(zlib.compress(body)),
    }

    async def send(request: Received, wire: Wire) -> None:
        name = request.headers[[key for key, _ in request.headers].index("X-Want")][1]
        wire.answer(200, packed[name], ("Content-Encoding", name))

    async with serve(send) as server, trial.client() as client:
        for name in packed:
            answer = await client.get(server.url, headers={"X-Want": name})
            assert answer.content == body, name
        asked = server.requests[0].one("accept-encoding")
        assert "gzip" in asked, asked
        assert "deflate" in asked, asked


@row
async def encoding_brotli(trial: Trial) -> None:
    body = os.urandom(1000) * 3000
    packed = _brotli(body)

    async def send(request: Received, wire: Wire) -> None:
        wire.answer(200, packed, ("Content-Encoding", "br"))

    async with serve(send) as server, trial.client() as client:
        assert (await client.get(server.url)).content == body
        assert "br" in server.requests[0].one("accept-encoding")


@row
async def encoding_damaged(trial: Trial) -> None:
    good = _gzip(b"x" * 10_000)
    bodies = {"/cut": good[:-9], "/wrong": b"plain text", "/sum": good[:-8] + b"\0" * 8}

    async def send(request: Received, wire: Wire) -> None:
        wire.answer(200, bodies[request.target], ("Content-Encoding", "gzip"))

    async with serve(send) as server, trial.client() as client:
        for path in bodies:
            await fails(BodyUnreadable, client.get(server.url + path), sent=True)


@row
async def encoding_unknown(trial: Trial) -> None:
    async def send(request: Received, wire: Wire) -> None:
        wire.answer(200, b"abc", ("Content-Encoding", "lzw"))

    async with serve(send) as server, trial.client() as client:
        await fails(BodyUnreadable, client.get(server.url), sent=True)


@row
async def bomb(trial: Trial) -> None:
    packed = {"/gzip": _gzip(bytes(10 * MB)), "/twice": _gzip(_gzip(bytes(10 * MB)))}
    with suppress(NotOffered):
        packed["/br"] = _brotli(bytes(10 * MB))

    async def send(request: Received, wire: Wire) -> None:
        names = {"/gzip": "gzip", "/twice": "gzip, gzip", "/br": "br"}
        wire.answer(200, packed[request.target], ("Content-Encoding", names[request.target]))

    async with serve(send) as server, trial.client(max_body=MB) as client:
        for path in packed:
            await fails(BodyUnreadable, client.get(server.url + path), sent=True)


@row
async def traps(trial: Trial) -> None:
    """Few bytes that make a lot of work: thousands of empty members, thousands of encodings."""
    bodies = {"/members": _gzip(b"") * 100_000 + _gzip(b"{}"), "/layers": b"{}"}

    async def send(request: Received, wire: Wire) -> None:
        names = {"/members": "gzip", "/layers": ", ".join(["gzip"] * 1000)}
        wire.answer(200, bodies[request.target], ("Content-Encoding", names[request.target]))

    async with serve(send) as server, trial.client() as client:
        for path in bodies:
            await fails(BodyUnreadable, client.get(server.url + path), sent=True)


@row
async def body_larger_than_allowed(trial: Trial) -> None:
    async def send(request: Received, wire: Wire) -> None:
        if request.target == "/chunked":
            wire.chunks(bytes(MB), bytes(MB))
        elif request.target == "/close":
            wire.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + bytes(2 * MB))
            wire.close()
        else:
            wire.answer(200, bytes(int(request.target[1:])))

    async with serve(send) as server, trial.client(max_body=MB) as client:
        for path in ("/chunked", "/close", f"/{MB + 1}"):
            await fails(BodyUnreadable, client.get(server.url + path), sent=True, ours=True)
        same(len((await client.get(f"{server.url}/{MB}")).content), MB)
        same(client.stats().in_use, 0)
