"""A TCP proxy on loopback that damages connections on command. See `faults` for what it can be told.

    async with FaultProxy(("127.0.0.1", port)) as proxy:
        ...                                    # clients use proxy.port
        proxy.order(Cut(connection=1))         # RST on the first connection, now
        proxy.order(Latency(seconds=0.02, jitter=0.01, direction=Direction.DOWN))
        proxy.used["cut"]                      # 1

Orders end by themselves, bytes held back are bounded (the sender feels it), so is the life of the proxy.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from tests.faults.faults import Accept, Direction, Fault, How, Orders, Refuse, Standing
from tests.faults.lane import End, Lane, Send, Step

HELD = 262_144
"""Bytes of one direction that wait for their time; beyond it nothing more is read."""
ORPHAN = 2.0
"""Seconds that one end of a dead connection outlives the other."""


def reset(sock: socket.socket) -> None:
    """Close with RST instead of FIN."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class FaultProxy:
    """See the module's words.

    Args:
        target: where connections go; may be changed at any time, for those to come.
        seed: of everything that is random.
        port: 0 picks a free one.
        limit: seconds until the proxy resets everything and refuses, whatever was forgotten.
        max_connections: open at once; one more is refused.

    Attributes:
        accepted: connections so far; the ordinal of the latest.
        overdue: `limit` has passed.
        carried: bytes of the connection that ended last, by direction.
    """

    def __init__(
        self,
        target: tuple[str, int],
        *,
        seed: int = 1,
        port: int = 0,
        host: str = "127.0.0.1",
        limit: float = 900.0,
        max_connections: int = 256,
    ) -> None:
        self.target = target
        self.seed = seed
        self.host = host
        self.port = port
        self.limit = limit
        self.max_connections = max_connections
        self.orders = Orders()
        self.links: dict[int, Link] = {}
        self.accepted = 0
        self.overdue = False
        self.carried = {Direction.UP: 0, Direction.DOWN: 0}
        self._listener: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<FaultProxy :{self.port} -> {self.target} open={len(self.links)} {self.orders!r}>"

    @property
    def used(self) -> dict[str, int]:
        """How often each kind of order has struck."""
        return dict(self.orders.used)

    async def __aenter__(self) -> Self:
        self.listen()
        self._spawn(self._expire())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- orders -------------------------------------------------------------------------------------------
    def order(self, fault: Fault) -> Standing:
        """In force from now on; what it asks of open connections at once happens now.

        Raises:
            FaultError: it makes no sense.
        """
        now = asyncio.get_running_loop().time()
        standing = self.orders.add(fault, now)
        for link in tuple(self.links.values()):
            link.poke()
        return standing

    def clear(self) -> None:
        """Further bytes pass; what has been done stays done."""
        self.orders.clear()

    def listen(self) -> None:
        """Accept connections (again, on the same port)."""
        if self._listener is not None:
            return
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.host, self.port))
        listener.listen(128)
        listener.setblocking(False)
        self.port = listener.getsockname()[1]
        self._listener = listener
        asyncio.get_running_loop().add_reader(listener.fileno(), self._accept, listener)

    def refuse(self) -> None:
        """Close the port: the kernel refuses connections, until `listen`. Open ones stay."""
        listener, self._listener = self._listener, None
        if listener is not None:
            asyncio.get_running_loop().remove_reader(listener.fileno())
            listener.close()

    def reset_all(self) -> int:
        """RST on every open connection; how many."""
        links = tuple(self.links.values())
        for link in links:
            link.end()
        return len(links)

    # -- connections ----------------------------------------------------------------------------------------
    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _expire(self) -> None:
        await asyncio.sleep(self.limit)
        self.overdue = True
        self.clear()
        self.refuse()
        self.reset_all()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(BlockingIOError, ConnectionError):
            while True:
                client, _ = listener.accept()
                client.setblocking(False)
                self.accepted += 1
                if len(self.links) >= self.max_connections:
                    reset(client)
                else:
                    self._spawn(self._serve(client, self.accepted))

    async def _serve(self, client: socket.socket, ordinal: int) -> None:
        loop = asyncio.get_running_loop()
        server = socket.socket()
        server.setblocking(False)
        try:
            for one, refusal in self.orders.matching(Refuse, ordinal, Direction.BOTH, loop.time()):
                self.orders.strike(one)
                if refusal.how is How.RST:
                    reset(client)
                return
            for one, late in self.orders.matching(Accept, ordinal, Direction.BOTH, loop.time()):
                self.orders.strike(one)
                await asyncio.sleep(late.seconds)
            try:
                await loop.sock_connect(server, self.target)
            except OSError:
                reset(client)  # nobody is there: what a client sees of a server that died
                return
            link = self.links[ordinal] = Link(self, ordinal, client, server)
            try:
                await link.run()
            finally:
                del self.links[ordinal]
                self.carried = {flow.lane.direction: flow.lane.carried for flow in (link.up, link.down)}
        finally:
            client.close()
            server.close()


class Link:
    """One proxied connection: two sockets, two lanes."""

    def __init__(self, proxy: FaultProxy, ordinal: int, client: socket.socket, server: socket.socket) -> None:
        for sock in (client, server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.ordinal = ordinal
        self._sockets = (client, server)
        self.up = Flow(Lane(proxy.orders, ordinal, Direction.UP, proxy.seed), client, server)
        self.down = Flow(Lane(proxy.orders, ordinal, Direction.DOWN, proxy.seed), server, client)
        self._ended = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Link {self.ordinal} {self.up.lane} {self.down.lane}>"

    def poke(self) -> None:
        """There are new orders."""
        now = asyncio.get_running_loop().time()
        for flow in (self.up, self.down):
            flow.put(flow.lane.feed(b"", now))

    def end(self) -> None:
        """RST to both peers."""
        self._ended.set()

    async def run(self) -> None:
        """Until both peers have ended and all is delivered, or an order or a broken peer ends it."""
        flows = (self.up, self.down)
        readers = [asyncio.create_task(flow.read(self)) for flow in flows]
        writers = [asyncio.create_task(flow.write(self)) for flow in flows]
        self.poke()
        try:
            await self._until(readers, asyncio.FIRST_COMPLETED)
            if all(flow.lane.dead for flow in flows):
                # One peer has left, and the other will never hear of it.
                await self._until(readers, asyncio.ALL_COMPLETED, ORPHAN)
                self.end()
            await self._until(readers, asyncio.ALL_COMPLETED)
            await self._until(writers, asyncio.ALL_COMPLETED)
        finally:
            for task in (*readers, *writers):
                task.cancel()
            await asyncio.gather(*readers, *writers, return_exceptions=True)
            if self._ended.is_set():
                for sock in self._sockets:
                    reset(sock)

    async def _until(
        self, tasks: list[asyncio.Task[None]], which: str, patience: float | None = None
    ) -> None:
        """Until so many of these are done, or the link is to end."""
        if self._ended.is_set():
            return
        ended = asyncio.ensure_future(self._ended.wait())
        waiting = asyncio.ensure_future(asyncio.wait(tasks, return_when=which))
        try:
            await asyncio.wait({ended, waiting}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
            waiting.cancel()
            await asyncio.gather(ended, waiting, return_exceptions=True)


class Flow:
    """One direction's work: reads, asks the lane, writes what is due."""

    def __init__(self, lane: Lane, source: socket.socket, sink: socket.socket) -> None:
        self.lane = lane
        self._source = source
        self._sink = sink
        self._steps: deque[Step] = deque()
        self._held = 0
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def put(self, steps: list[Step]) -> None:
        """More to do."""
        for step in steps:
            self._steps.append(step)
            if isinstance(step, Send):
                self._held += len(step.data)
        if steps:
            self._news.set()
        if self._held > HELD:
            self._room.clear()

    async def read(self, link: Link) -> None:
        """Until the source has ended. What a dead lane is sent is read and lost."""
        loop = asyncio.get_running_loop()
        while True:
            await self._room.wait()
            try:
                data = await loop.sock_recv(self._source, self.lane.appetite(loop.time()))
            except OSError:
                if not self.lane.dead:
                    link.end()
                break
            if not data:
                break
            self.put(self.lane.feed(data, loop.time()))
        now = loop.time()
        self.put(self.lane.finish(now) or [End(now, How.SILENCE)])

    async def write(self, link: Link) -> None:
        """Until the lane's end is delivered."""
        loop = asyncio.get_running_loop()
        while True:
            while not self._steps:
                self._news.clear()
                await self._news.wait()
            step = self._steps.popleft()
            if (early := step.due - loop.time()) > 0:
                await asyncio.sleep(early)
            if isinstance(step, End):
                return await self._finish(step.how, link)
            try:
                await loop.sock_sendall(self._sink, step.data)
            except OSError:
                return link.end()
            self._held -= len(step.data)
            if self._held <= HELD:
                self._room.set()

    async def _finish(self, how: How, link: Link) -> None:
        if how is How.FIN:
            with suppress(OSError):
                self._sink.shutdown(socket.SHUT_WR)
        elif how is How.RST:
            link.end()
