"""One connection takes over from another, with update ids: a reader should not notice."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from picows.picows import WSMsgType, _make_test_ws_frame

from shm import Kind, Reason, Scope, State
from workers.books.sync import Outcome
from workers.contract.protocols import ParsedMessage
from workers.decode.normal import Scale
from workers.handover import tracker as witness
from workers.handover.handover import FORGET, Handover
from workers.venues.binance.parser import BinanceParser
from workers.venues.binance_spot.parser import DIALECT, normalise
from workers.venues.binance_spot.sync import BookSync
from workers.websocket.wire import WireListener

CHANNELS = ("top", "book", "trades", "agg_trades", "ticker")


def frame(**fields: Any) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()


def number(mantissa: int) -> str:
    return f"{mantissa // 100}.{mantissa % 100:02d}"


def top(update_id: int, bid: int = 100, ask: int = 101, size: int = 1) -> bytes:
    return frame(u=update_id, s="AAABBB", b=number(bid), B=number(size), a=number(ask), A=number(size))


def depth(first: int, last: int, bids: Any = (), asks: Any = ()) -> bytes:
    levels = [[[number(price), number(size)] for price, size in side] for side in (bids, asks)]
    return frame(e="depthUpdate", E=last, s="AAABBB", U=first, u=last, b=levels[0], a=levels[1])


def trade(trade_id: int, sent: int = 5) -> bytes:
    return frame(
        e="trade", E=sent, s="AAABBB", t=trade_id, p="1.00", q=number(trade_id), T=5, m=False, M=True
    )


class Two:
    """A feed with an old connection, and a new one that is to take its place."""

    def __init__(self, lab: Any, channels: tuple[str, ...] = CHANNELS, **options: Any) -> None:
        self.lab = lab
        self.index = lab.add()
        self.options = {"clock": lambda: lab.now, **options}
        self.topics = [(self.index, channel) for channel in channels]
        self.sink: Any = None
        lab.live(self.index)
        lab.poll()

    def begin(self) -> None:
        self.handover = Handover(self.lab.publisher, self.topics, **self.options)
        self.sink = self.handover.sink

    def old(self, *frames: bytes) -> None:
        self.lab.now += 1_000
        for data in frames:
            assert self.lab.publisher.hot_path.frame(data, self.lab.now) == 1
        self.lab.publisher.hot_path.batch_end()

    def new(self, *frames: bytes) -> None:
        self.lab.now += 1_000
        for data in frames:
            assert self.sink.frame(data, self.lab.now) == 1

    def complete(self) -> None:
        self.sink = self.handover.complete()

    def wait(self, seconds: float = 1.0) -> None:
        self.lab.now += int(seconds * 1e9)

    def settled(self) -> bool:
        """Ready, when nothing can be on its way any more."""
        self.wait(2.0)
        return self.handover.ready()

    def kinds(self) -> list[str]:
        return [Kind(int(record["kind"])).name for record in self.lab.poll()]

    def trades(self) -> list[int]:
        self.lab.poll()
        return [int(r["words"][2]) for r in self.lab.records if int(r["kind"]) == Kind.TRADE]


@pytest.fixture
def two(lab: Any) -> Two:
    return Two(lab)


# -- nothing happens -----------------------------------------------------------------------------------------
def test_a_quiet_handover_leaves_no_trace(two: Two) -> None:
    two.begin()
    two.wait()
    assert not two.handover.ready()  # not subscribed yet
    two.handover.subscribed()
    assert not two.handover.ready()  # something may be on its way on the old one
    two.wait()
    assert two.handover.ready()
    two.complete()
    assert two.sink is two.lab.publisher.hot_path
    assert two.kinds() == []
    assert two.lab.state(two.index) is State.LIVE


def test_what_both_deliver_is_published_once_and_nobody_notices(two: Two) -> None:
    two.old(top(50), depth(11, 12, [(99, 5)]), trade(1))
    two.begin()
    two.old(top(51, 99))
    two.new(top(51, 99), trade(2), depth(12, 14, [(98, 7)]))
    two.handover.subscribed()
    two.old(depth(13, 13, [(99, 6)]), trade(2), top(52, 98))
    two.new(top(52, 98), top(53, 97), trade(3), depth(15, 16, [(97, 1)]))
    two.lab.poll()
    two.lab.records.clear()
    assert two.settled()
    two.complete()
    assert "STATUS" not in two.kinds()
    assert [int(r["words"][0]) for r in two.lab.records if int(r["kind"]) == Kind.TOP] == [97]
    assert two.trades() == [3]
    two.lab.check(two.index)
    book = two.lab.feed.book("AAA/BBB")
    assert (book.update_id, book.exact[0].tolist()) == (16, [[100, 1], [99, 6], [98, 7], [97, 1]])
    two.new(depth(17, 17, [(96, 2)]), top(54), trade(4))
    two.lab.check(two.index)
    assert two.lab.state(two.index) is State.LIVE
    assert two.lab.counter("gaps") == two.lab.counter("resyncs") == 0
    assert two.lab.counter("outdated") == 1  # trade 2, held before the old connection delivered it


# -- rule 1: nothing goes back -------------------------------------------------------------------------------
def test_the_new_connection_may_be_behind(two: Two) -> None:
    two.begin()
    two.handover.subscribed()
    two.new(top(50), depth(11, 12), trade(1))
    two.old(top(50), depth(11, 12), trade(1), top(60, 90), depth(13, 20, [(99, 9)]), trade(2))
    assert two.settled()
    two.complete()
    two.lab.poll()
    two.lab.records.clear()
    two.new(top(55, 95), depth(13, 15, [(99, 7)]), trade(2), depth(16, 23, [(98, 4)]), top(61, 91), trade(3))
    two.lab.publisher.hot_path.batch_end()
    assert two.trades() == [3]
    assert [int(r["words"][0]) for r in two.lab.records if int(r["kind"]) == Kind.TOP] == [91]
    two.lab.check(two.index)
    book = two.lab.feed.book("AAA/BBB")
    assert (book.update_id, book.exact[0].tolist()) == (23, [[100, 1], [99, 9], [98, 4]])
    assert two.lab.counter("resyncs") == 0


def test_an_overlap_is_accepted_once(two: Two) -> None:
    two.begin()
    two.handover.subscribed()
    two.new(depth(9, 13, [(99, 5)]))
    two.complete()
    two.lab.check(two.index)
    assert two.lab.state(two.index) is State.LIVE
    two.new(depth(12, 15))  # the same connection: a hole of the venue's
    two.lab.check(two.index)
    assert two.lab.state(two.index) is State.RESYNC


def test_the_event_that_ends_at_the_snapshots_id_is_no_repetition(make_lab: Any) -> None:
    """Where a snapshot may lack it (`BookSync.inclusive`), and the old connection has not brought it."""

    class Inclusive(BookSync):
        inclusive = True

    two = Two(make_lab(make_sync=Inclusive))  # its book is in step at 10 by a snapshot alone
    two.begin()
    two.new(depth(8, 10, [(100, 5)]))
    two.complete()
    assert two.lab.feed.book("AAA/BBB").exact[0].tolist() == [[100, 5], [99, 2]]
    two.new(depth(8, 10, [(100, 6)]))  # now it is one
    assert two.lab.feed.book("AAA/BBB").exact[0].tolist() == [[100, 5], [99, 2]]
    two.lab.publisher.hot_path.batch_end()
    two.lab.check(two.index)


def test_a_hole_is_resync_and_counted(two: Two) -> None:
    two.begin()
    two.handover.subscribed()
    two.new(depth(13, 14, [(99, 5)]))
    assert not two.handover.ready()
    two.complete()  # all the same: correctness first
    two.lab.check(two.index)
    cell = two.lab.feed.book("AAA/BBB", allow_stale=True)
    assert (cell.state, cell.reason) == (State.RESYNC, Reason.GAP)
    assert two.lab.counter("gaps") == two.lab.counter("resyncs") == 1
    assert two.lab.requests == [two.index]
    assert two.lab.snapshot(two.index, 14, [(100, 1)], [(101, 1)]) is Outcome.SYNCED


@pytest.mark.parametrize("quiet", [False, True], ids=["the old one goes on", "the old one is quiet"])
@pytest.mark.parametrize("make", [top, lambda n: depth(n, n)], ids=["top", "book"])
def test_a_server_whose_ids_begin_anew_never_takes_over(
    two: Two, make: Callable[[int], bytes], quiet: bool
) -> None:
    """All that it says would be taken for repetitions, and what is published stay LIVE."""
    two.old(top(4999), depth(11, 4999), top(5000), depth(5000, 5000))
    two.begin()
    two.handover.subscribed()
    two.new(make(1))
    for last_id in range(2, 30):
        if not quiet:
            two.old(make(4999 + last_id))
        two.new(make(last_id))
        assert not two.settled()
    assert not two.handover.failed  # the time that a replacement may take will end it


def test_a_book_that_is_taken_over_behind_is_void(two: Two) -> None:
    two.old(depth(11, 5000))
    two.begin()
    two.handover.subscribed()
    two.new(depth(1, 1, [(50, 5)]))
    two.complete()  # not ready
    cell = two.lab.feed.book("AAA/BBB", allow_stale=True)
    assert (cell.state, cell.reason) == (State.RESYNC, Reason.GAP)
    assert two.lab.requests == [two.index]


def test_a_book_that_waits_for_its_snapshot_goes_on_waiting(two: Two) -> None:
    """The buffers of both connections make one chain."""
    two.lab.depth(two.index, 20, 21)  # a gap
    assert two.lab.state(two.index) is State.RESYNC
    two.begin()
    two.handover.subscribed()
    two.old(depth(22, 24))
    two.new(depth(21, 23), depth(24, 26, [(99, 8)]))
    assert two.settled()
    two.complete()
    assert two.lab.counter("gaps") == 1
    assert two.lab.snapshot(two.index, 22, [(100, 1)], [(101, 1)]) is Outcome.SYNCED
    two.lab.check(two.index)
    book = two.lab.feed.book("AAA/BBB")
    assert (book.update_id, book.exact[0].tolist()) == (26, [[100, 1], [99, 8]])


# -- rule 2: trades once -------------------------------------------------------------------------------------
def test_trades_are_published_once_whoever_is_ahead(two: Two) -> None:
    two.old(trade(1), trade(2), trade(3))
    two.begin()
    two.new(trade(2), trade(3), trade(4))  # on another server, later than the old one
    two.handover.subscribed()
    two.old(trade(4), trade(5), trade(6))
    assert two.settled()
    two.complete()
    two.new(trade(5), trade(6), trade(7))
    two.lab.publisher.hot_path.batch_end()
    assert two.trades() == [1, 2, 3, 4, 5, 6, 7]


def test_event_times_of_messages_do_not_make_two_of_one_trade(two: Two) -> None:
    two.begin()
    two.handover.subscribed()
    two.old(trade(1, sent=5))
    two.new(trade(1, sent=6))
    two.complete()
    assert two.trades() == [1]


def aggregated(trade_id: int, first: int = 70, last: int = 71) -> bytes:
    ids = {"a": trade_id, "p": "1.00", "q": "1.00", "f": first, "l": last}
    return frame(e="aggTrade", E=5, s="AAABBB", **ids, T=5, m=False, M=True)


@pytest.mark.parametrize("channels", [("agg_trades",), CHANNELS])
def test_an_aggregated_trade_whose_id_is_its_first_is_remembered(lab: Any, channels: tuple[str, ...]) -> None:
    """In the ring it looks like a plain one."""
    two = Two(lab, channels)
    plain = trade(7), trade(8)
    two.old(*(plain if len(channels) > 1 else ()), aggregated(7, 7, 7), aggregated(8, 8, 8))
    two.begin()
    two.handover.subscribed()
    two.new(aggregated(7, 7, 7), *(plain if len(channels) > 1 else ()), aggregated(8, 8, 8))
    assert two.settled()
    two.complete()
    assert two.trades() == ([7, 8, 7, 8] if len(channels) > 1 else [7, 8])


def test_a_plain_trade_in_the_ring_swallows_no_aggregated_one(two: Two) -> None:
    two.old(trade(7))
    two.begin()
    two.handover.subscribed()
    two.new(trade(7), aggregated(7, 7, 7))
    two.complete()
    assert two.trades() == [7, 7]


def test_the_newest_of_the_ring_are_remembered_and_no_more(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(witness, "MEMORY", 2)
    two.old(trade(1), trade(2), trade(3))
    two.begin()
    two.handover.subscribed()
    two.new(trade(1), trade(2), trade(3), trade(4))
    two.complete()
    assert two.trades() == [1, 2, 3, 1, 4]


def test_what_was_held_long_does_not_hide_what_is_newer(two: Two) -> None:
    """Behind an older record in the ring, put there by a handover."""
    two.lab.now += 10**12
    two.old(trade(1))
    two.lab.publisher.messages.trade(two.index, 100, 100, 9, 5, two.lab.now - witness.LAG - 1)
    two.begin()
    two.handover.subscribed()
    two.new(trade(1))
    two.complete()
    assert two.trades() == [1, 9]


def test_trades_with_neither_id_nor_time_are_never_taken_for_repetitions(lab: Any) -> None:
    two = Two(lab, ("trades",))

    def sell() -> None:
        assert lab.publisher.messages.trade(two.index, 100, 5, 0, 0, lab.now)
        lab.publisher.hot_path.batch_end()

    sell()
    two.begin()
    two.handover.subscribed()
    sell()
    assert two.settled() is False  # the new one delivers nothing
    two.new(frame(e="trade", E=0, s="AAABBB", t=0, p="1.00", q="0.05", T=0, m=False, M=True))
    assert two.settled()
    two.complete()
    sell()
    sell()
    assert two.trades() == [0] * 5
    assert lab.counter("outdated") == 0


def test_what_is_taken_for_a_repetition_is_counted(two: Two) -> None:
    two.begin()
    two.handover.subscribed()
    two.old(trade(1))
    two.complete()
    two.new(trade(1), trade(2))
    two.lab.publisher.hot_path.batch_end()
    assert two.trades() == [1, 2]
    assert two.lab.counter("outdated") == 1


def test_a_trade_and_an_aggregated_one_may_have_the_same_id(two: Two) -> None:
    two.begin()
    two.handover.subscribed()
    two.old(trade(7), aggregated(8))
    two.new(trade(7), aggregated(7), aggregated(8))
    two.complete()
    assert two.trades() == [7, 8, 7]


def test_after_a_while_nothing_is_watched_any_more(two: Two) -> None:
    two.begin()
    two.handover.subscribed()
    two.old(trade(1))
    two.new(trade(1))
    two.complete()
    two.lab.now += FORGET + 1
    assert two.lab.publisher.watched == [two.index]
    two.old(trade(2), trade(1))  # a venue that repeats ids by itself, long after
    assert two.lab.publisher.watched == []
    assert two.trades() == [1, 2, 1]


# -- rule 4: nothing is missing ------------------------------------------------------------------------------
@pytest.mark.parametrize("make", [top, trade, lambda n: depth(n, n)], ids=["top", "trade", "depth"])
def test_not_ready_until_the_new_connection_reaches_back(two: Two, make: Callable[[int], bytes]) -> None:
    two.begin()
    two.handover.subscribed()
    two.old(make(11))
    assert not two.handover.ready()  # the new one has none of it yet
    two.new(make(13))
    assert not two.handover.ready()  # 12 would be missing
    two.lab.now += 10**10  # the old one delivers: it is waited for, however long
    assert not two.handover.ready()
    two.old(make(12), make(13))
    assert two.settled()


def test_a_stream_that_the_old_connection_does_not_deliver_is_not_waited_for(two: Two) -> None:
    two.old(trade(1))
    two.begin()
    two.handover.subscribed()
    two.new(trade(2))
    assert not two.handover.ready()  # the old one may be a moment behind
    two.lab.now += 10**9  # `max_latency`
    assert two.settled()
    two.complete()
    assert two.trades() == [1, 2]


def test_streams_of_another_connection_are_not_its_business(lab: Any) -> None:
    two = Two(lab, ("top",))
    two.begin()
    two.handover.subscribed()
    two.old(depth(11, 11), trade(1), trade(2))
    assert two.settled()
    two.complete()
    two.old(depth(12, 12), trade(1))
    assert two.trades() == [1, 2, 1]


def test_two_handovers_of_one_symbol(lab: Any) -> None:
    """Its streams are on two connections, and both are replaced."""
    two = Two(lab, ("top", "trades"))
    two.begin()
    other = Handover(lab.publisher, [(two.index, "book")], clock=lambda: lab.now)
    two.handover.subscribed()
    other.subscribed()
    two.old(trade(1), depth(11, 12))
    two.new(trade(1))
    two.wait()
    assert two.handover.ready()
    assert not other.ready()
    two.complete()
    assert other.sink.frame(depth(11, 13), lab.now) == 1
    assert other.ready()
    other.complete()
    lab.check(two.index)
    assert (lab.feed.book("AAA/BBB").update_id, two.trades()) == (13, [1])


def test_over_the_wires(two: Two) -> None:
    """Two listeners, one publisher, and messages that only the reference decoder knows."""

    def message(data: bytes) -> Any:
        return _make_test_ws_frame(WSMsgType.TEXT, data, True, True)

    def cold(data: bytes) -> ParsedMessage:
        parsed = BinanceParser({"AAABBB": "AAA/BBB"}, DIALECT).parse(
            data.replace(b'"s"', b' "s"'), two.lab.now
        )
        assert parsed.raw_data is not None
        return parsed

    scales = {"AAABBB": Scale(two.index, 2, 2)}
    two.options = {"normalise": lambda parsed: [normalise(parsed.data, scales)]}
    old = WireListener(two.lab.publisher.hot_path)
    old.on_ws_frame(None, message(trade(1)))
    two.begin()
    new = WireListener(two.handover.sink)
    two.handover.subscribed()
    for data in (trade(2), depth(11, 12), top(50)):
        old.on_ws_frame(None, message(data))
    new.on_ws_frame(None, message(trade(2)))
    two.handover.keep(cold(depth(11, 13, [(99, 5)])))
    two.handover.keep(cold(trade(3)))
    new.on_ws_frame(None, message(top(50)))
    new.on_ws_frame(None, message(depth(14, 15, [(98, 5)])))
    two.handover.keep(cold(trade(3).replace(b'"1.00"', b'"x"')))  # malformed: counted, not kept
    old.detach()
    two.complete()
    new.switch_sink(two.sink)
    old.on_ws_frame(None, message(trade(9)))
    new.on_ws_frame(None, message(trade(4)))
    new.on_ws_frame(None, message(depth(16, 16)))
    assert two.trades() == [1, 2, 3, 4]
    two.lab.check(two.index)
    book = two.lab.feed.book("AAA/BBB")
    assert (book.update_id, book.exact[0].tolist()) == (16, [[100, 1], [99, 5], [98, 5]])
    assert two.lab.counter("malformed") == 1
    assert (new.consumed, new.pending) == (5, 0)


# -- what can go wrong ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("bound", [{"max_messages": 3}, {"max_bytes": 200}])
def test_what_is_held_is_bounded(lab: Any, bound: dict[str, Any]) -> None:
    two = Two(lab, **bound)
    two.begin()
    two.handover.subscribed()
    two.old(top(1))
    two.new(*(top(n) for n in range(1, 6)))
    assert "were held" in two.handover.failed
    assert not two.handover.ready()
    with pytest.raises(RuntimeError, match="were held"):
        two.handover.complete()
    two.lab.poll()
    two.old(top(2), trade(1), depth(11, 11))  # the old one goes on
    assert two.trades() == [1]
    two.lab.check(two.index)


def test_an_abandoned_handover_changes_nothing(two: Two) -> None:
    two.begin()
    two.handover.subscribed()
    two.new(top(60), trade(5), depth(11, 20))
    two.handover.abandon()
    assert two.lab.publisher.watched == []
    two.old(top(50), trade(5), depth(11, 12))
    two.lab.check(two.index)
    assert two.lab.feed.top("AAA/BBB").update_id == 50
    assert (two.lab.feed.book("AAA/BBB").update_id, two.trades()) == (12, [5])


def test_the_old_connection_is_lost_meanwhile(two: Two) -> None:
    two.old(top(50))
    two.begin()
    two.handover.subscribed()
    two.new(top(51, 98), depth(11, 12), depth(13, 14, [(99, 4)]), trade(9))
    two.lab.publisher.lost(two.index, State.DOWN, Reason.DISCONNECTED)
    two.complete()
    assert two.lab.feed.top("AAA/BBB").exact[0] == 98
    assert two.trades() == [9]
    assert two.lab.snapshot(two.index, 12, [(100, 1), (99, 2)], [(101, 1)]) is Outcome.SYNCED
    two.lab.check(two.index)
    assert two.lab.feed.book("AAA/BBB").exact[0].tolist() == [[100, 1], [99, 4]]


def test_a_held_repetition_that_does_not_fit_is_none_of_news(two: Two) -> None:
    """Its place says so: what has been published since is newer."""
    two.old(top(50), depth(11, 12))
    two.begin()
    two.handover.subscribed()
    two.new(
        frame(u=60, s="AAABBB", b="1.001", B="1.00", a="1.01", A="1.00"),
        depth(13, 14).replace(b'"b":[]', b'"b":[["0.999","1"]]'),
        frame(u=62, s="AAABBB", b="1.001", B="1.00", a="1.01", A="1.00"),
    )
    two.old(top(61), depth(13, 15))
    two.complete()
    assert two.lab.state(two.index) is State.LIVE
    assert two.lab.state(two.index, Scope.TOP) is State.RESYNC  # 62 is news
    assert two.lab.counter("precision") == 1
    two.lab.check(two.index)


def test_a_number_that_does_not_fit_blocks_at_the_end_only(two: Two) -> None:
    two.begin()
    two.handover.subscribed()
    odd = frame(u=60, s="AAABBB", b="1.001", B="1.00", a="1.01", A="1.00")
    two.new(odd)
    assert two.lab.precision == []
    two.complete()
    assert [(index, data) for index, _, data in two.lab.precision] == [(two.index, odd)]
    assert two.lab.state(two.index, Scope.TOP) is State.RESYNC


def test_a_symbol_that_gets_a_new_slot_meanwhile(two: Two) -> None:
    """What the new slot has published, and what had been on the old one, nobody can tell apart: once more."""
    two.begin()
    two.handover.subscribed()
    two.old(trade(1), top(50), top(70, 200, 201))
    two.new(trade(1), top(50), top(60, 150, 151))
    two.lab.publisher.drop_instrument(two.index)
    two.lab.decoder.remove_symbol("AAABBB")
    index = two.lab.add()
    two.old(trade(2), top(71))
    two.new(trade(2), top(71))
    assert two.handover.failed == "instrument 0 is carried no more"
    assert not two.settled()
    with pytest.raises(RuntimeError, match="carried no more"):
        two.complete()
    two.handover.abandon()
    assert two.trades() == [1, 2]
    assert two.lab.publisher.watched == []
    assert two.lab.feed.instrument("AAA/BBB").index == index
    assert two.lab.feed.top("AAA/BBB").update_id == 71


def test_a_symbol_that_is_dropped_after_the_switch(two: Two) -> None:
    two.begin()
    two.handover.subscribed()
    two.old(trade(1))
    two.new(trade(1))
    two.complete()
    two.lab.publisher.drop_instrument(two.index)
    assert two.handover.failed == ""


def test_strangers_and_control_messages(two: Two) -> None:
    two.begin()
    assert two.sink.frame(b'{"result":null,"id":1}', two.lab.now) == 0  # the cold path's
    assert two.sink.frame(top(1).replace(b"AAABBB", b"ZZZ"), two.lab.now) == 1
    assert two.lab.counter("unknown") == 1


def test_an_unknown_instrument_is_refused(lab: Any) -> None:
    with pytest.raises(IndexError, match="instrument 3"):
        Handover(lab.publisher, [(3, "top")])
