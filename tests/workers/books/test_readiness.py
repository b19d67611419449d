"""What a feed may claim when connections fail, are refused, come back: no price without a stream is LIVE."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from shm import InstrumentStatus, Kind, Reason, Scope, State, _ring
from shm.channels import Delivery
from shm.events import Code
from shm.instruments import Instrument
from workers.books.manager import BookManager
from workers.books.sync import Snapshot
from workers.config.venue import VenueConfig
from workers.contract.errors import WebSocketError
from workers.contract.protocols import (
    ConnectionEvent,
    ConnectionState,
    MessageType,
    ParsedMessage,
    PerformanceMetrics,
)
from workers.contract.rest import Priority
from workers.decode.normal import DecodeCode, Decoded, MessageFlag, MessageKind, Scale
from workers.venues.binance.parser import BinanceParser
from workers.venues.binance_spot.parser import DIALECT
from workers.venues.binance_spot.sync import BookSync
from workers.venues.binance_spot.venue import VENUE
from workers.websocket.first_events import ALWAYS_EXPECTED, UNDECIDED
from workers.worker.cold_path import ColdPath
from workers.worker.events import FeedEventHub, FeedEvents
from workers.worker.feed_state import Readiness

A, B = "AAA/BBB", "CCC/DDD"
BOOK = Snapshot(10, [("1.00", "1.00")], [("1.01", "3.00")])


class Heard(FeedEvents):
    """Remembers what is reported and missed."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.topics: list[tuple[str, str]] = []

    def report(self, line: str) -> None:
        self.lines.append(line)

    def missed(self, topics: Sequence[tuple[str, str]]) -> None:
        self.topics.extend(topics)


class Desk:
    """Two shards, one instrument each, as the worker joins them; the test is the network."""

    def __init__(self, lab: Any) -> None:
        self.lab = lab
        heard = Heard()
        self.logged, self.missed = heard.lines, heard.topics
        self.fetched: list[str] = []
        self.widened = asyncio.Event()
        self.scales: dict[str, Scale] = {}
        self.books = BookManager(lab.writer, lab.publisher, self.fetch, respec=self.respec)
        keys = VenueConfig(ws_url="ws://x", rest_url="http://x", symbols=[A, B], channels=["top", "book"])
        self.readiness = Readiness(lab.writer, lab.publisher, self.books, keys)
        for symbol in (A, B):
            slot = lab.slot(symbol.replace("/", ""))
            self.scales[slot.venue_symbol] = Scale(slot.index, slot.price_exp, slot.size_exp)
            self.books.carry(slot)
        self.cold = ColdPath(
            lab.writer,
            lab.publisher,
            VENUE,
            self.scales,
            FeedEventHub(self.readiness, heard),
        )

    async def fetch(self, instrument: Instrument, levels: int, priority: Priority) -> Snapshot:
        self.fetched.append(instrument.symbol)
        return BOOK

    async def respec(self, old: Instrument, evidence: bytes | Snapshot) -> Instrument:
        await self.widened.wait()
        return msgspec.structs.replace(old, price_exp=old.price_exp + 1)

    def log(self, code: Code) -> list[str]:
        return [event.text for event in self.lab.feed.events(1000) if event.code == code.name.lower()]

    async def event(self, number: int, state: ConnectionState, **facts: Any) -> None:
        facts.setdefault("symbols", (A, B)[number : number + 1])
        self.cold.connection(ConnectionEvent(state=state, shard=number, **facts))
        for _ in range(50):
            await asyncio.sleep(0)

    def top(self, index: int, update_id: int = 5) -> None:
        self.lab.publisher.messages.top(index, 100, 100, 101, 300, update_id, 0, _ring.now())
        self.lab.publisher.hot_path.batch_end()

    def feed(self) -> State:
        state: State = self.lab.feed.state
        return state

    def states(self, symbol: str) -> tuple[State, State]:
        return self.lab.feed.cell_state(symbol, Scope.TOP), self.lab.feed.cell_state(symbol, Scope.BOOK)


@pytest.fixture
def run(lab: Any) -> Any:
    def runner(scenario: Any) -> None:
        async def main() -> None:
            desk = Desk(lab)
            await scenario(desk)
            await desk.books.close()

        work: Coroutine[Any, Any, None] = main()
        asyncio.run(work)

    return runner


def test_books_of_a_failed_connection_attempt_are_not_live(run: Any) -> None:
    """The second failure in a row is no change of the state, but its prices are as dead as the first's."""

    async def scenario(desk: Desk) -> None:
        await desk.event(0, ConnectionState.CONNECTED)
        await desk.event(1, ConnectionState.CONNECTED)
        await desk.event(0, ConnectionState.RECONNECTING, reason="lost")
        desk.top(0)  # the next attempt: subscribed in part, delivering
        assert desk.states(A)[0] is State.LIVE
        await desk.event(0, ConnectionState.RECONNECTING, reason="not acknowledged")
        assert desk.states(A) == (State.DOWN, State.DOWN)
        assert desk.logged == ["lost"]

    run(scenario)


def test_a_second_connection_is_not_one_made_again(run: Any) -> None:
    async def scenario(desk: Desk) -> None:
        for number in (0, 1):
            await desk.event(number, ConnectionState.CONNECTED, connection=number + 1)
        await desk.event(0, ConnectionState.RECONNECTING, reason="lost")
        await desk.event(0, ConnectionState.CONNECTED, connection=3)
        first, second, third = desk.log(Code.CONNECTED)
        assert (first, second) == ("connected, connection 1", "connected, connection 2")
        assert third == "connected again, connection 3"

    run(scenario)


def test_one_connection_takes_only_its_own_instruments_down(run: Any) -> None:
    async def scenario(desk: Desk) -> None:
        for number in (0, 1):
            await desk.event(number, ConnectionState.CONNECTED)
            desk.top(number)
        desk.readiness.review()
        assert desk.feed() is State.LIVE
        await desk.event(1, ConnectionState.ERROR, reason="lost")
        desk.readiness.review()
        assert desk.feed() is State.RESYNC  # something that is subscribed is missing
        assert desk.states(A) == (State.LIVE, State.LIVE)
        assert desk.lab.feed.top(A).state is State.LIVE  # readable without leave to be stale
        assert desk.states(B) == (State.DOWN, State.DOWN)
        await desk.event(0, ConnectionState.RECONNECTING, reason="lost")
        assert desk.feed() is State.DOWN

    run(scenario)


def test_a_connection_without_a_cells_channel_takes_no_cell_down_and_brings_none_back(run: Any) -> None:
    """A venue that has tickers and mark prices at an address of their own: the book does not hang on it."""

    async def scenario(desk: Desk) -> None:
        other: dict[str, Any] = {"symbols": (A, B), "channels": ("ticker", "mark")}
        await desk.event(2, ConnectionState.CONNECTED, **other)
        assert desk.fetched == []  # there is no stream yet that a snapshot could join
        for number in (0, 1):
            await desk.event(number, ConnectionState.CONNECTED, channels=("top", "book"))
            desk.top(number)
        desk.readiness.review()
        assert desk.feed() is State.LIVE
        await desk.event(2, ConnectionState.RECONNECTING, reason="lost", **other)
        desk.readiness.review()
        assert desk.feed() is State.RESYNC  # not all that was asked for is there
        assert desk.states(A) == desk.states(B) == (State.LIVE, State.LIVE)
        await desk.event(0, ConnectionState.ERROR, reason="lost", channels=("top", "book"))
        await desk.event(2, ConnectionState.CONNECTED, **other)
        assert desk.states(A) == (State.DOWN, State.DOWN)

    run(scenario)


def test_a_refused_book_is_not_built_from_rest(run: Any) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.event(1, ConnectionState.CONNECTED)
        await desk.event(0, ConnectionState.CONNECTING, rejected=((A, "book"),), reason="refused")
        await desk.event(0, ConnectionState.CONNECTED)
        desk.top(0)
        assert desk.fetched == [B]
        assert desk.states(A) == (State.LIVE, State.DOWN)
        assert desk.lab.feed.book(A, allow_stale=True).reason is Reason.UNSUBSCRIBED
        # The next connection asks anew, and now it is taken.
        await desk.event(0, ConnectionState.RECONNECTING, reason="lost")
        await desk.event(0, ConnectionState.CONNECTED)
        assert desk.states(A)[1] is State.LIVE

    run(scenario)


def test_a_book_that_is_taken_after_all_has_its_snapshot(run: Any) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.event(0, ConnectionState.CONNECTING, rejected=((A, "book"),), reason="refused")
        await desk.event(0, ConnectionState.CONNECTED)
        assert desk.fetched == []
        await desk.event(0, ConnectionState.CONNECTED, accepted=((A, "book"),), reason="taken")
        assert desk.states(A)[1] is State.LIVE
        assert desk.logged == ["refused", "taken"]

    run(scenario)


def test_a_top_that_is_taken_after_all_does_not_build_a_refused_book(run: Any) -> None:
    async def scenario(desk: Desk) -> None:
        both = ((A, "top"), (A, "book"))
        await desk.event(0, ConnectionState.CONNECTING, rejected=both, reason="refused")
        await desk.event(0, ConnectionState.CONNECTED)
        await desk.event(0, ConnectionState.CONNECTED, accepted=((A, "top"),), reason="taken")
        assert desk.fetched == []
        assert desk.states(A)[1] is State.DOWN

    run(scenario)


def test_a_refusal_of_a_renewed_subscription_ends_what_was_live(run: Any) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.event(0, ConnectionState.CONNECTED)
        desk.top(0)
        assert desk.states(A) == (State.LIVE, State.LIVE)
        await desk.event(0, ConnectionState.CONNECTED, rejected=((A, "top"),), reason="refused")
        assert desk.states(A)[0] is State.DOWN

    run(scenario)


def test_a_refusal_of_what_has_no_cell_ends_none(run: Any) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.event(0, ConnectionState.CONNECTED)
        desk.top(0)
        await desk.event(0, ConnectionState.CONNECTED, rejected=((A, "ticker"),), reason="refused")
        assert desk.lab.counter("rejects") == 1
        assert desk.states(A) == (State.LIVE, State.LIVE)

    run(scenario)


def test_a_new_slot_without_a_connection_waits_for_one(run: Any) -> None:
    """A snapshot from before the subscription knows nothing of what happened in between."""

    async def scenario(desk: Desk) -> None:
        await desk.event(0, ConnectionState.CONNECTED)
        await desk.event(1, ConnectionState.CONNECTED)
        desk.books.on_precision(0, 3, b"")
        await desk.event(0, ConnectionState.RECONNECTING, reason="lost")
        desk.widened.set()
        await asyncio.sleep(0.01)
        assert desk.books.index_of(A) == 2
        assert desk.states(A) == (State.DOWN, State.DOWN)
        await desk.event(0, ConnectionState.CONNECTED)
        assert desk.states(A)[1] is State.LIVE

    run(scenario)


def test_a_message_that_waited_while_its_connection_went_is_not_published(run: Any) -> None:
    frame = (
        b'{"stream":"aaabbb@bookTicker","data":{"u":7,"s":"AAABBB","b":"1.00","B":"1.00","a":"1.1","A":"1"}}'
    )
    parser = BinanceParser({"AAABBB": A}, DIALECT)

    async def scenario(desk: Desk) -> None:
        await desk.event(0, ConnectionState.CONNECTED)
        await desk.event(1, ConnectionState.CONNECTED)
        # Another connection of the same symbol, for other channels, takes nothing of this one with it.
        other: dict[str, Any] = {"symbols": (A, B), "channels": ("ticker", "mark")}
        await desk.event(2, ConnectionState.CONNECTED, **other)
        queued = parser.parse(frame, _ring.now())
        await desk.event(2, ConnectionState.RECONNECTING, reason="lost", **other)
        desk.cold.message(queued)
        assert desk.states(A)[0] is State.LIVE
        assert desk.lab.counter("cold_dropped") == 0
        queued = parser.parse(frame, _ring.now())
        assert queued.message_type is MessageType.BOOK_TICKER
        await desk.event(0, ConnectionState.RECONNECTING, reason="lost")
        desk.cold.message(queued)
        assert desk.states(A)[0] is State.DOWN
        assert desk.lab.counter("cold_dropped") == 1
        desk.cold.message(parser.parse(frame, _ring.now()))
        assert desk.states(A)[0] is State.LIVE

    run(scenario)


def test_messages_without_a_cell_are_published_though_a_connection_was_lost_meanwhile(run: Any) -> None:
    """A trade stays true; and a connection for other channels of its symbol may have brought it."""
    trade = b'{"e":"trade","E":1,"s":"AAABBB","t":7,"p":"1.00","q":"1.00","T":1,"m":true,"M":true}'
    parser = BinanceParser({"AAABBB": A}, DIALECT)

    async def scenario(desk: Desk) -> None:
        await desk.event(0, ConnectionState.CONNECTED)
        queued = parser.parse(b'{"stream":"aaabbb@trade","data":%s}' % trade, _ring.now())
        await desk.event(0, ConnectionState.RECONNECTING, reason="lost")
        before = desk.lab.writer.head
        desk.cold.message(queued)
        assert desk.lab.counter("cold_dropped") == 0
        assert desk.lab.writer.head == before + 1
        assert desk.states(A)[0] is State.DOWN

    run(scenario)


def test_whether_it_has_delivered_is_known_for_tops_only(run: Any) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.event(0, ConnectionState.CONNECTED)
        assert desk.readiness.delivered(A, "top") == 0
        before = _ring.now()
        desk.top(0)
        assert desk.readiness.delivered(A, "top") >= before
        assert {desk.readiness.delivered(A, channel) for channel in ("book", "trades", "ticker")} == {-1}
        assert desk.readiness.delivered("NO/SUCH", "top") == -1

    run(scenario)


def test_rest_is_requested_once_before_a_quiet_top_is_logged(make_lab: Any) -> None:
    """The kind: a complaint about a market that stands still; one that moves unheard is found."""

    async def main() -> None:
        desk = Desk(make_lab(make_sync=BookSync, depth=2))
        delivered = desk.readiness.delivered
        assert delivered(A, "top") == UNDECIDED  # there is no book yet that could be compared
        await desk.event(0, ConnectionState.CONNECTED)
        assert desk.states(A) == (State.LIVE, State.LIVE)
        assert desk.fetched == [A]
        assert delivered(A, "top") == UNDECIDED
        for _ in range(50):
            await asyncio.sleep(0)
        assert desk.fetched == [A, A]
        assert delivered(A, "top") > 0
        assert delivered(A, "top") > 0
        assert desk.fetched == [A, A]
        desk.books._proofs.compared[0] = _ring.now(), False
        assert delivered(A, "top") == 0
        desk.top(0, 11)
        assert delivered(A, "top") > 0
        await desk.books.close()

    asyncio.run(main())


def test_a_feed_is_live_when_nothing_is_missing_and_nothing_late(make_lab: Any) -> None:
    """The kind: a feed that is LIVE although something is missing, or not LIVE for what nothing owes."""

    async def main() -> None:
        lab = make_lab(make_sync=BookSync, depth=2)
        desk = Desk(lab)
        late: dict[str, Delivery] = {}
        statuses: dict[int, InstrumentStatus] = {}
        desk.readiness._delivery = lambda index: late if index == 1 else {}
        desk.readiness._statuses = lambda: statuses
        review = desk.readiness.review

        def feed() -> State:
            review()
            return desk.feed()

        for number in (0, 1):
            await desk.event(number, ConnectionState.CONNECTED)
        assert feed() is State.LIVE  # not one top has come: the books give them
        late["mark"] = Delivery(10.0, 4.0)
        desk.readiness._late = {(1, "mark")}
        assert feed() is State.STALE
        desk.readiness._late = ()
        assert feed() is State.LIVE
        late.clear()
        lab.publisher.invalidate(1, Reason.AUDIT)
        assert feed() is State.RESYNC
        assert desk.states(A) == (State.LIVE, State.LIVE)
        for status in (InstrumentStatus.HALTED, InstrumentStatus.NOT_LISTED):
            statuses[1] = status
            assert feed() is State.LIVE
        statuses.clear()
        lab.live(1, 20)
        assert feed() is State.LIVE
        lab.publisher.mark_stale(1, Scope.BOOK)
        assert feed() is State.STALE
        await desk.books.close()

    asyncio.run(main())


def test_a_connection_of_tickers_owes_them(run: Any) -> None:
    """A venue's address that is silent is noticed by nothing else there."""

    async def scenario(desk: Desk) -> None:
        await desk.event(0, ConnectionState.CONNECTED, channels=("top", "book", "ticker"))
        assert desk.readiness.proven(A, "ticker") == -1
        await desk.event(2, ConnectionState.CONNECTING, symbols=(A, B), channels=("ticker", "liquidations"))
        assert desk.readiness.proven(A, "ticker") == desk.lab.publisher.proof(
            0, Scope.BOOK
        )  # it stands still
        assert desk.readiness.proven(B, "ticker") == ALWAYS_EXPECTED
        desk.top(0)
        assert desk.readiness.proven(A, "ticker") == ALWAYS_EXPECTED
        assert desk.readiness.proven(A, "liquidations") == -1
        assert desk.readiness.delivered(A, "ticker") == -1

    run(scenario)


def test_on_a_silent_connection_a_book_that_rest_proves_proves_its_top(run: Any) -> None:
    """A market that stands still; but only where REST shows it, and of no symbol without a book in step."""

    async def scenario(desk: Desk) -> None:
        assert desk.readiness.proven(A, "top") == 0
        await desk.event(0, ConnectionState.CONNECTED)
        assert desk.readiness.proven(A, "top") == desk.lab.publisher.proof(0, Scope.BOOK) > 0
        now = _ring.now()
        desk.lab.publisher.proven(0, Scope.BOOK, now)
        assert desk.readiness.proven(A, "top") == now
        assert desk.readiness.delivered(A, "top") == 0  # of a first event it is no proof
        assert desk.readiness.proven(A, "trades") == -1
        # A mark price comes whether the market moves or not, but no single one is waited for.
        assert desk.readiness.proven(A, "mark") == ALWAYS_EXPECTED
        assert desk.readiness.delivered(A, "mark") == -1
        assert desk.readiness.proven(B, "top") == 0

    run(scenario)


def test_a_change_that_cannot_be_read_is_missed_by_its_book_alone(run: Any) -> None:
    async def scenario(desk: Desk) -> None:
        data = SimpleNamespace(forms=lambda data, scales: [Decoded(DecodeCode.MALFORMED)])
        desk.cold._venue = SimpleNamespace(data=data)  # type: ignore[assignment]
        facts: dict[str, Any] = {"data": None, "timestamp": _ring.now(), "raw_data": b"{", "symbol": A}
        desk.cold.message(ParsedMessage(message_type=MessageType.TRADES, **facts))
        assert desk.missed == []
        desk.cold.message(ParsedMessage(message_type=MessageType.ORDERBOOK, **facts))
        assert desk.missed == [(A, "book")]
        assert desk.lab.counter("malformed") == 2

    run(scenario)


def test_a_first_event_that_is_overdue_is_logged_and_changes_no_state(run: Any) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.event(0, ConnectionState.CONNECTED)
        desk.top(0)
        await desk.event(0, ConnectionState.CONNECTED, overdue=((A, "top"),), reason="no first event in time")
        assert desk.states(A) == (State.LIVE, State.LIVE)
        assert "no first event" in desk.lab.feed.events()[-1].text

    run(scenario)


def test_a_replacement_that_fails_is_logged_and_changes_no_state(run: Any) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.event(0, ConnectionState.CONNECTED)
        desk.top(0)
        await desk.event(0, ConnectionState.CONNECTED, reason="not replaced", error=WebSocketError("refused"))
        await desk.event(0, ConnectionState.CONNECTED, reason="replaced without a gap")
        assert desk.states(A) == (State.LIVE, State.LIVE)
        assert desk.logged == ["not replaced"]
        assert desk.lab.counter("connects") == 1

    run(scenario)


def test_a_shard_that_closed_for_good_is_missed_by_nobody(run: Any) -> None:
    async def scenario(desk: Desk) -> None:
        for number in (0, 1):
            await desk.event(number, ConnectionState.CONNECTED)
            desk.top(number)
        await desk.event(1, ConnectionState.CLOSED)
        desk.readiness.review()
        assert desk.feed() is State.LIVE
        assert desk.states(B) == (State.DOWN, State.DOWN)

    run(scenario)


def test_the_managers_counters_are_in_the_segment(run: Any) -> None:
    async def scenario(desk: Desk) -> None:
        for renewals in (1, 3):
            desk.readiness.mirror(PerformanceMetrics(renewals=renewals, renewals_failed=2, resubscribes=1))
        desk.readiness.mirror(PerformanceMetrics(parse_errors=1, callback_errors=2))
        assert desk.lab.counter("parse_errors") == 3
        assert [desk.lab.counter(n) for n in ("renewals", "renewals_failed", "resubscribes")] == [3, 2, 1]

    run(scenario)


def test_only_a_lost_connection_of_marks_forgets_their_values(run: Any) -> None:
    """Of four facts that come one by one, none of before is published beside one of after."""

    async def scenario(desk: Desk) -> None:
        cursor = desk.lab.feed.cursor()

        def mark(flags: MessageFlag, *words: int) -> tuple[int, ...]:
            mark = Decoded(
                DecodeCode.OK, MessageKind.MARK, 0, 1, flags=int(flags), payload=(*words, 0, 0, 0, 0)
            )
            assert desk.lab.publisher.messages.publish_message(mark, _ring.now(), b"")
            desk.lab.publisher.hot_path.batch_end()
            records = [r for r in cursor.poll() if int(r["kind"]) == Kind.MARK]
            return tuple(map(int, records[-1]["words"]))

        cells: dict[str, Any] = {"symbols": (A,), "channels": ("top", "book")}
        marks: dict[str, Any] = {"symbols": (A,), "channels": ("mark",)}
        await desk.event(0, ConnectionState.CONNECTED, **cells)
        await desk.event(1, ConnectionState.CONNECTED, **marks)
        assert mark(MessageFlag.RATE | MessageFlag.NEXT, 0, 0, 5, 900) == (0, 0, 5, 900)
        await desk.event(0, ConnectionState.RECONNECTING, **cells)
        assert mark(MessageFlag.MARK, 100, 0, 0, 0) == (100, 0, 5, 900)
        await desk.event(1, ConnectionState.RECONNECTING, **marks)
        await desk.event(1, ConnectionState.CONNECTED, **marks)
        assert mark(MessageFlag.MARK, 101, 0, 0, 0) == (101, 0, 0, 0)

    run(scenario)
