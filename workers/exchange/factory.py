"""A venue for programs that want it without the engine: REST and streams, typed, numbers as exact decimals.

    async with TransportFactory.create_public_exchange("binance_spot", ["BTC/USDT"]) as exchange:
        book = await exchange.order_book("BTC/USDT", limit=5)
        async for message in exchange.stream(["top", "trades"]):
            print(message)

or, closed by hand:

    exchange = await TransportFactory.create_public_exchange(
        exchange_name="mexc_spot", symbols=[Symbol("BTC", "USDT")]
    )
    ...
    await exchange.close()

It is made of the same parts as a worker: the `Venue` value, a `RestManager` with the venue's limits, retries
and circuits, a `WebSocketManager` a stream. What it does not have is what shared memory is for: books that
are kept, checked and rebuilt, and readers in other processes.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Generator, Iterable, Sequence
from decimal import Decimal
from difflib import get_close_matches
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec

from shm.layout import InstrumentKind
from workers.config.shipped import venue_config
from workers.config.venue import DERIVATIVES, VenueConfig
from workers.contract.errors import WorkerError
from workers.contract.protocols import Priority, Symbol
from workers.exchange.messages import OrderBook, Side
from workers.exchange.stream import Stream
from workers.venues.from_config import make_circuits
from workers.venues.market import INTERVALS, Kline, ServerLimit, UnknownInterval
from workers.venues.venue import Venue, load

if TYPE_CHECKING:
    from shm.instruments import Instrument
    from workers.rest import RestManager


class NotOffered(WorkerError):
    """The venue, or this exchange, has no such thing; the text names what there is."""


class TransportFactory:
    """Makes exchanges by name."""

    @staticmethod
    def create_public_exchange(
        exchange_name: str,
        symbols: str | Symbol | Iterable[str | Symbol],
        *,
        config: VenueConfig | None = None,
        **keys: Any,
    ) -> PublicExchange:
        """The venue of that name, for these symbols; nothing is connected before ``await`` or ``async with``.

        Args:
            exchange_name: as `workers.venues.venue.names()` has them: ``"binance_spot"``.
            symbols: ``Symbol("BTC", "USDT")`` or canonical: ``"BTC/USDT"``, ``"BTC/USDT:USDT"``.
            config: the venue's keys; None: those of the shipped ``config/venues/<exchange_name>.toml``.
            keys: single keys over the shipped ones: ``rest_timeout=3.0``.

        Raises:
            UnknownVenue: the text names the venues that there are.
            ConfigError: a key is unknown or has a wrong value.
            ValueError: a symbol is not of a canonical form, or there is none.
        """
        venue = load(exchange_name)
        given = [symbols] if isinstance(symbols, str | Symbol) else symbols
        wanted = list(dict.fromkeys(str(Symbol.parse(str(symbol))) for symbol in given))
        if not wanted:
            raise ValueError('at least one symbol is needed, such as "BTC/USDT"')
        if config is None:
            config = venue_config(exchange_name, **{**keys, "symbols": wanted})
        else:
            config = msgspec.structs.replace(config, **{**keys, "symbols": wanted})
        return PublicExchange(venue, config)


class PublicExchange:
    """A venue's public side. It times out, retries and keeps to the venue's limits by itself; what cannot be
    had raises a `WorkerError`: one line, and `action` is what to do next.

    Awaited, it is open until `close`; as an asynchronous context, until its block ends. Awaiting it again
    gives the same open one, and so does entering one that was awaited (its block then closes it); a second
    block inside the first is refused. After `close` it can be opened again. One that is collected while it is
    open warns (`ResourceWarning`).
    """

    def __init__(self, venue: Venue, config: VenueConfig) -> None:
        self.venue = venue
        self.config = config
        self._rest: RestManager | None = None
        self._instruments: dict[str, Instrument] = {}
        self._streams: set[Stream] = set()
        self._opening: asyncio.Lock | None = None
        self._ready = False
        self._entered = False

    def __del__(self) -> None:
        if getattr(self, "_rest", None) is not None:
            text = f"{self!r} was not closed: await its close()"
            warnings.warn(text, ResourceWarning, stacklevel=2, source=self)

    def __repr__(self) -> str:
        state = "open" if self._ready else "closed"
        return f"<PublicExchange {self.venue.name} {', '.join(self.config.symbols)} {state}>"

    @property
    def name(self) -> str:
        return self.venue.name

    @property
    def symbols(self) -> list[str]:
        return list(self.config.symbols)

    @property
    def channels(self) -> list[str]:
        """What `stream` can be asked for here."""
        return sorted(self.venue.data.channels)

    def __await__(self) -> Generator[Any, None, Self]:
        return self.open().__await__()

    async def open(self) -> Self:
        """Asks for the listing of the symbols, unless it is open already.

        Raises:
            UnknownInstrument: the venue does not list a symbol; the text names the nearest ones.
            RestError: the venue cannot be reached.
        """
        self._opening = self._opening or asyncio.Lock()
        async with self._opening:
            if not self._ready:
                self._rest = await asyncio.to_thread(self._make_rest)  # it imports an HTTP library
                try:
                    self._instruments = {made.symbol: made for made in await self.instruments()}
                    self._ready = True
                except BaseException:
                    await self.close()
                    raise
        return self

    async def __aenter__(self) -> Self:
        """As `open`. Raises `RuntimeError` inside another block."""
        if self._entered:
            raise RuntimeError(f"{self.name} was entered already: one block closes it, make another exchange")
        self._entered = True
        try:
            return await self.open()
        except BaseException:
            self._entered = False
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered = False
        await self.close()

    async def close(self) -> None:
        """Close every connection; idempotent."""
        self._ready = False
        try:
            await asyncio.gather(*(stream.aclose() for stream in tuple(self._streams)))
        finally:
            rest, self._rest = self._rest, None
            if rest is not None:
                await rest.close()

    async def aclose(self) -> None:
        """As `close`: for `contextlib.aclosing`."""
        await self.close()

    # -- REST -------------------------------------------------------------------------------------------
    async def instruments(self) -> list[Instrument]:
        """What the venue lists of the symbols now: decimals, steps, contract sizes, status.

        Raises:
            UnknownInstrument: it does not list all of them, or not so that they can be carried; the text
                names each of those, with the reason.
        """
        return (await self.venue.listing.instruments(self._open(), self.config.symbols)).all_instruments()

    async def order_book(self, symbol: str | Symbol, limit: int = 100) -> OrderBook:
        """A depth snapshot of at most `limit` levels a side.

        Raises:
            NotOffered: this venue has snapshots in its stream alone.
            ValueError: a limit below 1.
        """
        rest, made = self._open(), self._instrument(symbol)
        _check_limit(limit)
        if self.venue.books.snapshot is None:
            raise NotOffered(f"{self.name} has no order book by REST; its stream brings it: stream(['book'])")
        snapshot = await self.venue.books.snapshot(rest, made.venue_symbol, limit, Priority.SNAPSHOT)
        bids, asks = _side(snapshot.bids), _side(snapshot.asks)
        bids.sort(reverse=True)
        asks.sort()
        return OrderBook(made.symbol, snapshot.last_update_id, bids[:limit], asks[:limit])

    async def klines(self, symbol: str | Symbol, interval: str = "1m", limit: int = 100) -> list[Kline]:
        """The last `limit` candles, oldest first.

        Raises:
            UnknownInterval: the text names those that there are.
            ValueError: a limit below 1.
        """
        rest, made = self._open(), self._instrument(symbol)
        _check_limit(limit)
        if interval not in INTERVALS:
            raise UnknownInterval(f"no interval {interval!r}; there are: {', '.join(INTERVALS)}")
        if self.venue.rest.klines is None:
            raise NotOffered(f"{self.name} has no candles by REST")
        return await self.venue.rest.klines(rest, made.venue_symbol, interval, limit)

    async def server_time(self) -> int:
        """The venue's clock, ms since 1970."""
        if self.venue.rest.server_time is None:
            raise NotOffered(f"{self.name} has no request for its time")
        return await self.venue.rest.server_time(self._open())

    async def server_limits(self) -> list[ServerLimit]:
        """The venue's limits, as it reports or documents them."""
        if self.venue.rest.server_limits is None:
            raise NotOffered(f"{self.name} has no request for its limits")
        return await self.venue.rest.server_limits(self._open())

    # -- streams ----------------------------------------------------------------------------------------
    def stream(
        self, channels: str | Sequence[str], symbols: str | Symbol | Iterable[str | Symbol] | None = None
    ) -> Stream:
        """The venue's messages on these channels of these symbols (None: all of the exchange's), on
        connections of its own. Several streams may run side by side.

        Raises:
            NotOffered: a channel that this venue has not, or a symbol that is not the exchange's.
        """
        self._open()
        wanted = [channels] if isinstance(channels, str) else list(dict.fromkeys(channels))
        if not wanted:
            raise ValueError(f"at least one channel is needed; {self.name} has: {', '.join(self.channels)}")
        for channel in wanted:
            if channel not in self.venue.data.channels:
                raise NotOffered(
                    f"{self.name} has no channel {channel!r}; it has: {', '.join(self.channels)}"
                )
        named = self.symbols if symbols is None else symbols
        found = [self._instrument(each) for each in ([named] if isinstance(named, str | Symbol) else named)]
        chosen = {made.symbol: made for made in found}
        if set(wanted) <= {*DERIVATIVES} and all(
            made.kind is InstrumentKind.SPOT for made in chosen.values()
        ):
            raise NotOffered(f"spot markets have no {' or '.join(wanted)}: {', '.join(chosen)}")
        stream = Stream(self.venue, self.config, chosen, wanted, self._streams.discard)
        self._streams.add(stream)
        return stream

    # -- helpers ----------------------------------------------------------------------------------------
    def _make_rest(self) -> RestManager:
        from workers.rest import RestManager

        rest = RestManager(self.venue.rest.strategies(self.config), circuits=make_circuits(self.config))
        rest.load()
        return rest

    def _open(self) -> RestManager:
        if self._rest is None:
            raise RuntimeError(
                f"{self.name} is not open: await it, or: async with "
                "TransportFactory.create_public_exchange(...)"
            )
        return self._rest

    def _instrument(self, named: str | Symbol) -> Instrument:
        symbol = str(named)
        if symbol not in self._instruments:
            near = get_close_matches(symbol, self._instruments, n=3, cutoff=0.4)
            hint = f"nearest: {', '.join(near)}" if near else f"it has: {', '.join(self._instruments)}"
            raise NotOffered(f"this exchange was not made for {symbol!r}; {hint}")
        return self._instruments[symbol]


def _check_limit(limit: int) -> None:
    if limit < 1:
        raise ValueError(f"limit = {limit}: at least 1 is needed")


def _side(levels: Iterable[tuple[str, str]]) -> Side:
    return [(Decimal(price), Decimal(size)) for price, size in levels]
