"""`SimVenue`: the simulated venue as one object, for tests, benchmarks, the demo and the command line."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from types import TracebackType
from typing import Literal

import msgspec
from aiohttp import web

from workers.capture import reader as captures
from workers.sim.book import Depth
from workers.sim.dialect import Dialect
from workers.sim.dialects import FEEDS, dialect
from workers.sim.faults import Fault, FaultError, Faults
from workers.sim.hub import Hub, Rules
from workers.sim.keys import SimKey
from workers.sim.market import Listing
from workers.sim.replay import Replay
from workers.sim.rest import Request, RestContext
from workers.sim.synthetic import Synthetic
from workers.sim.transport import Peer, frame

__all__ = ["FEEDS", "ListingChange", "SimError", "SimVenue"]

TICK = 0.05
"""Seconds between calls of `Hub.tick` (heartbeats, pings, timeouts)."""


class SimError(ValueError):
    """The venue cannot be set up, or changed, as requested; the message says what is possible."""


class ListingChange(msgspec.Struct, forbid_unknown_fields=True):
    """A change of a synthetic venue's listing, as the JSON body of ``POST /sim/listing``.

    Attributes:
        action: ``list``, ``delist``, ``halt``, ``resume`` or ``tick``.
        symbol: the canonical symbol.
        status: for ``halt``: the status in the listing; empty: the dialect's usual one.
        tick: for ``tick``: the new tick size, decimal text.
    """

    action: Literal["list", "delist", "halt", "resume", "tick"]
    symbol: str
    status: str = ""
    tick: str = ""


class SimVenue:
    """A simulated venue on loopback: ``async with SimVenue() as venue: venue.ws_url, venue.rest_url``.

    WebSocket and REST listen on a port each: WebSocket with a transport of our own (for batched writes, and
    faults inside a frame), REST with aiohttp.

    Args:
        feed: one of `FEEDS`, or a dialect of your own.
        capture: replay this file (or these rows); None: a synthetic market.
        speed: replay: factor to the recorded speed; None: as fast as the sockets take it.
        settle: replay: seconds to wait for further subscriptions before the first frame.
        symbols: synthetic: the canonical symbols to list (`Dialect.listing`); None: the dialect's
            `default_symbols`.
        seed: synthetic: the same seed gives the same market.
        rate: synthetic: actions per second and symbol; 0: nothing happens until `market.step` is called.
        rates: synthetic: other rates of some symbols, as (shell pattern of canonical symbols, rate); of
            several that match, the last one counts.
        levels: synthetic: price levels a side.
        together: synthetic: prices follow common ones, so that several venues show similar prices.
        rules: limits and timeouts of a connection; None: the venue's.
        budget: REST limit per window, in the venue's unit, for all clients together; None: the venue's.
        keys: API keys that are accepted, where the dialect has signed endpoints.
        port, rest_port: 0: any free port.
        clock: monotonic seconds, for rules and REST limits.
        wall_ns: the venue's wall clock, nanoseconds since 1970.

    Attributes:
        ws_url, rest_url: where it listens, once entered.
        hub, faults, rest, source: its parts; `source` is the `market` or the `replay`, whichever it has.
        failed: set when one of its tasks has failed; `failure` is the exception, which leaving re-raises.

    It can be controlled by HTTP, under `rest_url`: ``POST /sim/faults`` (JSON of `faults.Fault`) adds a
    fault, ``DELETE /sim/faults`` clears them, ``POST /sim/listing`` (JSON of `ListingChange`) changes the
    listing, ``GET /sim/state`` returns counters, ``GET /sim/book?symbol=`` returns the current book.

    Raises:
        SimError: an unknown feed or symbol, or an invalid API key.
        CaptureError: the capture cannot be read.
    """

    def __init__(
        self,
        feed: str | Dialect = "binance_spot",
        *,
        capture: Path | str | Iterable[captures.Row] | None = None,
        speed: float | None = 1.0,
        settle: float = 0.3,
        symbols: Sequence[str] | None = None,
        seed: int = 1,
        rate: float = 100.0,
        rates: Sequence[tuple[str, float]] = (),
        levels: int = 200,
        together: bool = False,
        rules: Rules | None = None,
        budget: int | None = None,
        keys: Iterable[SimKey] = (),
        host: str = "127.0.0.1",
        port: int = 0,
        rest_port: int = 0,
        clock: Callable[[], float] = time.monotonic,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        try:
            chosen = self.dialect = feed if isinstance(feed, Dialect) else dialect(feed)
        except LookupError as error:
            raise SimError(str(error)) from None
        self.feed = chosen.feed
        self.faults = Faults(chosen.faults)
        self.rules = rules or chosen.rules
        self._address = (host, port, rest_port)
        self.hub = Hub(self.rules, self.faults, clock)
        self.hub.protocol = chosen.protocol(self.hub)
        self.market: Synthetic | None = None
        self.replay: Replay | None = None
        if capture is None:
            listings = [_listing(chosen, name) for name in symbols or chosen.default_symbols]
            ids = None if chosen.ids is None else chosen.ids(seed)
            self.market = Synthetic(
                listings, seed, rate, levels, self.hub, chosen.publisher, wall_ns,
                rates=rates, together=together, text=chosen.text, salt=chosen.salt, ids=ids,
            )  # fmt: skip
        else:
            rows = captures.read(capture) if isinstance(capture, (str, Path)) else capture
            self.replay = Replay(rows, chosen.decoder(), self.hub, speed, settle)
        source = self.source = self.hub.source = _one(self.market, self.replay)
        try:
            self.rest = chosen.rest(
                RestContext(
                    source=source, faults=self.faults, hub=self.hub, clock=clock, wall_ns=wall_ns,
                    budget=budget, keys=tuple(keys),
                )
            )  # fmt: skip
        except ValueError as error:
            raise SimError(str(error)) from None
        self._server: asyncio.Server | None = None
        self._runner: web.AppRunner | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.failed = asyncio.Event()
        self.failure: BaseException | None = None
        self.ws_url = self.rest_url = ""

    def __repr__(self) -> str:
        return f"<SimVenue {self.feed} {self.source} ws={self.ws_url} rest={self.rest_url}>"

    async def __aenter__(self) -> SimVenue:
        try:
            await self._listen()
        except BaseException:  # if a port is taken, release the other one
            await self.__aexit__(None, None, None)
            raise
        if self.market is None or self.market.moves:
            self._tasks.append(asyncio.create_task(self.source.run()))
        self._tasks.append(asyncio.create_task(self._tick()))
        for task in self._tasks:
            task.add_done_callback(self._on_task_done)
        return self

    async def _listen(self) -> None:
        host, port, rest_port = self._address
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Peer(self.hub), host, port)
        app = web.Application()
        app.router.add_route("POST", "/sim/faults", self._post_fault)
        app.router.add_route("DELETE", "/sim/faults", self._clear_faults)
        app.router.add_route("POST", "/sim/listing", self._post_listing)
        app.router.add_route("GET", "/sim/state", self._get_state)
        app.router.add_route("GET", "/sim/book", self._get_book)
        app.router.add_route("*", "/{path:.*}", self._get_rest)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, rest_port).start()
        self.ws_url = f"ws://{host}:{self._server.sockets[0].getsockname()[1]}"
        self.rest_url = f"http://{host}:{self._runner.addresses[0][1]}"

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        if self._server is not None:
            self._server.close()
        self.hub.close()
        if self._runner is not None:
            await self._runner.cleanup()
        if self.failure is not None:
            raise self.failure

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self.failure = self.failure or task.exception()
            self.failed.set()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self.hub.tick()

    # -- for tests and benchmarks -------------------------------------------------------------------

    def book(self, symbol: str) -> Depth:
        """The current full book of a canonical (``BTC/USDT``) or venue symbol, to compare a client's with.

        Raises:
            KeyError: unknown symbol.
        """
        return self.source.depth(self.venue_symbol(symbol))

    def venue_symbol(self, symbol: str) -> str:
        """The venue symbol of a canonical or venue symbol.

        Raises:
            KeyError: unknown symbol.
        """
        for known in self.source.symbols():
            if symbol in self.dialect.symbols(known):
                return known
        raise KeyError(symbol)

    # -- the listing, while the venue runs ----------------------------------------------------------------

    def enlist(self, symbol: str) -> None:
        """List a canonical symbol of the dialect; one that was delisted goes on where it stopped.

        Raises:
            SimError: a replay, or a symbol that the dialect does not have.
        """
        self._synthetic.enlist(_listing(self.dialect, symbol))

    def delist(self, symbol: str) -> None:
        """Delist a symbol; nothing is sent on its streams any more. SimError: it is not listed."""
        self._synthetic.delist(self._listed(symbol))

    def halt(self, symbol: str, status: str = "") -> None:
        """Halt a symbol's trading; its status in the listing becomes `status` or the dialect's usual one.

        Raises:
            SimError: it is not listed.
        """
        self._synthetic.set_status(self._listed(symbol), status or self.dialect.halted)

    def resume(self, symbol: str) -> None:
        """Resume a halted symbol's trading. SimError: it is not listed."""
        self._synthetic.set_status(self._listed(symbol), "")

    def change_tick(self, symbol: str, tick: str) -> None:
        """Change a symbol's tick size (decimal text); it cannot have more decimals than the first one.

        Raises:
            SimError: it is not listed, or the tick needs more decimals.
        """
        name = self._listed(symbol)
        places = self._synthetic.symbol(name).listing.price_decimals
        try:
            grid = Decimal(tick).scaleb(places)
        except InvalidOperation:
            grid = Decimal(0)
        if grid < 1 or grid != int(grid):
            raise SimError(f"tick {tick!r}: {symbol} has prices of at most {places} decimals")
        self._synthetic.change_tick(name, int(grid))

    @property
    def _synthetic(self) -> Synthetic:
        if self.market is None:
            raise SimError("a replay lists what its capture has")
        return self.market

    def _listed(self, symbol: str) -> str:
        if self._synthetic is not None:  # raises for a replay
            with contextlib.suppress(KeyError):
                return self.venue_symbol(symbol)
        raise SimError(f"{symbol!r} is not listed")

    def _apply_listing_change(self, change: ListingChange) -> None:
        match change.action:
            case "list":
                self.enlist(change.symbol)
            case "delist":
                self.delist(change.symbol)
            case "halt":
                self.halt(change.symbol, change.status)
            case "resume":
                self.resume(change.symbol)
            case "tick":
                self.change_tick(change.symbol, change.tick)

    def state(self) -> dict[str, object]:
        """Counters and positions, as returned by ``GET /sim/state``."""
        replay = self.replay
        return {
            "feed": self.feed,
            "mode": "synthetic" if replay is None else "replay",
            "connections": len(self.hub.peers),
            "subscriptions": sum(len(peer.streams) for peer in self.hub.peers),
            "counters": dict(self.hub.counters),
            "rest": dict(self.rest.counters),
            "listed": [self.dialect.symbols(name)[0] for name in self.source.symbols()],
            "faults": [msgspec.to_builtins(fault) for fault in self.faults.pending],
            "faults_used": dict(self.faults.used),
            "position": 0 if replay is None else replay.position,
            "frames": 0 if replay is None else len(replay.frames),
            "ended": replay is not None and replay.ended.is_set(),
        }

    async def blast(self, payloads: Sequence[bytes], times: int, batch: int = 256) -> int:
        """For benchmarks: send prepared payloads unchanged to every connection, `times` times.

        Frames are encoded once and written `batch` at a time, as fast as the sockets take them.

        Returns:
            Messages sent to each connection.
        """
        chunks = [
            b"".join(frame(payload) for payload in payloads[start : start + batch])
            for start in range(0, len(payloads), batch)
        ]
        for _ in range(times):
            for chunk in chunks:
                for peer in tuple(self.hub.peers):
                    peer.queue(chunk)
                    peer.flush()
                await self.hub.drained()
                await asyncio.sleep(0)
        return times * len(payloads)

    # -- HTTP ---------------------------------------------------------------------------------------

    async def _get_rest(self, request: web.Request) -> web.Response:
        answer = self.rest.handle(
            Request(
                request.method,
                request.path,
                request.query,
                request.raw_path.partition("?")[2],  # as it was sent: signatures are computed over it
                {name.lower(): value for name, value in request.headers.items()},
                await request.read() if request.can_read_body else b"",
            )
        )
        kind = "text/html" if answer.body.startswith(b"<") else "application/json"
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers, content_type=kind)

    async def _post_fault(self, request: web.Request) -> web.Response:
        try:
            fault = self.faults.add(msgspec.json.decode(await request.read(), type=Fault))
        except (msgspec.MsgspecError, FaultError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response({"id": fault.id})

    async def _clear_faults(self, request: web.Request) -> web.Response:
        self.faults.clear()
        return web.json_response({})

    async def _post_listing(self, request: web.Request) -> web.Response:
        try:
            self._apply_listing_change(msgspec.json.decode(await request.read(), type=ListingChange))
        except (msgspec.MsgspecError, SimError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response({})

    async def _get_book(self, request: web.Request) -> web.Response:
        try:
            depth = self.book(request.query.get("symbol", ""))
        except LookupError:
            return web.json_response({"error": "unknown symbol, or no snapshot of it"}, status=404)
        body = {"lastUpdateId": depth.last_id, "bids": depth.bids, "asks": depth.asks}
        return web.json_response(body)

    async def _get_state(self, request: web.Request) -> web.Response:
        return web.json_response(self.state())


def _listing(chosen: Dialect, symbol: str) -> Listing:
    try:
        return chosen.listing(symbol)
    except LookupError as error:
        raise SimError(str(error)) from None


def _one(market: Synthetic | None, replay: Replay | None) -> Synthetic | Replay:
    source = market or replay
    assert source is not None
    return source
