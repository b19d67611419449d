"""A feed of one's own: a real segment, its writer, a publisher, a reader, and an independent fold."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

import shm
from shm import Flag, Geometry, Kind, Scope, State
from shm.instruments import Instrument
from shm.reader import Feed
from shm.segment import open_writer
from shm.writer import Writer
from tests.instances import mine
from workers.books.publish import Publisher
from workers.books.snapshot_sync import SnapshotSync
from workers.books.sync import Outcome, Snapshot
from workers.venues.binance_spot._decode import Decoder

Levels = list[tuple[int, int]]
_count = itertools.count()


@dataclass
class Folded:
    """One book, made of records alone; written without a look at `shm.fold`."""

    bids: dict[int, int] = field(default_factory=dict)
    asks: dict[int, int] = field(default_factory=dict)
    update_id: int = 0
    ts_event: int = 0
    ts_recv: int = 0
    state: int = State.DOWN
    open: list[Any] | None = None
    updates: int = 0

    def take(self, record: Any) -> None:
        kind, flags = int(record["kind"]), int(record["flags"])
        if kind == Kind.STATUS:
            assert self.open is None, "a STATUS inside an update would drop it"
            if int(record["aux"]) == Scope.BOOK:
                self.state = int(record["words"][0])
            return
        if kind not in (Kind.LEVEL, Kind.CLEAR):
            return
        if flags & Flag.FIRST:
            assert self.open is None, "FIRST inside an open update"
            self.open = []
        assert self.open is not None, "a record outside of an update"
        if kind == Kind.CLEAR:
            assert flags & Flag.FIRST, "CLEAR must open its update"
        self.open.append(record)
        if not flags & Flag.LAST:
            return
        for each in self.open:
            price, size, update_id, _ = (int(word) for word in each["words"])
            side = self.asks if int(each["flags"]) & Flag.ASK else self.bids
            if int(each["kind"]) == Kind.CLEAR:
                self.bids.clear()
                self.asks.clear()
            elif size:
                side[price] = size
            else:
                assert price in side, "a level left the window that was not in it"
                del side[price]
        self.update_id = update_id
        self.ts_event, self.ts_recv = int(record["ts_event"]), int(record["ts_recv"])
        self.open = None
        self.updates += 1

    @property
    def window(self) -> tuple[Levels, Levels]:
        return sorted(self.bids.items(), reverse=True), sorted(self.asks.items())


class Lab:
    """Everything of one feed, with the publisher's calls for help noted in `requests` and `precision`."""

    def __init__(
        self,
        depth: int = 20,
        slots: int = 4096,
        instruments: int = 8,
        make_sync: Callable[[], Any] = SnapshotSync,  # tops and books with ids of their own
        decoder: Any = None,
        **options: Any,
    ) -> None:
        self.instance = mine(f"lab-{next(_count)}")
        self.writer: Writer = open_writer(
            self.instance,
            "lab",
            Geometry(slots=slots, instruments=instruments, depth=depth),
            heartbeat_limit=60.0,
        )
        self.writer.set_state(State.LIVE, shm.Reason.SYNCED)
        self.decoder = decoder or Decoder()
        self.publisher = Publisher(self.writer, self.decoder, make_sync, listener=self, **options)
        self.feed: Feed = shm.attach("lab", self.instance)
        self.cursor = self.feed.cursor(from_oldest=True)
        self.folds: dict[int, Folded] = {}
        self.requests: list[int] = []
        self.precision: list[tuple[int, int, bytes]] = []
        self.records: list[Any] = []
        self.now = 1_000
        self.blind: Callable[[Any], bool] = lambda record: False  # records that the fold does not see

    def request_snapshot(self, index: int) -> None:
        self.requests.append(index)

    def on_precision(self, index: int, code: int, frame: bytes) -> None:
        self.precision.append((index, code, frame))

    def slot(self, venue_symbol: str = "AAABBB", price_exp: int = 2, size_exp: int = 2) -> Instrument:
        spec = Instrument(
            symbol=f"{venue_symbol[:3]}/{venue_symbol[3:]}",
            venue_symbol=venue_symbol,
            price_exp=price_exp,
            size_exp=size_exp,
        )
        index = self.writer.add_instrument(spec)
        return Instrument(
            index=index,
            symbol=spec.symbol,
            venue_symbol=venue_symbol,
            price_exp=price_exp,
            size_exp=size_exp,
        )

    def add(
        self, venue_symbol: str = "AAABBB", price_exp: int = 2, size_exp: int = 2, **channels: bool
    ) -> int:
        spec = self.slot(venue_symbol, price_exp, size_exp)
        self.publisher.add_instrument(spec.index, price_exp, size_exp, **channels)
        self.decoder.add_symbol(venue_symbol, spec.index, price_exp, size_exp)
        return spec.index

    def depth(
        self,
        index: int,
        first: int,
        last: int,
        bids: Sequence[tuple[int, int]] = (),
        asks: Sequence[tuple[int, int]] = (),
    ) -> None:
        self.now += 1_000
        assert self.publisher.messages.depth_update(
            index, first, last, list(bids), list(asks), self.now * 7, self.now
        )

    def snapshot(
        self,
        index: int,
        last_id: int,
        bids: Sequence[tuple[int, int]] = (),
        asks: Sequence[tuple[int, int]] = (),
        limit: int = 0,
    ) -> Outcome:
        """Mantissas at exponent 2, written as the venue writes them."""
        texts = [
            [(f"{p // 100}.{p % 100:02d}000000", f"{s // 100}.{s % 100:02d}") for p, s in x]
            for x in (bids, asks)
        ]
        self.now += 1_000
        return self.publisher.apply_snapshot(index, Snapshot(last_id, *texts), limit=limit, recv_ns=self.now)

    def live(self, index: int, last_id: int = 10) -> None:
        """A small book in step."""
        assert self.snapshot(index, last_id, [(100, 1), (99, 2)], [(101, 3), (102, 4)]) is Outcome.SYNCED

    def poll(self) -> list[Any]:
        """The new records, folded too."""
        new = []
        while len(batch := self.cursor.poll()):
            assert batch.lost == 0
            for record in batch:
                new.append(record)
                if not self.blind(record):
                    self.folds.setdefault(int(record["instrument"]), Folded()).take(record)
        self.records += new
        return new

    def check(self, index: int) -> None:
        """I11: the fold of the records equals the cell, levels, id, times and state."""
        self.poll()
        fold = self.folds[index]
        assert fold.open is None
        symbol = self.feed.slots[index].symbol
        assert self.feed.instrument(symbol).index == index
        cell = self.feed.book(symbol, allow_stale=True)
        bids, asks = fold.window
        assert [tuple(level) for level in cell.exact[0].tolist()] == bids
        assert [tuple(level) for level in cell.exact[1].tolist()] == asks
        assert cell.state == fold.state
        if fold.updates:
            assert (cell.update_id, cell.ts_event, cell.ts_recv) == (
                fold.update_id,
                fold.ts_event,
                fold.ts_recv,
            )

    def state(self, index: int, scope: Scope = Scope.BOOK) -> State:
        return self.feed.cell_state(self.feed.slots[index].symbol, scope)

    def counter(self, name: str) -> int:
        return self.feed.counters().feed[name]

    def close(self) -> None:
        self.feed.close()
        self.writer.close()


@pytest.fixture
def make_lab() -> Iterator[Callable[..., Lab]]:
    """Makes labs and takes them away again."""
    made: list[Lab] = []

    def make(**options: Any) -> Lab:
        made.append(Lab(**options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def lab(make_lab: Callable[..., Lab]) -> Lab:
    return make_lab()
