"""The messages of a venue as an asynchronous iterator, by the reference decoder: for programs that want a
venue without the engine. Some ten thousand messages a second; the engine (`workers.worker.worker`) is for
more."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Self

from shm.instruments import Instrument
from shm.layout import InstrumentKind
from workers.books.best import Best
from workers.config.venue import DERIVATIVES, VenueConfig
from workers.contract.errors import WorkerError
from workers.contract.protocols import (
    DATA_TYPES,
    ConnectionEvent,
    ConnectionState,
    MessageType,
    ParsedMessage,
    WebSocketManagerConfig,
)
from workers.decode.normal import LEFT_OUT, DecodeCode, Decoded, MessageKind, Scale
from workers.exchange.messages import KINDS, Interruption, PublicMessage
from workers.venues.listing import InstrumentError
from workers.venues.venue import Venue
from workers.websocket import WebSocketManager

BOUND = 1000  # messages that wait for the program; as many more wait undecoded, what is beyond is dropped
FREQUENT = frozenset({"top", "book", "ticker", "mark"})  # one of these is silent only when something is wrong
RARE_FIRST_EVENT = 86_400.0  # seconds: trades and liquidations may be rare
UNFIT = (DecodeCode.INEXACT, DecodeCode.OVERFLOW)


class Stream:
    """``async for message in stream``: `PublicMessage`s, and an `Interruption` where some may be missing.

    It connects when it is first asked for a message, reconnects by itself, and ends when it is closed: by
    `aclose`, by ``async with``, or with the exchange that made it.

    Of a venue whose top is the best of its book (`BookSync.top_from_book`) a `Top` comes when that is
    another, right after the `BookUpdate` that made it so; a book that is not the venue's any more is an
    `Interruption`, and is subscribed anew.

    Raises, where the next message would be:
        WebSocketError: no connection after ten attempts, or the venue refused every subscription.
        WorkerError: a number that no int64 holds.
    """

    def __init__(
        self,
        venue: Venue,
        config: VenueConfig,
        instruments: Mapping[str, Instrument],
        channels: Sequence[str],
        ended: Callable[[Stream], object] = lambda stream: None,
    ) -> None:
        self._venue = venue
        self._channels = tuple(channels)
        self._instruments = [*instruments.values()]  # by the index that the scales name
        self._scales: dict[str, Scale] = {}
        for index, made in enumerate(self._instruments):
            self._scales[made.venue_symbol] = Scale(index, made.price_exp, made.size_exp)
        self._symbols = {made.symbol: index for index, made in enumerate(self._instruments)}
        self._ended = ended
        self._waiting: deque[PublicMessage | Interruption] = deque()
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._error: Exception | None = None
        self._closed = False
        self._closing: asyncio.Task[None] | None = None
        self._delivered: dict[tuple[str, str], int] = {}
        self._lost_at: dict[tuple[str, str], int] = {}  # topic -> ns of CLOCK_MONOTONIC
        sync = venue.books.make_sync(config)
        self._streamed = sync.snapshot_in_stream
        self._make_sync = partial(venue.books.make_sync, config)
        self._bests: dict[int, Best] = {}  # of instruments whose top is made here
        self._tasks: dict[int, asyncio.Task[None]] = {}  # books that are subscribed anew
        if sync.top_from_book and sync.snapshot_in_stream and "top" in self._channels:
            self._bests = {i: self._best(i) for i in range(len(self._instruments))}
        self._connecting: asyncio.Task[None] | None = None
        first_event_after = RARE_FIRST_EVENT if not FREQUENT & {*channels} else config.first_event_after
        self._first_event_after = first_event_after
        self._manager = WebSocketManager(
            WebSocketManagerConfig(
                reconnect_delay=config.reconnect_delay,
                message_timeout=max(config.stale_after, first_event_after),
                first_event_after=first_event_after,
            ),
            venue.data.websocket(config, {made.symbol: made.venue_symbol for made in self._instruments}),
            self._on_message,
            self._on_connection,
            delivered=self._proof,
            proven=self._sign_of_life,
            has=self._has,
            on_missed=self._on_missed,
        )

    def __repr__(self) -> str:
        symbols = ", ".join(made.symbol for made in self._instruments)
        return (
            f"<Stream {self._venue.name} {symbols} {', '.join(self._channels)} {self._manager.state.value}>"
        )

    # -- the face ---------------------------------------------------------------------------------------
    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> PublicMessage | Interruption:
        if self._connecting is None and not self._closed:
            self._connecting = asyncio.create_task(self._connect())
        while not self._waiting:
            if self._error is not None:
                raise self._error
            if self._closed:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        message = self._waiting.popleft()
        self._room.set()
        return message

    @property
    def connections(self) -> int:
        """How many connections were made so far; one that is replaced before its end interrupts nothing."""
        return self._manager.get_performance_metrics().connection_count

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; what waits can still be taken, then the iteration ends. Idempotent."""
        self._closed = True
        self._room.set()
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)  # who waits no longer leaves no connection open

    async def _close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await self._manager.close()
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        self._arrived.set()
        self._ended(self)

    # -- what the manager asks and reports -----------------------------------------------------------------
    async def _connect(self) -> None:
        try:
            await self._manager.initialize([*self._symbols], self._channels)
        except WorkerError as error:
            if not self._closed:
                self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._error = self._error or error
        self._arrived.set()

    def _has(self, symbol: str, channel: str) -> bool:
        spot = self._instruments[self._symbols[symbol]].kind is InstrumentKind.SPOT
        return not (spot and channel in DERIVATIVES)

    def _topics(self, symbols: Iterable[str]) -> tuple[tuple[str, str], ...]:
        """What this stream asks for of these symbols."""
        topics = ((symbol, channel) for symbol in symbols for channel in self._channels)
        return tuple(topic for topic in topics if self._has(*topic))

    def _proof(self, symbol: str, channel: str) -> int:
        """Tops come soon whatever happens, and books whose snapshot is in the stream; others may be quiet."""
        owed = channel == "top" or (channel == "book" and self._streamed)
        return self._delivered.get((symbol, channel), 0) if owed else -1

    def _sign_of_life(self, symbol: str, channel: str) -> int:
        """As `_proof`, of a whole connection that is silent: nothing shows that a market stands still."""
        return self._delivered.get((symbol, channel), 0) if channel in FREQUENT else -1

    async def _on_message(self, parsed: ParsedMessage) -> None:
        if parsed.message_type not in DATA_TYPES:
            return
        try:
            forms = self._forms(parsed)
        except (WorkerError, ValueError) as error:
            self._fail(error)
            return
        for form in forms:
            if form.code is DecodeCode.MALFORMED:
                topics = self._topics([parsed.symbol] if parsed.symbol in self._symbols else self._symbols)
                self._put(Interruption(topics, "a message with impossible content"))
                if parsed.symbol and parsed.message_type is MessageType.ORDERBOOK:
                    self._void([self._symbols[parsed.symbol]])
            elif form.code in UNFIT:
                topic = (self._instruments[form.instrument].symbol, KINDS[form.kind].channel)
                self._put(Interruption((topic,), "a number that does not fit"))
                if form.kind is MessageKind.DEPTH:
                    self._void([form.instrument])
            elif form.code is DecodeCode.OK:
                topic = self._topic(form)
                if parsed.timestamp <= self._lost_at.get(topic, 0):
                    continue  # it was in the queue when its connection went, and is reported as missing
                made = self._made(form, parsed.timestamp)
                if made:
                    self._delivered[topic] = parsed.timestamp
                for one in made:
                    self._put(KINDS[one.kind](one, self._instruments[one.instrument], parsed.timestamp))
        # A program that is too slow holds the manager's queue back, which is bounded and reports its drops.
        while len(self._waiting) >= BOUND and not self._closed:
            self._room.clear()
            await self._room.wait()

    def _topic(self, form: Decoded) -> tuple[str, str]:
        """What was asked for and brings such messages."""
        channel = KINDS[form.kind].channel
        asked = self._channels
        if channel == "trades" and "agg_trades" in asked and (form.trade.trades or "trades" not in asked):
            channel = "agg_trades"
        elif channel == "book" and "book" not in asked:
            channel = "top"
        return self._instruments[form.instrument].symbol, channel

    # -- tops that are made here --------------------------------------------------------------------------
    def _best(self, index: int) -> Best:
        made = self._instruments[index]
        return Best(self._make_sync(), Scale(index, made.price_exp, made.size_exp))

    def _made(self, form: Decoded, received: int) -> list[Decoded]:
        """What the program is given of a message: with its top, and without what it has not asked for."""
        best = self._bests.get(form.instrument)
        if best is None or form.kind is not MessageKind.DEPTH:
            return [form]
        synced = best.synced
        top = best.take(form)
        given = [form] if "book" in self._channels else []
        symbol = self._instruments[form.instrument].symbol
        if best.synced:
            self._delivered[symbol, "top"] = received
        elif synced:
            topics = tuple((symbol, one) for one in ("top", "book") if one in self._channels)
            self._put(Interruption(topics, "the book was no longer the venue's"))
            self._begin_anew(form.instrument)
        return given if top is None else [*given, top]

    def _void(self, indexes: Iterable[int]) -> None:
        """Something of these is missing: who makes a top of them needs a snapshot."""
        for index in indexes:
            best = self._bests.get(index)
            if best is not None and best.synced:
                best.invalidate()
                self._begin_anew(index)

    def _begin_anew(self, index: int) -> None:
        if index not in self._tasks and not self._closed:
            self._tasks[index] = task = asyncio.create_task(self._resubscribe(index))
            task.add_done_callback(lambda done: self._tasks.pop(index, None))

    async def _resubscribe(self, index: int) -> None:
        """Until there is a snapshot. A connection that is made anew brings one by itself."""
        symbol = self._instruments[index].symbol
        while not self._bests[index].synced:
            with contextlib.suppress(WorkerError):
                await self._manager.resubscribe([symbol], ["top", "book"])
            await asyncio.sleep(self._first_event_after)

    # -- messages and connections -------------------------------------------------------------------------
    def _forms(self, parsed: ParsedMessage) -> list[Decoded]:
        """The normal forms; where a number asks for more decimals than the listing has, it gets them."""
        while True:
            forms = self._venue.data.forms(parsed.data, self._scales)
            wide = [form for form in forms if form.code in UNFIT and form.kind not in LEFT_OUT]
            if not wide:
                return forms
            old = self._instruments[wide[0].instrument]
            try:
                made = self._venue.listing.widen(old, parsed.raw_data, None)
            except (InstrumentError, ValueError):  # no decimals hold it: it is reported as missing
                return forms
            self._instruments[wide[0].instrument] = made
            self._scales[made.venue_symbol] = Scale(wide[0].instrument, made.price_exp, made.size_exp)
            if wide[0].instrument in self._bests:  # its prices count otherwise from here on
                self._bests[wide[0].instrument] = self._best(wide[0].instrument)
                self._begin_anew(wide[0].instrument)

    def _on_connection(self, event: ConnectionEvent) -> None:
        lost = event.state in (ConnectionState.RECONNECTING, ConnectionState.ERROR)
        if lost and event.carries("top", "book"):
            for symbol in event.symbols:
                if (best := self._bests.get(self._symbols[symbol])) is not None:
                    best.invalidate()
        if event.rejected:
            self._put(Interruption(event.rejected, event.reason))
        elif event.error is not None and lost:
            topics = tuple(topic for topic in self._topics(event.symbols) if event.carries(topic[1]))
            self._lost_at.update(dict.fromkeys(topics, time.monotonic_ns()))
            self._put(Interruption(topics, event.reason))

    def _on_missed(self, topics: Sequence[tuple[str, str]]) -> None:
        self._put(Interruption(tuple(topics), "messages were dropped, unreadable or subscribed anew"))
        self._void({self._symbols[symbol] for symbol, channel in topics if channel in ("top", "book")})

    def _put(self, message: PublicMessage | Interruption) -> None:
        self._waiting.append(message)
        self._arrived.set()
