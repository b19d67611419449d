"""Each fault as a raw client sees it through real sockets; and without one, only the server's bytes."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.faults import (
    Accept,
    Blackhole,
    Corrupt,
    Cut,
    Direction,
    Drop,
    Duplicate,
    FaultProxy,
    Half,
    Hole,
    How,
    Latency,
    Refuse,
    Stall,
    Throttle,
)
from tests.faults.frames import TEXT, Frame

ROOT = Path(__file__).resolve().parents[2]
UP, DOWN = Direction.UP, Direction.DOWN
HEAD = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


class Server:
    """Plays `script` to whoever connects, then echoes; knows what it was sent."""

    def __init__(self, script: bytes = b"") -> None:
        self.script = script
        self.heard: list[bytearray] = []
        self.lost: list[BaseException | None] = []

    async def __aenter__(self) -> Server:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address: tuple[str, int] = self.server.sockets[0].getsockname()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard = bytearray()
        self.heard.append(heard)
        error: BaseException | None = None
        try:
            writer.write(self.script)
            while data := await reader.read(65_536):
                heard += data
                writer.write(data)
                await writer.drain()
        except ConnectionError as broken:
            error = broken
        self.lost.append(error)
        writer.close()


class Client:
    """Raw sockets; `through` closes them."""

    opened: ClassVar[list[socket.socket]] = []

    def __init__(self, proxy: FaultProxy) -> None:
        self.socket = socket.socket()
        self.opened.append(self.socket)
        self.socket.setblocking(False)
        self.port = proxy.port
        self.loop = asyncio.get_running_loop()
        self.reset = False  # before the connect was even answered to us

    async def open(self) -> Client:
        try:
            await self.loop.sock_connect(self.socket, ("127.0.0.1", self.port))
        except ConnectionResetError:
            self.reset = True
        return self

    async def send(self, data: bytes) -> None:
        await self.loop.sock_sendall(self.socket, data)

    async def read(self, size: int, patience: float = 5.0) -> bytes:
        """So many bytes; fewer when the stream ends or `patience` does."""
        got = bytearray()
        try:
            async with asyncio.timeout(patience):
                while len(got) < size and (data := await self.loop.sock_recv(self.socket, size - len(got))):
                    got += data
        except TimeoutError:
            pass
        return bytes(got)

    async def end(self, patience: float = 5.0) -> str:
        """How the stream ends: fin, rst, or silence."""
        if self.reset:
            return "rst"
        try:
            async with asyncio.timeout(patience):
                while await self.loop.sock_recv(self.socket, 65_536):
                    pass
            return "fin"
        except ConnectionResetError:
            return "rst"
        except TimeoutError:
            return "silence"


Test = Callable[[FaultProxy, Server], Awaitable[None]]


def through(
    test: Test, script: bytes = b"", runner: Callable[[Any], Any] = asyncio.run, **options: Any
) -> None:
    async def main() -> None:
        async with (
            asyncio.timeout(20),
            Server(script) as server,
            FaultProxy(server.address, **options) as proxy,
        ):
            await test(proxy, server)

    try:
        runner(main())
    finally:
        while Client.opened:
            Client.opened.pop().close()


async def until(condition: Callable[[], object]) -> None:
    """Bounded by the test's own timeout."""
    while not condition():  # noqa: ASYNC110 - two ends of a socket share no event
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run])
def test_a_clean_proxy_passes_bytes_and_ends_both_ways(runner: Callable[[Any], Any]) -> None:
    data = os.urandom(3_000_000)

    async def test(proxy: FaultProxy, server: Server) -> None:
        client = await Client(proxy).open()
        sending = asyncio.ensure_future(client.send(data))
        assert await client.read(len(data)) == data
        await sending
        client.socket.shutdown(socket.SHUT_WR)
        assert await client.end() == "fin"
        assert bytes(server.heard[0]) == data
        assert server.lost == [None]
        client.socket.close()
        await until(lambda: not proxy.links)
        assert proxy.used == {}
        assert proxy.accepted == 1

    through(test, runner=runner)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.binary(min_size=1, max_size=5_000), min_size=1, max_size=12), st.booleans())
def test_random_chunks_arrive_unchanged(chunks: list[bytes], late: bool) -> None:
    async def test(proxy: FaultProxy, server: Server) -> None:
        if late:  # time alone changes no byte either
            proxy.order(Latency(seconds=0.002, jitter=0.002))
        client = await Client(proxy).open()
        for chunk in chunks:
            await client.send(chunk)
            await asyncio.sleep(0)
        whole = b"".join(chunks)
        assert await client.read(len(whole)) == whole

    through(test)


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run])
@pytest.mark.parametrize("after", [0, 1, 57, 58, 1000])
def test_a_reset_after_n_bytes_down(after: int, runner: Callable[[Any], Any]) -> None:
    script = os.urandom(2000)

    async def test(proxy: FaultProxy, server: Server) -> None:
        proxy.order(Cut(after=after, direction=DOWN))
        client = await Client(proxy).open()
        assert await client.read(after) == script[:after]
        assert await client.end() == "rst"
        # and the next one is served
        again = await Client(proxy).open()
        assert await again.read(2000) == script
        assert proxy.used == {"cut": 1}

    through(test, script, runner)


@pytest.mark.parametrize("after", [0, 1, 40])
def test_a_reset_after_n_bytes_up(after: int) -> None:
    async def test(proxy: FaultProxy, server: Server) -> None:
        client = await Client(proxy).open()
        await client.send(b"hello")
        assert await client.read(5) == b"hello"
        proxy.order(Cut(after=after, direction=UP, connection=1))
        await client.send(b"x" * 100)
        assert await client.end() == "rst"
        await until(lambda: server.lost)
        assert bytes(server.heard[0]) == b"hello" + b"x" * after
        assert isinstance(server.lost[0], ConnectionResetError)

    through(test)


def test_a_reset_now_needs_no_byte() -> None:
    async def test(proxy: FaultProxy, server: Server) -> None:
        first, second = await Client(proxy).open(), await Client(proxy).open()
        await first.send(b"a")
        await second.send(b"b")
        assert (await first.read(1), await second.read(1)) == (b"a", b"b")
        proxy.order(Cut(connection=1))
        assert await first.end() == "rst"
        await second.send(b"c")
        assert await second.read(1) == b"c"
        assert proxy.reset_all() == 1
        assert await second.end() == "rst"

    through(test)


def test_half_a_frame_then_reset_end_or_silence() -> None:
    frame = Frame(True, 0, TEXT, b"", b'{"e":"trade"}').encode()

    async def test(proxy: FaultProxy, server: Server) -> None:
        for how in How:
            proxy.order(Half(text="trade", how=how))
            client = await Client(proxy).open()
            half = HEAD + frame[: len(frame) // 2]
            assert await client.read(len(half)) == half
            await client.send(b"still there?")
            assert await client.end(0.2) == how.value

    through(test, HEAD + frame)


def test_frames_are_dropped_doubled_and_broken_on_the_wire() -> None:
    frames = [Frame(True, 0, TEXT, b"", b"%d" % n).encode() for n in range(3)]

    async def test(proxy: FaultProxy, server: Server) -> None:
        for fault, expected in (
            (Drop(text="1"), frames[0] + frames[2]),
            (Duplicate(text="1"), frames[0] + 2 * frames[1] + frames[2]),
            (Corrupt(text="1"), frames[0] + b"\x83\x011" + frames[2]),
        ):
            proxy.order(fault)
            client = await Client(proxy).open()
            assert await client.read(len(HEAD + expected)) == HEAD + expected
        assert proxy.used == {"drop": 1, "duplicate": 1, "corrupt": 1}

    through(test, HEAD + b"".join(frames))


def test_a_hole_is_missing_and_the_rest_follows() -> None:
    async def test(proxy: FaultProxy, server: Server) -> None:
        proxy.order(Hole(after=3, size=2, direction=UP))
        client = await Client(proxy).open()
        await client.send(b"0123456789")
        assert await client.read(8) == b"01256789"

    through(test)


@pytest.mark.parametrize("direction", list(Direction))
def test_a_black_hole_swallows_and_a_new_connection_after_it_lives(direction: Direction) -> None:
    async def test(proxy: FaultProxy, server: Server) -> None:
        client = await Client(proxy).open()
        await client.send(b"a")
        assert await client.read(1) == b"a"
        order = proxy.order(Blackhole(direction=direction))
        await client.send(b"b")
        assert await client.read(1, 0.1) == b""
        assert bytes(server.heard[0]) == (b"ab" if direction is DOWN else b"a")
        assert order.used == (2 if direction is Direction.BOTH else 1)
        proxy.clear()
        await client.send(b"c")
        assert await client.read(1, 0.1) == b""
        other = await Client(proxy).open()
        await other.send(b"d")
        assert await other.read(1) == b"d"

    through(test)


def test_latency_is_felt_and_no_more_than_asked() -> None:
    async def test(proxy: FaultProxy, server: Server) -> None:
        client = await Client(proxy).open()
        took = []
        for seconds in (0.0, 0.1):
            if seconds:
                proxy.order(Latency(seconds=seconds, direction=DOWN))
            began = time.monotonic()
            await client.send(b"x")
            assert await client.read(1) == b"x"
            took.append(time.monotonic() - began)
        assert took[1] >= 0.1
        assert took[0] < took[1]

    through(test)


def test_a_slow_reader_is_felt_by_the_sender() -> None:
    async def test(proxy: FaultProxy, server: Server) -> None:
        proxy.order(Throttle(rate=50_000.0, direction=UP))
        client = await Client(proxy).open()
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await client.send(b"x" * 30_000_000)
        assert 1_000 < len(server.heard[0]) < 100_000

    through(test)


def test_a_stall_ends_and_nothing_is_lost() -> None:
    async def test(proxy: FaultProxy, server: Server) -> None:
        client = await Client(proxy).open()
        proxy.order(Stall(lasts=0.2))
        await client.send(b"abc")
        assert await client.read(3, 0.05) == b""
        assert await client.read(3) == b"abc"

    through(test)


def test_refused_late_and_absent() -> None:
    async def test(proxy: FaultProxy, server: Server) -> None:
        proxy.order(Refuse(count=2))
        for _ in range(2):
            client = await Client(proxy).open()
            assert await client.end() == "rst"
        proxy.order(Accept(seconds=0.1))
        client = await Client(proxy).open()
        began = time.monotonic()
        await client.send(b"x")
        assert await client.read(1) == b"x"
        assert time.monotonic() - began >= 0.1
        proxy.refuse()
        await client.send(b"y")
        assert await client.read(1) == b"y"  # who is there stays
        with pytest.raises(OSError) as refused:  # noqa: PT011 - the number is looked at
            await Client(proxy).open()
        assert refused.value.errno == errno.ECONNREFUSED
        proxy.listen()
        again = await Client(proxy).open()
        await again.send(b"z")
        assert await again.read(1) == b"z"
        proxy.target = ("127.0.0.1", 1)  # the server has died
        last = await Client(proxy).open()
        assert await last.end() == "rst"

    through(test)


def test_a_forgotten_proxy_ends_by_itself() -> None:
    async def test(proxy: FaultProxy, server: Server) -> None:
        client = await Client(proxy).open()
        assert await client.end() == "rst"
        assert proxy.overdue
        with pytest.raises(ConnectionRefusedError):
            await Client(proxy).open()

    through(test, limit=0.2)


def test_too_many_connections_are_refused() -> None:
    async def test(proxy: FaultProxy, server: Server) -> None:
        first = await Client(proxy).open()
        await first.send(b"x")
        assert await first.read(1) == b"x"
        second = await Client(proxy).open()
        assert await second.end() == "rst"

    through(test, max_connections=1)


def test_from_a_shell() -> None:
    async def test(server: Server) -> None:
        command = [
            sys.executable,
            "-m",
            "tests.faults",
            "--to",
            f"127.0.0.1:{server.address[1]}",
            "--seconds",
            "15",
        ]
        process = await asyncio.create_subprocess_exec(
            *command, "hole:after=1", stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
        )
        assert process.stdin is not None
        assert process.stdout is not None
        port = json.loads(await process.stdout.readline())["port"]
        assert "Hole" in json.loads(await process.stdout.readline())["order"]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"abc")
        assert await reader.readexactly(2) in (b"ac", b"ab")  # either direction has a hole to give
        writer.close()
        process.stdin.write(b"nonsense\nstate\n")
        assert "there are" in json.loads(await process.stdout.readline())["error"]
        assert json.loads(await process.stdout.readline())["used"] == {"hole": 1}
        process.stdin.close()
        assert await process.wait() == 0

    async def main() -> None:
        async with asyncio.timeout(20), Server() as server:
            await test(server)

    asyncio.run(main())


def test_a_wrong_order_in_a_shell_is_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", "--to", "127.0.0.1:1", "cutt"],
        capture_output=True, text=True, cwd=ROOT, timeout=20, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
