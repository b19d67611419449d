"""The venue's REST API as one feed uses it: the manager, requests for books and listing, what is counted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from shm.counters import FeedCounter, HistogramId
from shm.events import Code
from shm.layout import Reason, State
from workers.books.tiers import Tier
from workers.contract.errors import RestError
from workers.contract.rest import Gauges
from workers.venues.from_config import make_circuits

if TYPE_CHECKING:
    from shm.instruments import Instrument
    from shm.writer import Writer
    from workers.books.sync import Best, Snapshot
    from workers.config.venue import VenueConfig
    from workers.contract.protocols import HTTPMethod, Priority
    from workers.rest import RestManager
    from workers.venues.listing import Listing
    from workers.venues.venue import Venue
    from workers.worker.events import FeedEvents

PROOFS = 0.25  # of the request weight, for proofs of quiet books one by one
NEW_SUBSCRIPTIONS = 2.0  # a second, for proofs of quiet books by the snapshots that they bring


class RestAccess:
    """One a feed. `manager` makes the REST manager when first needed; the requests ask for it themselves and
    fail as `RestManager.request` does.

    Args:
        writer: of the feed; counts, latencies and events go there.
        events: gets lines for the operator.

    Attributes:
        serving: whether the feed has symbols to serve; until then a request without an answer shows it DOWN.
    """

    def __init__(self, writer: Writer, venue: Venue, config: VenueConfig, events: FeedEvents) -> None:
        self._writer = writer
        self._venue = venue
        self._config = config
        self._events = events
        self.serving = False
        self._manager: RestManager | None = None
        self._making = asyncio.Lock()
        self._gauges = Gauges()
        self._unanswered_reported = False

    # -- the manager -----------------------------------------------------------------------------------------
    async def manager(self) -> RestManager:
        """Made when first needed, imported in a thread: a tick must not wait for an HTTP library.

        Raises:
            ValueError: `rest_client` is not to be had; the text says what to install.
        """
        async with self._making:
            if self._manager is None:
                self._manager = await asyncio.to_thread(self._make)
                self._warn_of_few_permits()
            return self._manager

    async def close(self) -> None:
        """Idempotent; a manager that was never needed is not made."""
        if self._manager is not None:
            await self._manager.close()

    def _make(self) -> RestManager:
        from workers.http import AdapterMissing
        from workers.rest import RestManager

        rest = RestManager(
            self._venue.rest.strategies(self._config),
            circuits=make_circuits(self._config),
            observer=self._requested,
            on_circuit_open=self._circuit_opened,
        )
        try:
            rest.load()
        except AdapterMissing as error:
            raise ValueError(f"rest_client = {self._config.rest_client!r}: {error}") from error
        return rest

    # -- what is asked for -----------------------------------------------------------------------------------
    def tiers(self) -> Sequence[Tier]:
        """What snapshots are asked for. One that is cut short of that would pass for the whole book, and what
        lies deeper for empty."""
        config = self._config
        if self._venue.books.snapshot_tiers is None:
            return [Tier(config.snapshot_limit, 1)]
        return self._venue.books.snapshot_tiers.between(config.depth, config.snapshot_limit)

    def proofs_per_second(self, levels: int) -> float:
        """Snapshots of so many levels for proofs: half of what background work may spend, which leaves the
        other half to deeper snapshots and audits. Where none can be fetched, new subscriptions for them."""
        if self._venue.books.snapshot is None:
            return NEW_SUBSCRIPTIONS
        tiers = self._venue.books.snapshot_tiers
        weight = 1 if tiers is None else tiers.weight(levels)
        return PROOFS * self._config.weight_per_minute / 60.0 / weight

    async def listing(self, symbols: Sequence[str]) -> Listing:
        """The venue's listing of these symbols, asked for once."""
        return await self._venue.listing.instruments(await self.manager(), symbols)

    async def snapshot(self, instrument: Instrument, levels: int, priority: Priority) -> Snapshot:
        """A book's snapshot, of a venue that has `Books.snapshot`."""
        assert self._venue.books.snapshot is not None  # else the book manager does not ask
        rest = await self.manager()
        return await self._venue.books.snapshot(rest, instrument.venue_symbol, levels, priority)

    async def sweep(self, instruments: Sequence[Instrument], priority: Priority) -> Mapping[str, Best]:
        """Venue symbol -> best prices, of a venue that has `Books.sweep`."""
        assert self._venue.books.sweep is not None  # else the book manager does not ask
        symbols = [instrument.venue_symbol for instrument in instruments]
        return await self._venue.books.sweep.ask(await self.manager(), symbols, priority)

    async def recount(self) -> None:
        """What the venue has counted for our address comes with any answer, and this one costs least."""
        assert self._venue.rest.server_time is not None  # else the book manager does not ask
        await self._venue.rest.server_time(await self.manager())

    async def respec(self, old: Instrument, evidence: bytes | Snapshot) -> Instrument:
        """The instrument with exponents that fit `evidence`, a frame or snapshot that the old ones do not.

        Raises:
            PrecisionError: none do.
        """
        fresh: Instrument | None = None
        with contextlib.suppress(ValueError):
            self._venue.listing.widen(old, evidence, None)  # what no decimals cure costs no request
        with contextlib.suppress(RestError):  # without it the message itself shows what is needed
            fresh = next(iter((await self.listing([old.symbol])).instruments), None)
        return self._venue.listing.widen(old, evidence, fresh)

    # -- what it counts --------------------------------------------------------------------------------------
    def mirror(self) -> None:
        """Copies into the segment what the manager counts by itself; a few times a second, not a request."""
        if self._manager is None:
            return
        now, before = self._manager.gauges(), self._gauges
        self._gauges = now
        writer = self._writer
        writer.count_up(FeedCounter.REST_RETRIES, now.retries - before.retries)
        writer.count_up(FeedCounter.REST_FAILOVERS, now.failovers - before.failovers)
        writer.count_up(FeedCounter.CIRCUIT_OPENS, now.circuit_opens - before.circuit_opens)
        writer.set_count(FeedCounter.REST_WAITING, now.waiting)
        writer.set_count(FeedCounter.REST_IN_FLIGHT, now.in_flight)
        writer.set_count(FeedCounter.REST_CONNECTIONS, now.open_connections)
        writer.set_count(FeedCounter.CIRCUITS_OPEN, now.circuits_open)

    def _requested(self, method: HTTPMethod, endpoint: str, status: int, ns: int) -> None:
        self._writer.count_up(FeedCounter.REST_REQUESTS)
        self._writer.observe(HistogramId.REST_LATENCY, ns)
        if status in (418, 429):
            self._writer.count_up(FeedCounter.RATE_LIMITED)
            self._writer.log(Code.RATE_LIMITED, status, 0)
        elif status == 0:
            self._writer.count_up(FeedCounter.REST_ERRORS)
            self._unanswered(endpoint)
        elif 200 <= status < 300:
            self._unanswered_reported = False
        else:
            self._writer.count_up(FeedCounter.REST_ERRORS)

    def _unanswered(self, endpoint: str) -> None:
        """The first request without an answer is reported at once, not when all attempts have been spent."""
        if not self._unanswered_reported:
            self._unanswered_reported = True
            self._events.report(f"no answer from {self._config.rest_url}{endpoint}; trying on")
        if not self.serving:
            self._writer.set_state(State.DOWN, Reason.CONNECTING)

    def _circuit_opened(self, circuit: str, seconds: float) -> None:
        self._writer.log(Code.REST_CIRCUIT, f"{seconds:.0f} s: {circuit}")
        self._events.report(f"{circuit} fails again and again; it is tried again in {seconds:.0f} s")

    def _warn_of_few_permits(self) -> None:
        """Snapshots of many symbols take their time: say how long, instead of looking broken."""
        config = self._config
        if "book" not in config.channels or self._venue.books.snapshot is None:
            return
        levels, weight = self.tiers()[0]
        minutes = weight * len(config.symbols) / config.weight_per_minute
        if minutes > 1.0:
            self._events.report(
                f"{len(config.symbols)} book snapshots of {levels} levels, weight {weight}, take more than "
                f"{minutes:.0f} minutes at weight_per_minute = {config.weight_per_minute}; "
                "what is traded most comes first"
            )
