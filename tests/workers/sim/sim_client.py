"""A client of its own for the simulator's tests: aiohttp for the wire, Decimal dictionaries for the book,
the venue's documented rule step by step. It shares no code with the simulator or the workers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import aiohttp


class Mirror:
    """One symbol by the documented rule. `strict` clients are live only once a diff has bracketed."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.buffer: list[dict[str, Any]] = []
        self.sides: tuple[dict[Decimal, str], dict[Decimal, str]] = ({}, {})
        self.last_id: int | None = None
        self.applied = 0
        self.gaps = 0

    def start(self, snapshot: dict[str, Any]) -> bool:
        """Take a snapshot; False when it is too old for the buffer."""
        if self.buffer and snapshot["lastUpdateId"] + 1 < self.buffer[0]["U"]:
            return False
        self.last_id, self.applied = snapshot["lastUpdateId"], 0
        self.sides = (
            {Decimal(p): q for p, q in snapshot["bids"]},
            {Decimal(p): q for p, q in snapshot["asks"]},
        )
        pending, self.buffer = self.buffer, []
        for diff in pending:
            self.feed(diff)
        return True

    def feed(self, diff: dict[str, Any]) -> None:
        if self.last_id is None:
            self.buffer.append(diff)
            return
        if diff["u"] <= self.last_id:
            return
        if diff["U"] > self.last_id + 1:
            self.gaps += 1
            self.last_id, self.buffer = None, [diff]
            return
        for side, levels in zip(self.sides, (diff["b"], diff["a"]), strict=True):
            for price, size in levels:
                if Decimal(size):
                    side[Decimal(price)] = size
                else:
                    side.pop(Decimal(price), None)
        self.last_id = diff["u"]
        self.applied += 1

    def book(self, count: int | None = None) -> tuple[list[tuple[Decimal, Decimal]], ...]:
        bids = [(p, Decimal(self.sides[0][p])) for p in sorted(self.sides[0], reverse=True)]
        asks = [(p, Decimal(self.sides[1][p])) for p in sorted(self.sides[1])]
        return bids[:count], asks[:count]


def exact(levels: list[Any], count: int | None = None) -> list[tuple[Decimal, Decimal]]:
    return [(Decimal(p), Decimal(q)) for p, q in levels][:count]


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until it is so (3 s at most)."""
    async with asyncio.timeout(3):
        while not condition():  # noqa: ASYNC110 (the venue's counters have no event)
            await asyncio.sleep(0.002)


class Client:
    """Session, socket and mirrors; `read_until` feeds what arrives."""

    def __init__(self, venue: Any) -> None:
        self.venue = venue
        self.session = aiohttp.ClientSession()
        self.ws: aiohttp.ClientWebSocketResponse | None = None
        self.mirrors: dict[str, Mirror] = {}
        self.seen: list[tuple[str, dict[str, Any]]] = []
        self.tops: dict[str, dict[str, Any]] = {}

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self.ws is not None:
            await self.ws.close()
        await self.session.close()

    async def connect(self, path: str, **options: Any) -> aiohttp.ClientWebSocketResponse:
        self.ws = await self.session.ws_connect(self.venue.ws_url + path, max_msg_size=0, **options)
        return self.ws

    async def get(self, path: str) -> tuple[int, Any, Any]:
        async with self.session.get(self.venue.rest_url + path) as answer:
            text = await answer.text()
            body = json.loads(text) if text[:1] in "[{" and text else text
            return answer.status, body, answer.headers

    async def call(self, method: str, params: list[Any] | None = None, number: Any = 1) -> Any:
        assert self.ws is not None
        message = {"method": method, "id": number}
        if params is not None:
            message["params"] = params
        await self.ws.send_json(message)
        while True:
            body = await self.ws.receive_json(timeout=3)
            if "id" in body:
                return body
            self.take(body)

    def take(self, body: dict[str, Any]) -> None:
        stream, data = body.get("stream", ""), body.get("data", body)
        self.seen.append((stream, data))
        if data.get("e") == "depthUpdate":
            self.mirrors.setdefault(data["s"], Mirror(data["s"])).feed(data)
        elif "B" in data and "u" in data:
            self.tops[data["s"]] = data

    async def read(self, seconds: float) -> None:
        """Take what comes, until nothing came for so long."""
        assert self.ws is not None
        while True:
            try:
                message = await self.ws.receive(timeout=seconds)
            except TimeoutError:
                return
            if message.type is not aiohttp.WSMsgType.TEXT:
                return
            self.take(json.loads(message.data))

    async def one(self) -> dict[str, Any]:
        assert self.ws is not None
        body: dict[str, Any] = await self.ws.receive_json(timeout=3)
        self.take(body)
        return body

    async def sync(self, symbol: str, limit: int = 1000) -> Mirror:
        """Ask for snapshots until one is young enough."""
        mirror = self.mirrors.setdefault(symbol, Mirror(symbol))
        for _ in range(20):
            status, body, _ = await self.get(f"/api/v3/depth?symbol={symbol}&limit={limit}")
            if status == 200 and mirror.start(body):
                return mirror
            await asyncio.sleep(0.01)
        raise AssertionError(f"no usable snapshot of {symbol}")
