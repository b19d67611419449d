"""A server that does on the wire what a test wants: right, wrong, slowly, or not at all. Loopback only."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import msgspec


class Received(msgspec.Struct):
    """A request as it came in: the `nth` one on the connection number `connection`, both from 1."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    connection: int
    nth: int

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def one(self, name: str) -> str:
        values = self.all(name)
        return values[0] if len(values) == 1 else f"{len(values)} times"


class Wire:
    """The server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.reader = reader
        self.writer = writer
        self.number = number
        self.ended = False

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    async def drain(self) -> None:
        await self.writer.drain()

    def answer(self, status: int = 200, body: bytes = b"", *headers: tuple[str, str]) -> None:
        """A well-formed answer with its length."""
        lines = [f"HTTP/1.1 {status} Told", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers]
        self.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def chunks(self, *parts: bytes, headers: str = "") -> None:
        head = f"HTTP/1.1 200 Told\r\nTransfer-Encoding: chunked\r\n{headers}\r\n"
        self.write(head.encode() + b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n")

    def close(self) -> None:
        """FIN."""
        self.ended = True
        self.writer.close()

    def reset(self) -> None:
        """RST."""
        self.ended = True
        sock = self.writer.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def hang(self) -> None:
        """Say nothing more until the client goes."""
        self.ended = True
        with suppress(OSError):
            while await self.reader.read(65_536):
                pass


Handler = Callable[[Received, Wire], Awaitable[None]]


class Server:
    """What came in, and where it listens."""

    def __init__(self, handler: Handler, *, greet: Callable[[Wire], Awaitable[None]] | None = None) -> None:
        self._handler = handler
        self._greet = greet
        self._tasks: set[asyncio.Task[None]] = set()
        self.requests: list[Received] = []
        self.connections = 0
        self.open = 0
        self.port = 0
        self.scheme = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def local(self) -> str:
        """The same server by another name: another origin."""
        return f"{self.scheme}://localhost:{self.port}"

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        wire = Wire(reader, writer, self.connections)
        try:
            if self._greet is not None:
                await self._greet(wire)
            await self._serve(wire)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, wire: Wire) -> None:
        nth = 0
        while not wire.ended:
            request = await _read_request(wire, nth := nth + 1)
            if request is None:
                return
            self.requests.append(request)
            await self._handler(request, wire)
            if not wire.ended:
                await wire.drain()

    def end(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def until(self, condition: Callable[[Server], bool], within: float = 3.0) -> None:
        """Wait until `condition` holds of this server."""
        async with asyncio.timeout(within):
            while not condition(self):  # noqa: ASYNC110  what is looked at has no event
                await asyncio.sleep(0.001)


async def _read_request(wire: Wire, nth: int) -> Received | None:
    try:
        head = await wire.reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    method, target, _ = first.split(" ")
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    request = Received(method, target, headers, b"", wire.number, nth)
    if "chunked" in request.all("transfer-encoding"):
        body = bytearray()
        while size := int(await wire.reader.readline(), 16):
            body += (await wire.reader.readexactly(size + 2))[:-2]
        await wire.reader.readline()
        request.body = bytes(body)
    elif length := request.all("content-length"):
        request.body = await wire.reader.readexactly(int(length[0]))
    return request


@asynccontextmanager
async def serve(
    handler: Handler,
    *,
    tls: ssl.SSLContext | None = None,
    greet: Callable[[Wire], Awaitable[None]] | None = None,
) -> AsyncIterator[Server]:
    """A server on a free port; `greet` is called with each connection before anything is read."""
    server = Server(handler, greet=greet)
    listener = await asyncio.start_server(server.connected, "127.0.0.1", 0, ssl=tls, limit=1 << 20)
    server.port = listener.sockets[0].getsockname()[1]
    server.scheme = "http" if tls is None else "https"
    try:
        yield server
    finally:
        server.end()
        listener.close()


@asynccontextmanager
async def black_hole() -> AsyncIterator[str]:
    """A URL to which connecting never succeeds: the listener's queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            with suppress(BlockingIOError):
                filler.connect(listener.getsockname())
            fillers.append(filler)
        await asyncio.sleep(0)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            for filler in fillers:
                filler.close()


@asynccontextmanager
async def silent_port() -> AsyncIterator[int]:
    """A port that accepts connections and never says a word."""
    opened: list[asyncio.StreamWriter] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(writer)

    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        for writer in opened:
            writer.transport.abort()


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def proxy(*, user: str = "", refuse: int = 0, reset: bool = False) -> Handler:
    """A handler that is an HTTP proxy: tunnels for CONNECT, forwards what has an absolute target.

    `user`: the Proxy-Authorization that it wants; `refuse`: the status with which it refuses CONNECT.
    """

    async def handle(request: Received, wire: Wire) -> None:
        if user and request.one("proxy-authorization") != user:
            wire.answer(407, b"", ("Proxy-Authenticate", 'Basic realm="test"'))
        elif reset:
            wire.reset()
        elif request.method == "CONNECT" and refuse:
            wire.answer(refuse)
        elif request.method == "CONNECT":
            await _tunnel(request, wire)
        else:
            wire.answer(200, f"proxied {request.target}".encode())

    return handle


async def _tunnel(request: Received, wire: Wire) -> None:
    host, _, port = request.target.rpartition(":")
    wire.ended = True
    reader, writer = await asyncio.open_connection(host, int(port))
    wire.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

    async def pour(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65_536):
                sink.write(data)
                await sink.drain()
            sink.write_eof()

    try:
        await asyncio.gather(pour(reader, wire.writer), pour(wire.reader, writer))
    finally:
        writer.close()
