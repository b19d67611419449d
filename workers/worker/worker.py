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
import os
import signal
import sys
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import uvloop

from shm import _ring
from shm.counters import HistogramId
from shm.errors import Action, ShmError
from shm.events import Code
from shm.instruments import Instrument
from shm.layout import Geometry, InstrumentKind, InstrumentStatus, Reason, Scope, State
from shm.segment import open_writer
from workers.books.manager import BookManager, BookManagerConfig
from workers.books.publish import Publisher
from workers.config.venue import DERIVATIVES, WorkerConfig
from workers.contract.errors import WorkerError
from workers.contract.protocols import WebSocketManagerConfig, WebSocketStrategySet
from workers.venues.venue import Venue, load
from workers.websocket import WebSocketManager
from workers.worker import process
from workers.worker.cold_path import ColdPath
from workers.worker.connections import Connections
from workers.worker.events import FeedEventHub
from workers.worker.expectations import Expectations
from workers.worker.feed_state import Readiness
from workers.worker.heartbeat import Heartbeat
from workers.worker.instruments import Instruments
from workers.worker.recovery import Recovery
from workers.worker.reports import Reports
from workers.worker.rest_access import RestAccess
from workers.worker.symbols import Symbols

if TYPE_CHECKING:
    from workers.handover.handover import Handover

REVIEW = 4  # beats between two looks at states
TICK = 20  # beats between two looks at freshness
EXIT_CLEAN, EXIT_FAILED, EXIT_CONFIG = 0, 1, 2


class Worker:
    """Composes the parts and keeps their schedule; `run` lives as long as the worker.

    Attributes, once it runs:
        writer, publisher, books: of the feed.
        events: everything that happens beside the messages, and whom it concerns.
        connections, rest: what goes out to the venue.
        expectations, readiness, instruments, heartbeat: what is judged, and when.
    """

    def __init__(self, config: WorkerConfig, venue: Venue) -> None:
        self.config = config
        self.venue = venue
        self.venue_config = config.venue
        self._stop = asyncio.Event()
        self._unlink = True
        self._serving = False
        self._statuses: dict[int, InstrumentStatus] = {}  # by slot, as of about a second ago
        self._active: frozenset[tuple[str, str]] = frozenset()
        self._head = 0
        self._tasks: set[asyncio.Future[Any]] = set()

    def __repr__(self) -> str:
        return f"<Worker {self.config.instance}/{self.config.feed}>"

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
            try:
                await self._until_stopped(self.heartbeat.run(self._look_after, self._spawn), self._serve())
            finally:
                await self._close()
        finally:
            self.writer.log(Code.STOPPED)
            self.writer.close(unlink=self._unlink)

    # -- the parts -------------------------------------------------------------------------------------------
    def _compose(self) -> None:
        config, venue, writer = self.venue_config, self.venue, self.writer
        self.decoder = venue.data.decoder() if venue.data.decoder is not None else None
        self.symbols = Symbols(self.decoder)
        self.publisher = Publisher(writer, self.decoder, lambda: venue.books.make_sync(config))
        self.events = FeedEventHub(Reports(writer, self.config.feed))
        self.rest = RestAccess(writer, venue, config, self.events)
        self.connections = Connections(
            venue, config, self.publisher, self.symbols, self.events, self._websocket_manager
        )
        self.books = self._book_manager()
        owes = venue.data.owes(config)
        self.expectations = Expectations(
            writer,
            self.publisher,
            config,
            owes,
            aggregated=venue.data.aggregated(config),
            events=self.events,
            moved=self.books.tops.moved,
        )
        self.readiness = Readiness(
            writer,
            self.publisher,
            self.books,
            config,
            delivery=self.expectations.delivery,
            statuses=lambda: self._statuses,
            late=self.expectations.late,
        )
        self.instruments = Instruments(
            config.symbols,
            writer,
            self.publisher,
            self.books,
            self,
            self.rest.listing,
            interval=config.listing_interval,
            retry=config.reconnect_delay,
            most_retry=config.max_reconnect_delay,
            scopes=[Scope.TOP] * ("top" in config.channels) + [Scope.BOOK] * self._serves_books,
            events=self.events,
        )
        self.heartbeat = Heartbeat(
            writer, self.publisher, self.books, self.connections, config.heartbeat_limit
        )
        self.events.listeners += (
            self.readiness,
            self.instruments,
            self.instruments.schedule,
            Recovery(writer, self.publisher, self.connections, self.symbols),
        )

    @property
    def _serves_books(self) -> bool:
        """Whether books are kept. A top that is the best of its book needs the book; whoever reads that finds
        it, asked for or not."""
        channels = self.venue_config.channels
        return "book" in channels or (
            "top" in channels and self.venue.books.make_sync(self.venue_config).top_from_book
        )

    def _book_manager(self) -> BookManager:
        config, books, rest = self.venue_config, self.venue.books, self.rest
        tiers, owes = rest.tiers(), self.venue.data.owes(config)
        proof_limit = min(tiers[0].levels, max(100, config.depth))
        return BookManager(
            self.writer,
            self.publisher,
            None if books.snapshot is None else rest.snapshot,
            BookManagerConfig(
                limit=tiers[-1].levels,
                proof_limit=proof_limit,
                tiers=tuple(tier.levels for tier in tiers),
                stale_after=config.stale_after,
                stale_after_min=config.stale_after_min,
                stale_after_max=config.stale_after_max,
                stale_factor=config.stale_factor,
                audit_interval=config.audit_interval,
                instead_of=1 if books.sweep is None else books.sweep.instead_of,
                proofs_per_second=rest.proofs_per_second(proof_limit),
                lag=None if books.sweep is None else books.sweep.lag,
                first_top="top" in owes and owes["top"].first > 0,
            ),
            sweep=None if books.sweep is None else rest.sweep,
            resubscribe=self.connections.resubscribe,
            renew=self.connections.renew,
            register=self.symbols.register,
            respec=rest.respec,
            recount=None if self.venue.rest.server_time is None else rest.recount,
            on_failed=self.events.snapshot_failed,
            on_silent=self.events.silent,
        )

    def _websocket_manager(self, strategies: WebSocketStrategySet) -> WebSocketManager:
        config = self.venue_config
        cold = ColdPath(self.writer, self.publisher, self.venue, self.symbols.scales, self.events)
        return WebSocketManager(
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
            delivered=self.readiness.delivered,
            proven=self.readiness.proven,
            has=self._has,
            on_missed=self.events.missed,
            on_fault=self.events.message_failed,
            on_rtt=lambda ns: self.writer.observe(HistogramId.PING_RTT, ns),
        )

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
            normalise=lambda message: self.venue.data.forms(message.data, self.symbols.scales),
        )

    # -- its life --------------------------------------------------------------------------------------------
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

    async def _serve(self) -> None:
        known = self.venue.data.channels
        if unknown := [channel for channel in self.venue_config.channels if channel not in known]:
            raise ValueError(f"{self.venue.name} has no channel {unknown[0]!r}: {', '.join(sorted(known))}")
        await self.instruments.begin()
        self._serving = self.rest.serving = self.heartbeat.serving = True
        # The first tick comes before an HTTP library and a look at the garbage; a book's first event asks for
        # the library by itself.
        if self.instruments.carried:
            await asyncio.wait({self._spawn(self._connect())}, timeout=self.venue_config.connect_timeout)
        await self.rest.manager()
        process.settle_garbage()
        await self.instruments.watch()

    async def _connect(self) -> None:
        await self.connections.open(self.instruments.carried)

    async def _close(self) -> None:
        self.writer.set_state(State.DOWN, Reason.STOP)  # nothing is read any more, and closing takes its time
        for task in self._tasks:
            task.cancel()
        await self.books.close()
        await self.connections.close()
        await self.rest.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Future[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Future[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.events.report(f"{type(error).__name__}: {error}")
            self.writer.log(Code.ERROR, str(error))

    # -- the schedule ----------------------------------------------------------------------------------------
    def _look_after(self) -> None:
        """With each heartbeat while serving."""
        beats = self.heartbeat.beats
        if beats % REVIEW == 0:
            if (metrics := self.connections.metrics()) is not None:
                self.readiness.mirror(metrics)
            self.readiness.review()
            self.rest.mirror()
            self.books.look_ahead()
        if beats % TICK == 0:
            self.books.tick()
            self.instruments.look()
        self._look_for_overdue(beats % TICK)
        head = self.writer.head
        process.collect_when_idle(idle=head == self._head, beats=beats)
        self._head = head

    def _look_for_overdue(self, turn: int) -> None:
        """What channels owe: each instrument once in `TICK` beats, a few with each."""
        if self.connections.manager is None:
            return
        if not turn:
            self._statuses = {slot.index: slot.status for slot in self.writer.instruments()}
            self.expectations.keep(set(self.publisher.indexes))
            self._active = self.connections.active
        now = _ring.now()
        for index in self.publisher.indexes[turn::TICK]:
            if (symbol := self.books.symbol_of(index)) is not None:
                halted = self._statuses.get(index) is InstrumentStatus.HALTED
                self.books.tops.acknowledged(index, (symbol, "top") in self._active, now)
                self.expectations.look(index, symbol, self._active, now, halted=halted)

    # -- as `workers.worker.instruments.Service` -------------------------------------------------------------
    def carry(self, instrument: Instrument) -> None:
        """See `Service`."""
        self.books.carry(instrument, top="top" in self.venue_config.channels, book=self._serves_books)

    def dropped(self, instrument: Instrument) -> None:
        """See `Service`."""
        self.symbols.remove(instrument)

    async def follow(self, added: Sequence[str], removed: Sequence[str], renamed: bool) -> None:
        """See `Service`."""
        if self.connections.manager is None:
            if self._serving and added:
                self._spawn(self._connect())
        elif not self.instruments.carried:
            # A connection that carries nothing would be closed by the venue, again and again.
            await self.connections.close()
            self.nothing_listed()
        else:
            await self.connections.follow(added, removed, renamed)
            self.readiness.subscribed(added, self.connections.active)

    def nothing_listed(self) -> None:
        """See `Service`."""
        self.writer.set_state(State.DOWN, Reason.NOT_LISTED)


async def _main(config: WorkerConfig, fd: int) -> int:
    worker = Worker(config, load(config.feed))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop)
    process.on_pipe_end(fd, lambda: worker.stop(unlink=False))
    try:
        await worker.run()
    except (ShmError, WorkerError, ValueError) as error:
        print(f"worker {config.feed}: {error}", file=sys.stderr, flush=True)
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
