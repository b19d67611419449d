"""One exchange process: the composition root that joins a venue's parts, managers, books and the segment.

Started as ``python -m workers.worker --fd N`` by the supervisor, which writes one JSON line (`WorkerConfig`)
into the pipe and keeps it open. SIGTERM is the order to stop for good: everything is closed and the segment
removed. The end of the pipe means that the supervisor is gone: the segment is left, DOWN, for the next one.

The order at the start is the order in which a reader profits: take the segment over (old prices lapse), beat,
take the instruments from the segment where they are known, connect, and only then what can wait.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import uvloop

from shm import _ring
from shm.channels import CELLS
from shm.counters import FeedCounter, HistogramId
from shm.errors import Action, ShmError
from shm.events import Code
from shm.instruments import Instrument
from shm.layout import Geometry, InstrumentKind, InstrumentStatus, Reason, Scope, State
from shm.segment import open_writer
from workers.books.manager import BookManager, BookManagerConfig
from workers.books.publish import Publisher
from workers.books.snapshots import OLDER
from workers.books.sync import Best, Snapshot
from workers.books.tiers import Tier
from workers.config.venue import DERIVATIVES, WorkerConfig
from workers.contract.errors import RestError, WebSocketError, WorkerError
from workers.contract.protocols import (
    ConnectionEvent,
    ConnectionState,
    HTTPMethod,
    Priority,
    WebSocketManagerConfig,
)
from workers.contract.rest import Gauges
from workers.decode.normal import Scale
from workers.venues.from_config import make_circuits
from workers.venues.listing import Listing
from workers.venues.venue import Venue, load
from workers.websocket import WebSocketManager
from workers.worker import process
from workers.worker.cold_path import ColdPath
from workers.worker.expectations import Expectations
from workers.worker.feed_state import Readiness, book_channels
from workers.worker.instruments import REJECTED, Instruments

if TYPE_CHECKING:
    from workers.handover.handover import Handover
    from workers.rest import RestManager

BEAT = 0.05  # seconds between heartbeats
DRAIN = 0.05  # seconds between two looks whether the backlog is read, after the process stood still
DRAIN_LIMIT = 0.5  # seconds: beyond it the supervisor would take the worker for hung
REVIEW = 4  # beats between two looks at states
FAULTS = 16  # places in code whose errors are reported
USUAL = 7  # snapshots in a row, within about half a minute, that may be older than the stream: no fault yet
TICK = 20  # beats between two looks at freshness
PROOFS = 0.25  # of the request weight, for proofs of quiet books one by one
NEW_SUBSCRIPTIONS = 2.0  # a second, for proofs of quiet books by the snapshots that they bring
CHANNELS = {Scope.TOP: "top", Scope.BOOK: "book"}
EXIT_CLEAN, EXIT_FAILED, EXIT_CONFIG = 0, 1, 2


class Worker:
    """See the module's words; `run` lives as long as the worker."""

    def __init__(self, config: WorkerConfig, venue: Venue) -> None:
        self.config = config
        self.venue = venue
        self.venue_config = config.venue
        self._stop = asyncio.Event()
        self._unlink = True
        self._beats = 0
        self._statuses: dict[int, InstrumentStatus] = {}  # by slot, as of about a second ago
        self._active: frozenset[tuple[str, str]] = frozenset()
        self._frozen = 0  # how many times the process stood still
        self._head = 0
        self._venue_symbols: dict[str, str] = {}
        self._scales: dict[str, Scale] = {}
        self._manager: WebSocketManager | None = None
        self._rest: RestManager | None = None
        self._rest_ready = asyncio.Lock()
        self._gauges = Gauges()
        self._tasks: set[asyncio.Future[Any]] = set()
        self._faults: set[str] = set()  # places in code
        self._connected_before: set[int] = set()  # shards
        self._serving = False
        self._unanswered_reported = False

    def __repr__(self) -> str:
        return f"<Worker {self.config.instance}/{self.config.feed} {self._manager!r}>"

    def stop(self, unlink: bool = True) -> None:
        """The order to leave; `unlink` removes the segment."""
        self._unlink = self._unlink and unlink
        self._stop.set()

    async def run(self) -> None:
        """Takes the feed over and serves it until it is stopped.

        Raises:
            ShmError, WorkerError: what no retry can heal; the text is one line with what to do.
        """
        config = self.venue_config
        geometry = Geometry(slots=config.ring_slots, instruments=config.max_instruments, depth=config.depth)
        self.writer = open_writer(self.config.instance, self.config.feed, geometry, config.heartbeat_limit)
        try:
            self.writer.log(Code.STARTED, os.getpid(), self.writer.epoch)
            self._compose()
            self._beaten = _ring.now()
            try:
                await self._until_stopped(self._beat(), self._serve())
            finally:
                await self._close()
        finally:
            self.writer.log(Code.STOPPED)
            self.writer.close(unlink=self._unlink)

    def _compose(self) -> None:
        config = self.venue_config
        tiers, owes = self._tiers(), self.venue.data.owes(config)
        proof_limit = min(tiers[0].levels, max(100, config.depth))
        self.decoder = self.venue.data.decoder() if self.venue.data.decoder is not None else None
        self.publisher = Publisher(self.writer, self.decoder, lambda: self.venue.books.make_sync(config))
        self.books = BookManager(
            self.writer,
            self.publisher,
            None if self.venue.books.snapshot is None else self._snapshot,
            BookManagerConfig(
                limit=tiers[-1].levels,
                proof_limit=proof_limit,
                tiers=tuple(tier.levels for tier in tiers),
                stale_after=config.stale_after,
                stale_after_min=config.stale_after_min,
                stale_after_max=config.stale_after_max,
                stale_factor=config.stale_factor,
                audit_interval=config.audit_interval,
                instead_of=1 if self.venue.books.sweep is None else self.venue.books.sweep.instead_of,
                proofs_per_second=self._pace(proof_limit),
                lag=None if self.venue.books.sweep is None else self.venue.books.sweep.lag,
                first_top="top" in owes and owes["top"].first > 0,
            ),
            sweep=None if self.venue.books.sweep is None else self._sweep,
            resubscribe=self._resubscribe,
            renew=self._renew,
            register=self._register,
            respec=self._respec,
            recount=None if self.venue.rest.server_time is None else self._recount,
            on_failed=self._snapshot_failed,
            on_silent=self._silent,
        )
        self.expectations = Expectations(
            self.writer,
            self.publisher,
            config,
            owes,
            aggregated=self.venue.data.aggregated(config),
            remedy=self._subscribe_again,
            moved=self.books.tops.moved,
        )
        self.readiness = Readiness(
            self.writer,
            self.publisher,
            self.books,
            config,
            delivery=self.expectations.delivery,
            statuses=lambda: self._statuses,
            late=self.expectations.late,
        )
        book = "book" in config.channels or (
            "top" in config.channels and self.venue.books.make_sync(config).top_from_book
        )
        self.instruments = Instruments(
            config.symbols,
            self.writer,
            self.publisher,
            self.books,
            self,
            self._listing,
            interval=config.listing_interval,
            retry=config.reconnect_delay,
            most_retry=config.max_reconnect_delay,
            scopes=[Scope.TOP] * ("top" in config.channels) + [Scope.BOOK] * book,
            report=self._report,
        )

    def _pace(self, levels: int) -> float:
        """Snapshots a second for proofs: half of what background work may spend, which leaves the other half
        to deeper snapshots and audits. Where none can be fetched, new subscriptions for them."""
        if self.venue.books.snapshot is None:
            return NEW_SUBSCRIPTIONS
        tiers = self.venue.books.snapshot_tiers
        weight = 1 if tiers is None else tiers.weight(levels)
        return PROOFS * self.venue_config.weight_per_minute / 60.0 / weight

    def _tiers(self) -> Sequence[Tier]:
        """What snapshots are asked for. One that is cut short of that would pass for the whole book, and what
        lies deeper for empty."""
        config = self.venue_config
        if self.venue.books.snapshot_tiers is None:
            return [Tier(config.snapshot_limit, 1)]
        return self.venue.books.snapshot_tiers.between(config.depth, config.snapshot_limit)

    async def _until_stopped(self, *services: Coroutine[Any, Any, Any]) -> None:
        """Runs the services until the order to leave; what one raises is raised here."""
        tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(service) for service in services]
        stopped = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait([*tasks, stopped], return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in (*tasks, stopped):
                task.cancel()
            await asyncio.gather(*tasks, stopped, return_exceptions=True)

    async def _close(self) -> None:
        self.writer.set_state(State.DOWN, Reason.STOP)  # nothing is read any more, and closing takes its time
        for task in self._tasks:
            task.cancel()
        await self.books.close()
        if self._manager is not None:
            await self._manager.close()
        if self._rest is not None:
            await self._rest.close()

    # -- the heartbeat ---------------------------------------------------------------------------------
    async def _beat(self) -> None:
        """The loop's own heartbeat: who hangs does not beat.

        After standing still no old price is LIVE: what the cells say is STALE, and what the sockets have kept
        meanwhile, which is old news too, is read before the next beat lets anything be LIVE again. What a
        connection carries that answers then is as it says: nothing of it was lost. A suspended machine stands
        still too, though CLOCK_MONOTONIC does with it.
        """
        limit = int(self.venue_config.heartbeat_limit * 1e9)
        asleep = self._asleep()
        while True:
            now = _ring.now()
            slept = self._asleep() - asleep
            stood = now - self._beaten + slept
            if stood > limit and self._serving:
                asleep += slept
                self._frozen += 1
                self.publisher.freeze()
                self.writer.count_up(FeedCounter.FREEZES)
                self.writer.log(Code.FROZEN, stood // 1_000_000)
                await self._drain(now)
                self._spawn(self._thaw(self._frozen))
                now = _ring.now()
            self.publisher.wall_offset = time.time_ns() - now
            self.writer.beat(now, self.publisher.wall_offset)
            self._beaten = now
            self._beats += 1
            self.writer.count_up(FeedCounter.HEARTBEATS)
            if self._serving:
                self._look_after()
            await asyncio.sleep(BEAT)

    @staticmethod
    def _asleep() -> int:
        """ns that this machine has been suspended since it was started."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.clock_gettime_ns(time.CLOCK_MONOTONIC)

    async def _thaw(self, frozen: int) -> None:
        """Each connection's cells are LIVE again when it has answered since; after another standstill, by its
        own answer to the later question."""
        if self._manager is not None:
            await self._manager.answered(
                lambda topics: self._answered(topics) if frozen == self._frozen else None
            )

    def _answered(self, topics: Sequence[tuple[str, str]]) -> None:
        now = _ring.now()
        for symbol, channel in topics:
            index = self.books.index_of(symbol) if channel in CELLS else None
            if index is not None:
                if channel == "book" or self.publisher.top_from_book(index):
                    self.publisher.thaw(index, Scope.BOOK, now)
                elif not self.publisher.top_filled(index):  # else the book's connection is asked
                    self.publisher.thaw(index, Scope.TOP, now)

    async def _drain(self, since: int) -> None:
        """Reads what the sockets have kept while the process stood still; gives up after `DRAIN_LIMIT`."""
        while True:
            await asyncio.sleep(DRAIN)
            if _ring.now() - since > DRAIN_LIMIT * 1e9:
                return
            if self._manager is None or not self._manager.unread:
                return

    def _look_after(self) -> None:
        if self._beats % REVIEW == 0:
            if self._manager is not None:
                self.readiness.mirror(self._manager.get_performance_metrics())
            self.readiness.review()
            self._review_rest()
            self.books.look_ahead()
        if self._beats % TICK == 0:
            self.books.tick()
            self.instruments.look()
        self._look_for_overdue()
        head = self.writer.head
        process.collect_when_idle(idle=head == self._head, beats=self._beats)
        self._head = head

    def _look_for_overdue(self) -> None:
        """What channels owe: each instrument once in `TICK` beats, a few with each."""
        if self._manager is None:
            return
        turn = self._beats % TICK
        if not turn:
            self._statuses = {slot.index: slot.status for slot in self.writer.instruments()}
            self.expectations.keep(set(self.publisher.indexes))
            self._active = self._manager.active
        now = _ring.now()
        for index in self.publisher.indexes[turn::TICK]:
            if (symbol := self.books.symbol_of(index)) is not None:
                halted = self._statuses.get(index) is InstrumentStatus.HALTED
                self.books.tops.acknowledged(index, (symbol, "top") in self._active, now)
                self.expectations.look(index, symbol, self._active, now, halted=halted)

    def _subscribe_again(self, symbol: str, channel: str) -> None:
        """This channel owes an event: a new subscription may bring it, or the symbol is listed no more."""
        self.instruments.hint("overdue", symbol)
        if self._manager is not None:
            self._manager.refresh([symbol], [channel])

    # -- service ---------------------------------------------------------------------------------------
    async def _serve(self) -> None:
        known = self.venue.data.channels
        if unknown := [channel for channel in self.venue_config.channels if channel not in known]:
            raise ValueError(f"{self.venue.name} has no channel {unknown[0]!r}: {', '.join(sorted(known))}")
        await self.instruments.begin()
        self._serving = True
        # The first tick comes before an HTTP library and a look at the garbage; a book's first event asks for
        # the library by itself.
        if self.instruments.carried:
            await asyncio.wait({self._spawn(self._connect())}, timeout=self.venue_config.connect_timeout)
        await self._rest_manager()
        process.settle_garbage()
        await self.instruments.watch()

    async def _listing(self, symbols: Sequence[str]) -> Listing:
        """The venue's listing of these symbols, asked for once."""
        return await self.venue.listing.instruments(await self._rest_manager(), symbols)

    def carry(self, instrument: Instrument) -> None:
        """See `workers.worker.instruments.Service`."""
        top, book = (CHANNELS[scope] in self.venue_config.channels for scope in (Scope.TOP, Scope.BOOK))
        # A top that is the best of its book needs the book; whoever reads that finds it, asked for or not.
        book = book or (top and self.venue.books.make_sync(self.venue_config).top_from_book)
        self.books.carry(instrument, top=top, book=book)

    def dropped(self, instrument: Instrument) -> None:
        """See `workers.worker.instruments.Service`."""
        scale = self._scales.get(instrument.venue_symbol)
        if scale is not None and scale.instrument == instrument.index:
            del self._scales[instrument.venue_symbol]
            if self.decoder is not None:
                self.decoder.remove_symbol(instrument.venue_symbol)

    async def follow(self, added: Sequence[str], removed: Sequence[str], renamed: bool) -> None:
        """See `workers.worker.instruments.Service`."""
        if self._manager is None:
            if self._serving and added:
                self._spawn(self._connect())
            return
        if not self.instruments.carried:  # a connection that carries nothing would be closed, again and again
            manager, self._manager = self._manager, None
            await manager.close()
            self.nothing_listed()
            return
        manager = self._manager
        if removed:
            await manager.unsubscribe(removed)
        if renamed:
            # The strategies remember how each symbol is called. Rare: all are connected anew.
            manager.replace_strategy(self.venue.data.websocket(self.venue_config, self._venue_symbols))
            manager.reconnect("a symbol is called otherwise by the venue now")
        if added:
            try:
                await manager.subscribe(added)
            except WebSocketError as error:  # which of them, the cold path knows
                self._report(f"not subscribed: {error}")
            self.readiness.subscribed(added, manager.active)

    def nothing_listed(self) -> None:
        """See `workers.worker.instruments.Service`."""
        self.writer.set_state(State.DOWN, Reason.NOT_LISTED)

    async def _connect(self) -> None:
        """One manager for all symbols; it spreads them over as many connections as the venue wants."""
        config = self.venue_config
        readiness = self.readiness
        strategies = self.venue.data.websocket(config, self._venue_symbols)
        if (room := strategies.connection_strategy.budget.max_streams) < len(config.channels):
            self._report(
                f"a connection carries {room} streams, a symbol has {len(config.channels)} channels: "
                "each symbol is cut over several connections, and loses all its cells with any of them"
            )
        cold = ColdPath(
            self.writer,
            self.publisher,
            self.venue,
            self._scales,
            self._connection,
            self._rejected,
            self._owing,
            self._report,
            on_accepted=readiness.accepted,
            on_missed=self._missed,
            on_notice=lambda symbol: self.instruments.hint("notice", symbol),
        )
        self._manager = WebSocketManager(
            WebSocketManagerConfig(
                reconnect_delay=config.reconnect_delay,
                message_timeout=max(config.stale_after, config.first_event_after),
                first_event_after=config.first_event_after,
            ),
            strategies,
            cold.message,
            cold.connection,
            sink=self.publisher.hot_path,
            handover=self._handover,
            delivered=readiness.delivered,
            proven=readiness.proven,
            has=self._has,
            on_missed=self._missed,
            on_fault=self._fault,
            on_rtt=lambda ns: self.writer.observe(HistogramId.PING_RTT, ns),
        )
        try:
            await self._manager.initialize(self.instruments.carried, config.channels)
        except WebSocketError as error:
            # The manager goes on trying; the feed is DOWN, and this line has the reason.
            self._report(f"not connected yet: {error}")

    def _connection(self, event: ConnectionEvent) -> None:
        """A connection that had to be made anew may have missed what the venue changed meanwhile."""
        self.readiness.connection(event)
        if event.state is ConnectionState.CONNECTED:
            if event.shard in self._connected_before:
                self.instruments.hint("connected")
            self._connected_before.add(event.shard)

    def _rejected(self, event: ConnectionEvent) -> None:
        self.readiness.rejected(event)
        for symbol, _ in event.rejected:
            self.instruments.hint(REJECTED, symbol)

    def _owing(self, event: ConnectionEvent) -> None:
        self.readiness.overdue(event)
        for symbol, _ in event.overdue:
            self.instruments.hint("overdue", symbol)

    def _has(self, symbol: str, channel: str) -> bool:
        """Whether a symbol has such a channel."""
        index = self.books.index_of(symbol)
        spot = index is not None and self.writer.instrument(index).kind is InstrumentKind.SPOT
        return not (spot and channel in DERIVATIVES)

    def _handover(self, topics: Sequence[tuple[str, str]]) -> Handover:
        """What lets one connection replace another without a trace in the segment."""
        from workers.handover.handover import Handover  # nothing that a first tick needs

        # Known by what they are: one that the new connection repeats would not be found among plain trades.
        alike = {"trades": "agg_trades"} if self.venue.data.aggregated(self.venue_config) else {}
        slots = [(self.books.index_of(symbol), alike.get(channel, channel)) for symbol, channel in topics]
        return Handover(
            self.publisher,
            [(index, channel) for index, channel in slots if index is not None],
            normalise=lambda message: self.venue.data.forms(message.data, self._scales),
        )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Future[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Future[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._report(f"{type(error).__name__}: {error}")
            self.writer.log(Code.ERROR, str(error))

    def _fault(self, error: BaseException, data: bytes) -> None:
        """What the venue's code raised over a message: reported once for each place in code, with the
        message's beginning."""
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if "/workers/venues/" in frame.filename] or frames
        place = f"{'/'.join(Path(own[-1].filename).parts[-2:])}:{own[-1].lineno}" if own else "?"
        if place in self._faults or len(self._faults) >= FAULTS:
            return
        self._faults.add(place)
        message = f"{place}: {type(error).__name__}: {error}".partition("\n")[0]
        self._report(f"a message could not be handled: {message}; it begins {data[:80]!r}")
        self.writer.log(Code.ERROR, message)

    def _report(self, line: str) -> None:
        print(f"worker {self.config.feed}: {line}", file=sys.stderr, flush=True)

    # -- what the book manager asks for ----------------------------------------------------------------------
    def _register(self, instrument: Instrument) -> None:
        venue_symbol = instrument.venue_symbol
        self._venue_symbols[instrument.symbol] = venue_symbol
        scale = Scale(instrument.index, instrument.price_exp, instrument.size_exp)
        self._scales[venue_symbol] = scale
        if self.decoder is not None:
            self.decoder.remove_symbol(venue_symbol)
            self.decoder.add_symbol(venue_symbol, *scale)

    async def _resubscribe(self, instrument: Instrument) -> None:
        if self._manager is not None:
            await self._manager.resubscribe(
                [instrument.symbol], book_channels(self.publisher, instrument.index)
            )

    async def _renew(self, instrument: Instrument) -> None:
        if self._manager is not None:
            channels = book_channels(self.publisher, instrument.index)
            await self._manager.resubscribe([instrument.symbol], channels, planned=True)

    async def _snapshot(self, instrument: Instrument, levels: int, priority: Priority) -> Snapshot:
        assert self.venue.books.snapshot is not None  # else the book manager does not ask
        rest = await self._rest_manager()
        return await self.venue.books.snapshot(rest, instrument.venue_symbol, levels, priority)

    async def _sweep(self, instruments: Sequence[Instrument], priority: Priority) -> Mapping[str, Best]:
        assert self.venue.books.sweep is not None  # else the book manager does not ask
        symbols = [instrument.venue_symbol for instrument in instruments]
        return await self.venue.books.sweep.ask(await self._rest_manager(), symbols, priority)

    async def _recount(self) -> None:
        """What the venue has counted for our address comes with any answer, and this one costs least."""
        assert self.venue.rest.server_time is not None
        await self.venue.rest.server_time(await self._rest_manager())

    async def _respec(self, old: Instrument, evidence: bytes | Snapshot) -> Instrument:
        fresh: Instrument | None = None
        with contextlib.suppress(ValueError):
            self.venue.listing.widen(old, evidence, None)  # what no decimals cure costs no request
        with contextlib.suppress(RestError):  # without it the message itself shows what is needed
            fresh = next(iter((await self._listing([old.symbol])).instruments), None)
        return self.venue.listing.widen(old, evidence, fresh)

    def _snapshot_failed(self, instrument: Instrument, attempt: int, why: str) -> None:
        if why == OLDER and attempt <= USUAL:
            return
        if attempt & (attempt - 1) == 0:  # the 1st, 2nd, 4th, 8th ... in a row
            self._report(f"{instrument.symbol}: snapshot attempt {attempt} failed: {why}")

    def _silent(self, index: int, scope: Scope) -> None:
        """This one stream of an instrument does not deliver: subscribe it again, then connect afresh. The
        others of the same instrument go on: a new subscription of theirs would be a hole in them."""
        if self._manager is None:
            return
        channels: Sequence[str] = [CHANNELS[scope]]
        if scope is Scope.BOOK:
            self.publisher.invalidate_without_ids([index])
            channels = book_channels(self.publisher, index)
        self._manager.refresh([self.writer.instrument(index).symbol], channels)

    def _missed(self, topics: Sequence[tuple[str, str]]) -> None:
        """Data of these may be missing from here on. A book whose updates have ids finds out by itself; one
        without would be LIVE and wrong: it is rebuilt."""
        slots = [
            (self._scales[venue_symbol].instrument, channel)
            for symbol, channel in topics
            if channel in CELLS and (venue_symbol := self._venue_symbols.get(symbol)) in self._scales
        ]
        known = {index for index, channel in slots if channel in book_channels(self.publisher, index)}
        if known:
            self.publisher.invalidate_without_ids(sorted(known))

    # -- REST ------------------------------------------------------------------------------------------
    async def _rest_manager(self) -> RestManager:
        """Made when first needed, imported in a thread: a tick must not wait for an HTTP library."""
        async with self._rest_ready:
            if self._rest is None:
                self._rest = await asyncio.to_thread(self._make_rest)
                self._warn_of_few_permits()
            return self._rest

    def _make_rest(self) -> RestManager:
        from workers.http import AdapterMissing
        from workers.rest import RestManager

        rest = RestManager(
            self.venue.rest.strategies(self.venue_config),
            circuits=make_circuits(self.venue_config),
            observer=self._requested,
            on_circuit_open=self._circuit_opened,
        )
        try:
            rest.load()
        except AdapterMissing as error:
            raise ValueError(f"rest_client = {self.venue_config.rest_client!r}: {error}") from error
        return rest

    def _warn_of_few_permits(self) -> None:
        """Snapshots of many symbols take their time: say how long, instead of looking broken."""
        config = self.venue_config
        if "book" not in config.channels or self.venue.books.snapshot is None:
            return
        levels, weight = self._tiers()[0]
        minutes = weight * len(config.symbols) / config.weight_per_minute
        if minutes > 1.0:
            self._report(
                f"{len(config.symbols)} book snapshots of {levels} levels, weight {weight}, take more than "
                f"{minutes:.0f} minutes at weight_per_minute = {config.weight_per_minute}; "
                "what is traded most comes first"
            )

    def _unanswered(self, endpoint: str) -> None:
        """The first request without an answer is reported at once, not when all attempts have been spent."""
        if not self._unanswered_reported:
            self._unanswered_reported = True
            self._report(f"no answer from {self.venue_config.rest_url}{endpoint}; trying on")
        if not self._serving:
            self.writer.set_state(State.DOWN, Reason.CONNECTING)

    def _requested(self, method: HTTPMethod, endpoint: str, status: int, ns: int) -> None:
        self.writer.count_up(FeedCounter.REST_REQUESTS)
        self.writer.observe(HistogramId.REST_LATENCY, ns)
        if status in (418, 429):
            self.writer.count_up(FeedCounter.RATE_LIMITED)
            self.writer.log(Code.RATE_LIMITED, status, 0)
        elif status == 0:
            self.writer.count_up(FeedCounter.REST_ERRORS)
            self._unanswered(endpoint)
        elif 200 <= status < 300:
            self._unanswered_reported = False
        else:
            self.writer.count_up(FeedCounter.REST_ERRORS)

    def _circuit_opened(self, circuit: str, seconds: float) -> None:
        self.writer.log(Code.REST_CIRCUIT, f"{seconds:.0f} s: {circuit}")
        self._report(f"{circuit} fails again and again; it is tried again in {seconds:.0f} s")

    def _review_rest(self) -> None:
        """What the manager counts by itself, a few times a second and not for each request."""
        if self._rest is None:
            return
        now, before = self._rest.gauges(), self._gauges
        self._gauges = now
        writer = self.writer
        writer.count_up(FeedCounter.REST_RETRIES, now.retries - before.retries)
        writer.count_up(FeedCounter.REST_FAILOVERS, now.failovers - before.failovers)
        writer.count_up(FeedCounter.CIRCUIT_OPENS, now.circuit_opens - before.circuit_opens)
        writer.set_count(FeedCounter.REST_WAITING, now.waiting)
        writer.set_count(FeedCounter.REST_IN_FLIGHT, now.in_flight)
        writer.set_count(FeedCounter.REST_CONNECTIONS, now.open_connections)
        writer.set_count(FeedCounter.CIRCUITS_OPEN, now.circuits_open)


async def _main(config: WorkerConfig, fd: int) -> int:
    worker = Worker(config, load(config.feed))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop)
    process.on_pipe_end(fd, lambda: worker.stop(unlink=False))
    try:
        await worker.run()
    except (ShmError, WorkerError, ValueError) as error:
        worker._report(str(error))
        final = isinstance(error, ValueError) or getattr(error, "action", None) is Action.HALT
        return EXIT_CONFIG if final else EXIT_FAILED
    return EXIT_CLEAN


def main() -> int:
    """The process: configuration from the pipe, own core, tied to its parent, then `Worker.run`."""
    parser = argparse.ArgumentParser(description="One exchange process; started by the supervisor.")
    parser.add_argument("--fd", type=int, required=True, help="the supervisor's pipe")
    fd = parser.parse_args().fd
    try:
        config = process.read_config(fd)
        process.die_with_parent(config.parent_pid)
    except (process.Orphaned, msgspec.ValidationError, msgspec.DecodeError) as error:
        print(f"worker: {error}", file=sys.stderr)
        return EXIT_CONFIG
    if not process.pin(config.cpu):
        print(f"worker {config.feed}: core {config.cpu} is not to be had, not pinned", file=sys.stderr)
    return uvloop.run(_main(config, fd))
