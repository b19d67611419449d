"""A minimal exchange for docs/adding-a-venue.md: quotes, a book without update ids, trades, a listing.

python examples/toy_exchange.py --port 9700
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import time
from decimal import Decimal
from typing import Any

from aiohttp import WSMsgType, web

PAIRS = {"BTC-USD": ("0.01", "0.0001"), "ETH-USD": ("0.01", "0.001")}  # name -> tick, lot
LEVELS = 30


class Market:
    """One pair: a book of `LEVELS` levels a side around a price that moves at random."""

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.chance = random.Random(seed)
        self.tick, self.lot = map(Decimal, PAIRS[name])
        self.middle = 10_000  # in ticks
        self.bids: dict[int, Decimal] = {}
        self.asks: dict[int, Decimal] = {}
        self.trades = 0
        self.step()

    def step(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Move the price and trade once; the messages with the book's changes, the quote and the trade."""
        self.middle += self.chance.choice((-1, 0, 1))
        before = (dict(self.bids), dict(self.asks))
        wanted = (
            {self.middle - n: self.bids.get(self.middle - n) for n in range(1, LEVELS + 1)},
            {self.middle + n: self.asks.get(self.middle + n) for n in range(1, LEVELS + 1)},
        )
        self.bids, self.asks = ({p: s or self.size() for p, s in side.items()} for side in wanted)
        self.bids[self.middle - 1] = self.size()
        changes = [
            [
                [self.price(p), str(now.get(p, 0))]
                for p in sorted(old.keys() | now)
                if old.get(p) != now.get(p)
            ]
            for old, now in zip(before, (self.bids, self.asks), strict=True)
        ]
        self.trades += 1
        sold = {"id": self.trades, "p": self.price(self.middle), "q": str(self.size()), "sold": True}
        return self.message("depth", b=changes[0], a=changes[1]), self.quote(), self.message("trade", **sold)

    def quote(self) -> dict[str, Any]:
        return self.message("quote", b=self.sides()[0][0], a=self.sides()[1][0])

    def snapshot(self) -> dict[str, Any]:
        bids, asks = self.sides()
        return self.message("depth", snap=True, b=bids, a=asks)

    def sides(self) -> tuple[list[list[str]], list[list[str]]]:
        """Bids and asks as [price, size], best price first."""
        bids = [[self.price(p), str(self.bids[p])] for p in sorted(self.bids, reverse=True)]
        return bids, [[self.price(p), str(self.asks[p])] for p in sorted(self.asks)]

    def message(self, channel: str, **facts: Any) -> dict[str, Any]:
        return {"ch": channel, "s": self.name, "t": time.time_ns() // 1_000_000, **facts}

    def price(self, ticks: int) -> str:
        return str(ticks * self.tick)

    def size(self) -> Decimal:
        return self.chance.randint(1, 50_000) * self.lot


class ToyExchange:
    """Serves its markets on loopback; tests compare the books of `markets` with what a client has."""

    def __init__(self, seed: int = 1, every: float = 0.05) -> None:
        self.markets = {name: Market(name, seed) for name in PAIRS}
        self.clients: dict[web.WebSocketResponse, set[str]] = {}
        self.every = every

    async def start(self, port: int = 0) -> int:
        """Start listening on 127.0.0.1; returns the port, a free one for 0."""
        app = web.Application()
        app.router.add_get("/ws", self.websocket)
        app.router.add_get("/pairs", self.listing)
        self.runner = web.AppRunner(app, access_log=None)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", port)
        await site.start()
        self.ticking = asyncio.ensure_future(self.tick())
        return int(self.runner.addresses[0][1])

    async def stop(self) -> None:
        self.ticking.cancel()
        await asyncio.gather(self.ticking, return_exceptions=True)
        await asyncio.gather(*(client.close() for client in list(self.clients)))
        await self.runner.cleanup()

    async def tick(self) -> None:
        while True:
            for market in self.markets.values():
                for message in market.step():
                    await self.publish(message)
            await asyncio.sleep(self.every)

    async def publish(self, message: dict[str, Any]) -> None:
        text = json.dumps(message, separators=(",", ":"))
        for client, streams in list(self.clients.items()):
            if f"{message['ch']}:{message['s']}" in streams:
                with contextlib.suppress(ConnectionError):
                    await client.send_str(text)

    async def listing(self, request: web.Request) -> web.Response:
        pairs = []
        for name, (tick, lot) in PAIRS.items():
            base, quote = name.split("-")
            pairs.append({"name": name, "base": base, "quote": quote, "tick": tick, "lot": lot})
        return web.json_response(pairs)

    async def websocket(self, request: web.Request) -> web.WebSocketResponse:
        client = web.WebSocketResponse()
        await client.prepare(request)
        streams = self.clients[client] = set()
        try:
            async for message in client:
                if message.type is WSMsgType.TEXT:
                    await self.answer(client, streams, json.loads(message.data))
        finally:
            del self.clients[client]
        return client

    async def answer(self, client: web.WebSocketResponse, streams: set[str], request: dict[str, Any]) -> None:
        known = [f"{channel}:{name}" for channel in ("quote", "depth", "trade") for name in PAIRS]
        if wrong := [name for name in request["args"] if name not in known]:
            await client.send_json({"id": request["id"], "ok": False, "why": f"no stream {wrong[0]}"})
            return
        await client.send_json({"id": request["id"], "ok": True})
        for stream in request["args"]:
            channel, _, name = stream.partition(":")
            if request["op"] == "unsub":
                streams.discard(stream)
            elif stream not in streams:
                streams.add(stream)  # before the snapshot: nothing may change in between
                if channel != "trade":
                    market = self.markets[name]
                    await client.send_json(market.snapshot() if channel == "depth" else market.quote())


async def main() -> None:
    parser = argparse.ArgumentParser(description="A minimal exchange.")
    parser.add_argument("--port", type=int, default=9700)
    exchange = ToyExchange()
    wanted = parser.parse_args().port
    try:
        port = await exchange.start(wanted)
    except OSError as error:
        raise SystemExit(
            f"port {wanted} cannot be had: {error.strerror}; choose another with --port"
        ) from error
    print(f"ws://127.0.0.1:{port} and http://127.0.0.1:{port}", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        await exchange.stop()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
