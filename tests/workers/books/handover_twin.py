"""A venue with two connections, in plain Python, that knows what a reader must see while one takes over.

The market moves in ticks, numbered from 1. A connection is a place in the row of ticks; it delivers the next
few of them as one event (so the two cut the streams at different places), at its own pace (so either may be
behind). A reader must see: windows and tops that were the market's, never an older one after a newer one,
every trade exactly once, no state but LIVE.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from shm import Flag, Kind, Scope, State
from workers.books.sync import Outcome, Snapshot, StreamSync
from workers.contract.protocols import MessageType, ParsedMessage
from workers.decode.normal import DecodeCode, Decoded, MessageFlag, MessageKind
from workers.handover.handover import Handover
from workers.venues.binance_spot.sync import BookSync

Side = dict[int, int]
Window = tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]
PATIENCE = 1_000_000_000
KINDS = {
    MessageKind.TOP: "top",
    MessageKind.DEPTH: "book",
    MessageKind.TRADE: "trades",
    MessageKind.TICKER: "ticker",
}
CHANNELS = tuple(KINDS.values())


@dataclass(frozen=True)
class Kinds:
    """What a venue's streams have.

    Attributes:
        numbered: update ids. streamed: snapshots come in the stream (else by REST).
        timed: event times, one a tick. coarse: a few ticks have the same event time.
        merges: an event may be several ticks, whose states in between nobody sees.
        trades: how trades are told apart: "id", "hash" or "content".
        channels: what is subscribed.
    """

    numbered: bool = True
    streamed: bool = False
    timed: bool = True
    coarse: bool = False
    merges: bool = True
    trades: str = "id"
    channels: tuple[str, ...] = CHANNELS

    def time(self, tick: int) -> int:
        return (tick // 3 + 1 if self.coarse else tick) if self.timed else 0

    @property
    def make_sync(self) -> Any:
        return partial(StreamSync, self.numbered) if self.streamed else BookSync


@dataclass
class Tick:
    changes: tuple[list[tuple[int, int]], list[tuple[int, int]]]
    window: Window
    whole: tuple[Side, Side]
    top: tuple[int, int, int, int] | None  # when it changed
    trades: list[int]  # prices, which name them
    ticker: bool


class Market:
    """All that ever was. Few prices and sizes, so that states come again."""

    def __init__(self, chance: random.Random, depth: int) -> None:
        self.chance = chance
        self.depth = depth
        self.sides: tuple[Side, Side] = ({50: 1, 49: 1}, {51: 1, 52: 1})
        self.ticks = [Tick(([], []), self._window(), self._whole(), self._top(), [], False)]
        self.sold = 1_000

    def _whole(self) -> tuple[Side, Side]:
        return dict(self.sides[0]), dict(self.sides[1])

    def _window(self) -> Window:
        bids = sorted(self.sides[0].items(), reverse=True)[: self.depth]
        return tuple(bids), tuple(sorted(self.sides[1].items())[: self.depth])

    def _top(self) -> tuple[int, int, int, int]:
        return (*max(self.sides[0].items()), *min(self.sides[1].items()))

    def move(self, size: int = 0) -> None:
        changes: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
        for _ in range(1 if size else self.chance.randint(1, 2)):
            ask = self.chance.random() < 0.5
            price = self.chance.randint(51, 54) if ask else self.chance.randint(47, 50)
            if size:
                price = 51 if ask else 50  # a top that never was
            to = size or self.chance.choice([0, 1, 2])
            if not to and len(self.sides[ask]) == 1:
                to = 1
            changes[ask].append((price, to))
            self.sides[ask].pop(price, None)
            if to:
                self.sides[ask][price] = to
        trades = []
        for _ in range(1 if size else self.chance.choice([0, 0, 1, 2])):
            self.sold += 1
            trades.append(self.sold)
        last = next(tick.top for tick in reversed(self.ticks) if tick.top)
        top = self._top()
        self.ticks.append(
            Tick(
                changes,
                self._window(),
                self._whole(),
                top if top != last else None,
                trades,
                bool(size) or self.chance.random() < 0.3,
            )
        )

    @property
    def now(self) -> int:
        return len(self.ticks) - 1

    def came(self, at: int) -> int:
        """Since which tick the window has been as it is at `at`."""
        while at > 0 and self.ticks[at - 1].window == self.ticks[at].window:
            at -= 1
        return at

    def topped(self, at: int) -> int:
        while self.ticks[at].top is None:
            at -= 1
        return at


def hashed(number: int) -> int:
    return number * 0x9E3779B97F4A7C15 % 2**64


@dataclass
class Connection:
    """A place in the row of ticks; `send` gets what is delivered."""

    market: Market
    kinds: Kinds
    index: int
    at: int
    send: Any = None

    def _say(self, kind: MessageKind, at: int, **fields: Any) -> None:
        if KINDS[kind] not in self.kinds.channels:
            return
        fields.setdefault("ts_event", self.kinds.time(at))
        self.send(Decoded(DecodeCode.OK, kind, self.index, **fields))

    def snapshot(self) -> None:
        bids, asks = self.market.ticks[self.at].whole
        last = self.at if self.kinds.numbered else 0
        self._say(
            MessageKind.DEPTH,
            self.at,
            update_id=last,
            first_id=last,
            flags=MessageFlag.SNAPSHOT,
            bids=tuple(bids.items()),
            asks=tuple(asks.items()),
        )

    def top(self, at: int) -> None:
        words = (*(self.market.ticks[at].top or ()), 0, 0, 0, 0)
        self._say(MessageKind.TOP, at, update_id=at if self.kinds.numbered else 0, payload=words)

    def advance(self, count: int, lose: bool = False) -> None:
        """Deliver the next ticks as one event of each stream, or lose them."""
        first, self.at = self.at + 1, min(self.at + count, self.market.now)
        ticks = self.market.ticks[first : self.at + 1]
        if not ticks or lose:
            return
        tops = [at for at, tick in enumerate(ticks, first) if tick.top]
        for at in tops[-1:]:
            self.top(at)
        for at, tick in enumerate(ticks, first):
            for price in tick.trades:
                trade_id = {"id": price, "hash": hashed(price), "content": 0}[self.kinds.trades]
                self._say(
                    MessageKind.TRADE,
                    at,
                    ts_event=at,
                    update_id=trade_id,
                    first_id=trade_id,
                    flags=Flag.HASHED_ID if self.kinds.trades == "hash" else 0,
                    payload=(price, 1, 0, 0, 0, 0, 0, 0),
                )
            if tick.ticker:
                self._say(MessageKind.TICKER, at, payload=(at, 1, 1, 1, 1, 1, 1, 1))
        self._say(
            MessageKind.DEPTH,
            self.at,
            update_id=self.at if self.kinds.numbered else 0,
            first_id=first if self.kinds.numbered else 0,
            bids=tuple(change for tick in ticks for change in tick.changes[0]),
            asks=tuple(change for tick in ticks for change in tick.changes[1]),
        )


@dataclass
class Play:
    """One feed, its connections, and a reader who objects to what is forbidden.

    `clean`: nothing is ever lost, so that the book must be LIVE all the time.
    """

    lab: Any
    chance: random.Random
    kinds: Kinds
    clean: bool = True
    make: type[Handover] = Handover
    options: dict[str, Any] = field(default_factory=dict)
    handover: Handover | None = None
    new: Connection | None = None
    since: int = 0
    handovers: int = 0
    gaps: int = 0
    shown: int = 0  # the tick whose window is shown
    topped: int = 0
    trades: list[int] = field(default_factory=list)
    tickers: list[int] = field(default_factory=list)
    tops: list[tuple[int, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.index = self.lab.add()
        self.market = Market(self.chance, self.lab.publisher.depth)
        for _ in range(self.chance.randint(1, 4)):
            self.market.move()
        self.since = self.market.now
        self.old = self._connection(self.market.now)
        if self.kinds.streamed:
            self.old.snapshot()
        else:
            self.rest(self.market.now)
        self.old.top(self.market.topped(self.market.now))
        self.lab.poll()
        self.lab.records.clear()
        self.trades.clear()
        self.tickers.clear()
        self.shown = self.market.came(self.market.now)
        self.topped = self.market.topped(self.market.now)
        self.look()

    def rest(self, at: int) -> None:
        bids, asks = self.market.ticks[at].whole
        texts = [[(f"{p / 100:.2f}", f"{s / 100:.2f}") for p, s in side.items()] for side in (bids, asks)]
        assert self.lab.publisher.apply_snapshot(self.index, Snapshot(at, *texts)) in (
            Outcome.SYNCED,
            Outcome.NOT_NEEDED,
            Outcome.REFETCH,
        )

    def _connection(self, at: int) -> Connection:
        return Connection(self.market, self.kinds, self.index, at, self.publish)

    def publish(self, message: Decoded) -> None:
        self.lab.now += 1_000
        assert self.lab.publisher.messages.publish_message(message, self.lab.now)

    def hold(self, message: Decoded) -> None:
        self.lab.now += 1_000
        assert self.handover is not None
        self.handover.keep(
            ParsedMessage(message_type=MessageType.OTHER, data=message, timestamp=self.lab.now, raw_data=b"-")
        )

    # -- what happens --------------------------------------------------------------------------------------
    def begin(self) -> None:
        """The new connection is asked for; its server may be behind, but not behind what is published
        where neither ids nor times would tell."""
        topics = [(self.index, channel) for channel in self.kinds.channels]
        self.handover = self.make(
            self.lab.publisher,
            topics,
            normalise=lambda parsed: [parsed.data],
            clock=lambda: self.lab.now,
            **self.options,
        )
        at = self.chance.randint(self.old.at, self.market.now)
        if self.kinds.numbered and self.kinds.timed:
            at = max(self.since, at - self.chance.randint(0, 4))
        self.new = self._connection(at)
        self.new.send = self.hold
        if self.kinds.streamed:
            self.new.snapshot()

    def complete(self) -> None:
        assert self.handover is not None and self.new is not None  # noqa: PT018
        self.look()
        assert self.handover.complete() is self.lab.publisher.hot_path
        if not self.kinds.numbered:
            self.look(self.new.at)
        else:
            self.look()
        self.new.send = self.publish
        self.old, self.new, self.handover = self.new, None, None
        self.handovers += 1

    def abandon(self) -> None:
        assert self.handover is not None
        self.handover.abandon()
        self.new = self.handover = None

    def wait(self) -> None:
        """Longer than anything is on its way."""
        self.old.advance(self.market.now)
        self.look(self.old.at)
        if self.new is not None:
            self.new.advance(self.market.now)
        self.lab.now += PATIENCE

    def recover(self) -> None:
        """What the book manager would do for a book that is void: fetch a snapshot, or subscribe again."""
        if not self.kinds.streamed:
            self.rest(self.market.now)
        else:
            self.old.at = self.market.now
            self.old.snapshot()

    def step(self) -> None:
        fate = self.chance.random()
        lose = not self.clean and self.chance.random() < 0.1
        if not self.lab.publisher.synced(self.index) and self.chance.random() < 0.5:
            self.recover()
        count = self.chance.randint(1, 3) if self.kinds.merges else 1
        if fate < 0.35:
            self.market.move()
        elif fate < 0.6:
            self.old.advance(count, lose)
            self.look(self.old.at)
        elif self.new is None or self.handover is None:
            self.begin()
        elif fate < 0.85:
            self.new.advance(count, lose)
            self.look()
        elif fate < 0.9:
            self.handover.subscribed()
        elif fate < 0.92:
            self.abandon()
        elif fate < 0.94 and self.kinds.merges:
            self.wait()
        elif self.handover.ready():
            self.complete()

    def finish(self) -> None:
        """Everything arrives; a market that shows something new lets both be in step."""
        if self.handover is not None and self.new is not None:
            self.handover.subscribed()
            for _ in range(3):
                self.market.move(size=self.market.now + 10)
                while self.old.at < self.market.now:
                    self.old.advance(1)
                while self.new.at < self.market.now:
                    self.new.advance(1)
                self.lab.now += PATIENCE
            self.look(self.old.at)
            if self.clean:
                assert self.handover.ready(), "both have delivered the same"
            if self.handover.ready():
                self.complete()
        while self.old.at < self.market.now:
            self.old.advance(1)
        if not self.lab.publisher.synced(self.index):
            self.recover()
        self.look(self.old.at)

    # -- what is seen --------------------------------------------------------------------------------------
    def look(self, at: int | None = None) -> None:
        """The reader's rules. `at`: the tick that the book must be at, where it has no ids to tell."""
        lab, market = self.lab, self.market
        before = len(lab.records)
        lab.publisher.hot_path.batch_end()
        lab.check(self.index)
        assert lab.publisher.errors == 0, lab.publisher.last_error
        for record in lab.records[before:]:
            self._record(record)
        self.gaps = lab.counter("gaps")
        cell = lab.feed.book("AAA/BBB", allow_stale=True)
        if self.clean:
            assert cell.state is State.LIVE
            assert "top" not in self.kinds.channels or lab.state(self.index, Scope.TOP) is State.LIVE
        if cell.state is not State.LIVE:
            return
        if self.kinds.numbered:
            at = cell.update_id
        elif at is None:
            return
        seen = tuple(tuple(map(tuple, side.tolist())) for side in cell.exact)
        assert market.came(at) >= self.shown, "an older book"
        assert seen == market.ticks[at].window, "no book of the market"
        self.shown = market.came(at)
        if self.clean:
            assert market.topped(at) >= self.topped, "an older top"
            if not self.kinds.merges and "top" in self.kinds.channels:
                assert lab.feed.top("AAA/BBB").exact == market.ticks[market.topped(at)].top, "no top of then"
            self.topped = market.topped(at)

    def _record(self, record: Any) -> None:
        kind, words = int(record["kind"]), [int(word) for word in record["words"]]
        if kind == Kind.STATUS:
            assert not self.clean, "a STATUS"
        elif kind == Kind.TRADE:
            self.trades.append(words[0])
            assert len(set(self.trades)) == len(self.trades), "a trade twice"
        elif kind == Kind.TICKER and int(record["flags"]) & Flag.FIRST:
            assert words[0] > max(self.tickers, default=0), "an older ticker"
            self.tickers.append(words[0])
        elif kind == Kind.TOP:
            self.tops.append((int(record["ts_event"]), *words))
            assert sorted(time for time, *_ in self.tops) == [time for time, *_ in self.tops], "an older top"

    def account(self) -> None:
        """At the end: all trades, each once, and the market's book."""
        expected = [price for tick in self.market.ticks[self.since + 1 :] for price in tick.trades]
        if "trades" in self.kinds.channels:
            assert sorted(self.trades) == expected, "trades are missing"
        if "book" in self.kinds.channels:
            assert self.shown == self.market.came(self.market.now), "a book that is behind"
