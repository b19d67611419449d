"""What each channel of each symbol has delivered and owes, and what is late. Time is given; no I/O.

An acknowledged subscription owes an event

1. by contract, where the venue promises one whatever the market does (`MarketData.owes`): a first one soon,
   and another one each so many seconds. A mark price is so, and the first top of some venues;
2. by its own rate, where it has one (workers/books/staleness.pyx): a top and a book, whose cells show the
   rest; a ticker; trades, which come in bursts, with `factor` times as long a threshold. What is silent for
   longer than `most` by nature has no rate. A silence counts only while another channel of the symbol goes
   on: a market that stands still owes nothing;
3. by what another channel implies: after a trade, a ticker, and single and aggregated trades each other;
4. and nothing otherwise: trades and tickers of a quiet symbol, liquidations.

A top that its book gives (window.pyx, rule 14) owes nothing either, until the book has news of another
best, nor one that has not come yet by rule 4, until REST has news of another (workers/books/tops.py). What
REST has proven counts: an owed top or book is due its threshold after the last proof.

A channel without a cell that is late is reported once, counted, and subscribed again, with a delay that
doubles; when it delivers again, that is reported too. Tops and books are the book manager's and the
connection's business.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shm import _ring
from shm.channels import CELLS, CHANNELS, Channel, Delivery
from shm.counters import FeedCounter
from shm.events import Code
from shm.layout import Scope, State
from workers.books.staleness import Rate
from workers.worker.events import FeedEvents

if TYPE_CHECKING:
    from shm.writer import Writer
    from workers.books.publish import Publisher
    from workers.config.venue import VenueConfig
    from workers.venues.venue import Owed

# Rule 3: an event of these is followed by one of the channel.
IMPLIED = {
    "ticker": (Channel.TRADES, Channel.AGG_TRADES),
    "trades": (Channel.AGG_TRADES,),
    "agg_trades": (Channel.TRADES,),
}
RATED = frozenset({"ticker", "trades", "agg_trades"})  # rule 2, of what has no cell
BURSTS = frozenset({"trades", "agg_trades"})
NEVER = 1 << 60  # ns: a threshold that means none
LONGEST = 600.0  # seconds between two remedies


@dataclass
class Watch:
    """One channel of one instrument; ns of CLOCK_MONOTONIC.

    Attributes:
        since: when it was first seen to be acknowledged; 0: it is not. floor: when it last was not.
        last: its last event. implied_at: the first event since of another channel that implies one; 0: none.
        at, within: as in the segment.
        reported_at: when it was reported as late; 0: it is not. retry_delay: seconds until the next remedy,
            at `again`.
    """

    rate: Rate
    floor: int = 0
    since: int = 0
    last: int = 0
    implied_at: int = 0
    reported_at: int = 0
    at: int = 0
    within: int = 0
    retry_delay: float = 0.0
    again: int = 0


class Expectations:
    """Args:
    owes: what the venue promises by channel.
    aggregated: the channel `trades` brings aggregated ones (`MarketData.aggregated`).
    moved: index -> ns since when REST has shown that a first top is owed after all; 0: it has not.
    events: gets what is late.
    """

    def __init__(
        self,
        writer: Writer,
        publisher: Publisher,
        config: VenueConfig,
        owes: Mapping[str, Owed],
        *,
        aggregated: bool = False,
        moved: Callable[[int], int] = lambda index: 0,
        events: FeedEvents | None = None,
    ) -> None:
        self._writer = writer
        self._publisher = publisher
        self._config = config
        self._owes = owes
        self._aggregated = aggregated
        self._moved = moved
        self._events = events or FeedEvents()
        self._watches: dict[tuple[int, str], Watch] = {}
        self.late: set[tuple[int, str]] = set()  # (slot, channel) without a cell, as of its last look
        self._first_event_after = int(config.first_event_after * 1e9)
        self._start = int(config.stale_after * 1e9)
        self._most = int(config.stale_after_max * 1e9)

    def look(
        self, index: int, symbol: str, active: Collection[tuple[str, str]], now: int, *, halted: bool = False
    ) -> None:
        """One instrument, about once a second. `active`: what is acknowledged. `halted`: it owes nothing."""
        heard = list(self._publisher.received_at(index))
        if self._aggregated or (symbol, "agg_trades") not in active:
            heard[Channel.TRADES] = max(heard[Channel.TRADES], heard[Channel.AGG_TRADES])
        if self._publisher.top_from_book(index):
            heard[Channel.TOP] = heard[Channel.BOOK]
        for number, channel in enumerate(CHANNELS):
            if (symbol, channel) in active:
                self._one(index, symbol, number, heard, now, halted)
            elif (watch := self._watches.get((index, channel))) is not None:
                watch.rate.interrupt()
                watch.floor, watch.since, watch.implied_at = now, 0, 0
                self.late.discard((index, channel))
                self._writer.set_delivery(index, channel, 0, 0)

    def keep(self, indexes: Collection[int]) -> None:
        """The other slots are carried no more."""
        for index, channel in [each for each in self._watches if each[0] not in indexes]:
            del self._watches[index, channel]
            self.late.discard((index, channel))
            self._writer.set_delivery(index, channel, 0, 0)

    def delivery(self, index: int) -> dict[str, Delivery]:
        """What the acknowledged channels of an instrument delivered last and owe."""
        found = {}
        now = _ring.now()
        for channel in CHANNELS:
            watch = self._watches.get((index, channel))
            if watch is not None and watch.since:
                found[channel] = Delivery.at(watch.at, watch.within, now)
        return found

    def _rate(self) -> Rate:
        config = self._config
        start, most = config.stale_after or config.stale_after_min, config.stale_after_max
        return Rate(start, min(config.stale_after_min, start), max(most, start), config.stale_factor)

    def _one(self, index: int, symbol: str, number: int, heard: list[int], now: int, halted: bool) -> None:
        channel = CHANNELS[number]
        watch = self._watches.get((index, channel))
        if watch is None:
            watch = self._watches[index, channel] = Watch(self._rate())
        watch.since = watch.since or now
        last = heard[number] if heard[number] > watch.floor else 0
        if last and last != watch.last:
            watch.rate.arrive(last)
            watch.last, watch.implied_at = last, 0
        at = last or watch.since
        if halted:
            within = 0
        elif channel in CELLS:
            within = self._cell(index, CELLS[channel], at, bool(last))
        else:
            within = self._plain(channel, watch, at, heard, now, first=not last)
        watch.at, watch.within = at, within
        self._writer.set_delivery(index, channel, at, within)
        if channel not in CELLS:
            self._judge(index, symbol, channel, watch, now, late=0 < within < now - at)

    def _cell(self, index: int, scope: Scope, at: int, heard: bool) -> int:
        """Of a top or a book."""
        publisher = self._publisher
        if scope is Scope.TOP and publisher.top_filled(index):
            moved = publisher.top_owed_since(index)
            return moved + self._start - at if moved and self._start else 0
        if not heard and publisher.state(index, scope) != State.LIVE:
            # Soon, where it is promised whatever happens; else the book gives the top, and REST the book.
            if scope is Scope.BOOK or publisher.top_from_book(index):
                return self._first_event_after if publisher.snapshot_in_stream(index) else 0
            if (owed := self._owes.get("top")) is not None and owed.first:
                return max(self._first_event_after, int(owed.first * self._config.stale_factor * 1e9))
            moved = self._moved(index)
            return moved + self._start - at if moved and self._start else 0
        threshold = publisher.threshold(index, scope)
        return 0 if threshold > NEVER else max(publisher.proof(index, scope) - at, 0) + threshold

    def _plain(self, channel: str, watch: Watch, at: int, heard: list[int], now: int, *, first: bool) -> int:
        """Of a channel without a cell, rules 1 to 4."""
        config = self._config
        if (owed := self._owes.get(channel)) is not None:
            if first and owed.first:
                return max(self._first_event_after, int(owed.first * config.stale_factor * 1e9))
            if not first and owed.every:
                return int(max(owed.every * config.stale_factor, config.stale_after_min) * 1e9)
        if not watch.implied_at:
            watch.implied_at = max((heard[n] for n in IMPLIED.get(channel, ()) if heard[n] > at), default=0)
        if watch.implied_at:
            return watch.implied_at - at + self._first_event_after
        learnt = watch.rate.threshold if watch.rate.learnt else 0
        limit = max(int(learnt * (config.stale_factor if channel in BURSTS else 1.0)), self._start)
        if channel not in RATED or not learnt or not self._start or limit >= self._most:
            return 0
        if now - at > limit and max(heard) <= at + limit:
            return 0  # the whole market is silent
        return limit

    def _judge(self, index: int, symbol: str, channel: str, watch: Watch, now: int, *, late: bool) -> None:
        if not late:
            self.late.discard((index, channel))
            if watch.last > watch.reported_at > 0:
                self._writer.log(Code.DELIVERS, channel, instrument=index)
                watch.reported_at, watch.retry_delay = 0, 0.0
            return
        self.late.add((index, channel))
        if not watch.reported_at:
            watch.reported_at = now
            self._writer.count_up(FeedCounter.FIRST_EVENT_MISSES)
            self._writer.log(Code.OVERDUE, channel, instrument=index)
        if not watch.retry_delay or now >= watch.again:
            watch.retry_delay = min(LONGEST, 2 * watch.retry_delay or self._config.first_event_after)
            watch.again = now + int(watch.retry_delay * 1e9)
            self._events.late(symbol, channel)

    def __repr__(self) -> str:
        watches = self._watches.items()
        late = [f"{index} {channel}" for (index, channel), watch in watches if watch.reported_at]
        return f"<Expectations {len(self._watches)} channels, late: {late}>"
