"""Frames that say several things, on the way through the publisher and through a handover."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shm import Kind, Reason, Scope, State
from tests.workers.decode.talk import talk
from workers.contract.protocols import MessageType, ParsedMessage
from workers.decode.normal import DecodeCode, Decoded, MessageKind
from workers.handover.handover import Handover


def frame(*lines: str) -> bytes:
    return "\n".join(lines).encode()


def trade(number: int, symbol: str = "AAABBB", price: str = "1.00") -> str:
    return f'T {symbol}" {number} {price} 2'


def top(number: int, time: int = 0, bid: str = "1.00", symbol: str = "AAABBB") -> str:
    return f'Q {symbol}" {number} {time} {bid} 1 2.00 1'


def depth(first: int, last: int, price: str = "0.90", size: str = "1") -> str:
    return f'D AAABBB" {first} {last} 0 1 0 {price} {size}'


@pytest.fixture
def lab(make_lab: Callable[..., Any]) -> Any:
    return make_lab(decoder=talk())


def seen(lab: Any, kind: Kind = Kind.TRADE) -> list[int]:
    """The third words (ids of trades and liquidations) of all records of a kind."""
    lab.poll()
    return [int(record["words"][2]) for record in lab.records if int(record["kind"]) == kind]


def kinds(lab: Any) -> list[str]:
    return [Kind(int(record["kind"])).name for record in lab.poll()]


# -- on the plain way ----------------------------------------------------------------------------------------
def test_all_that_a_frame_says_is_published_in_order(lab: Any) -> None:
    index = lab.add()
    lab.live(index)
    lab.poll()
    message = frame(trade(1), top(5), depth(11, 12), trade(2), top(6, bid="1.01"))
    assert lab.publisher.hot_path.frame(message, lab.now) == 1
    lab.publisher.hot_path.batch_end()
    assert kinds(lab) == ["TRADE", "TOP", "STATUS", "LEVEL", "TRADE", "TOP"]
    lab.check(index)
    assert lab.feed.top("AAA/BBB").exact[0] == 101
    counters = lab.feed.counters().feed
    assert (counters["messages"], counters["bytes"]) == (1, len(message))  # messages of the venue


def test_what_is_unknown_or_does_not_fit_costs_only_itself(lab: Any) -> None:
    index = lab.add()
    other = lab.add("CCCDDD", 4, 2)
    message = frame(
        trade(1), trade(2, "NOBODY"), trade(3, price="1.001"), trade(4), trade(5, "CCCDDD", "1.0001")
    )
    assert lab.publisher.hot_path.frame(message, lab.now) == 1
    lab.publisher.hot_path.batch_end()
    assert seen(lab) == [1, 4, 5]  # 3 alone is missing
    assert lab.precision == [(index, DecodeCode.INEXACT, message)]
    assert lab.state(index) is State.RESYNC
    assert lab.feed.book("AAA/BBB", allow_stale=True).reason is Reason.SNAPSHOT
    assert (lab.counter("unknown"), lab.counter("precision")) == (1, 1)
    assert lab.publisher.state(other, Scope.BOOK) == State.RESYNC  # as it began


def test_an_instrument_that_is_not_carried_costs_only_itself(lab: Any) -> None:
    lab.add()
    lab.decoder.add_symbol("CCCDDD", 7, 2, 2)
    assert (
        lab.publisher.hot_path.frame(frame(trade(1, "CCCDDD"), trade(2), trade(3, "CCCDDD")), lab.now) == -1
    )
    lab.publisher.hot_path.batch_end()
    assert seen(lab) == [2]
    assert lab.counter("unknown") == 2


def test_of_a_frame_that_is_for_the_reference_nothing_is_published(lab: Any) -> None:
    lab.add()
    assert lab.publisher.hot_path.frame(frame(trade(1), trade(2), "?"), lab.now) == 0
    assert lab.publisher.hot_path.frame(frame(trade(3)), lab.now) == 1
    lab.publisher.hot_path.batch_end()
    assert seen(lab) == [3]


def test_more_things_than_half_the_ring_are_published_bit_by_bit(make_lab: Callable[..., Any]) -> None:
    """No reader may see a head that jumps further than the protocol allows (W5, R5)."""
    lab = make_lab(decoder=talk(), slots=1024)
    lab.add()
    heads = []
    count = lab.writer.count_up
    lab.publisher.hot_path.frame(frame(*(trade(n) for n in range(1, 701))), lab.now)
    heads.append(lab.writer.head)
    assert count is not None
    assert 700 - heads[0] <= 1024 // 8 + 1  # all but the last eighth are committed within the frame
    lab.publisher.hot_path.batch_end()
    assert seen(lab) == list(range(1, 701))


def test_the_books_share_of_a_frame_asks_the_state_machine(lab: Any) -> None:
    index = lab.add()
    lab.live(index)
    lab.publisher.hot_path.frame(frame(trade(1), depth(13, 14), trade(2)), lab.now)
    lab.publisher.hot_path.batch_end()
    assert seen(lab) == [1, 2]
    assert lab.requests == [index]
    assert lab.feed.book("AAA/BBB", allow_stale=True).reason is Reason.GAP
    lab.check(index)


# -- through a handover --------------------------------------------------------------------------------------
class Two:
    """A feed with an old connection, and a new one that is to take its place."""

    def __init__(self, lab: Any, *channels: str) -> None:
        self.lab = lab
        self.index = lab.add()
        lab.live(self.index)
        lab.poll()
        self.handover = Handover(
            lab.publisher,
            [(self.index, channel) for channel in channels],
            normalise=lambda parsed: parsed.data,
            clock=lambda: lab.now,
        )
        self.handover.subscribed()

    def old(self, *lines: str) -> None:
        self.lab.now += 1_000
        assert self.lab.publisher.hot_path.frame(frame(*lines), self.lab.now) == 1
        self.lab.publisher.hot_path.batch_end()

    def new(self, *lines: str) -> None:
        self.lab.now += 1_000
        assert self.handover.sink.frame(frame(*lines), self.lab.now) == 1

    def complete(self) -> None:
        self.lab.now += 2_000_000_000
        self.handover.complete()


CHANNELS = ("top", "book", "trades")


def test_each_thing_of_a_held_frame_is_judged_by_itself(lab: Any) -> None:
    two = Two(lab, *CHANNELS)
    two.old(trade(1), top(5), depth(11, 12), trade(2))
    two.new(trade(2), top(5), depth(11, 13, "0.80"), trade(3), top(6, bid="1.01"))
    two.old(trade(3))
    assert two.handover.ready()
    two.complete()
    assert seen(lab) == [1, 2, 3]
    lab.check(two.index)
    assert lab.feed.book("AAA/BBB").update_id == 13
    assert lab.feed.top("AAA/BBB").exact[0] == 101
    two.handover.sink.frame(frame(trade(1), trade(4), trade(4)), lab.now)  # a late copy, news, and its double
    lab.publisher.hot_path.batch_end()
    assert seen(lab) == [1, 2, 3, 4]


def test_a_held_frame_of_which_nothing_is_news_is_not_held(lab: Any) -> None:
    two = Two(lab, *CHANNELS)
    two.old(trade(1), trade(2))
    two.new(trade(1), trade(2, "NOBODY"), trade(2))
    assert "0 messages held" in repr(two.handover)
    assert lab.counter("unknown") == 1


def test_what_does_not_fit_is_reported_at_the_replay(lab: Any) -> None:
    two = Two(lab, *CHANNELS)
    two.old(trade(1))
    two.new(trade(1), trade(2, price="1.001"), trade(3))
    assert lab.precision == []  # the old connection goes on publishing
    assert lab.state(two.index) is State.LIVE
    two.complete()
    assert [each[:2] for each in lab.precision] == [(two.index, DecodeCode.INEXACT)]
    assert seen(lab) == [1, 3]
    assert lab.state(two.index) is State.LIVE


def test_a_held_top_without_id_that_does_not_fit_counts_by_its_place(lab: Any) -> None:
    two = Two(lab, "top")
    two.old(top(0, bid="1.01"))
    two.new(top(0, bid="1.001"))
    two.new(top(0, bid="1.01"))
    two.complete()
    assert lab.state(two.index, Scope.TOP) is State.LIVE
    assert lab.counter("precision") == 0


def test_things_of_a_frame_are_not_mixed_up_when_symbols_have_changed(lab: Any) -> None:
    """Between holding and replaying, a symbol of the frame is carried no more."""
    two = Two(lab, *CHANNELS)
    lab.add("CCCDDD")
    two.old(trade(1))
    two.new(trade(7, "CCCDDD"), trade(2))
    lab.decoder.remove_symbol("CCCDDD")
    two.complete()
    assert seen(lab) == [1, 2]


def test_a_frame_that_says_otherwise_at_the_replay_is_reported(lab: Any) -> None:
    """A decoder that passes over what it does not know: whose are the places that were kept?"""
    two = Two(lab, *CHANNELS)
    two.old(trade(2))
    shy = f"U{trade(9, 'CCCDDD')[1:]}"
    two.new(trade(2), shy, trade(3))
    two.new(trade(4))
    lab.add("CCCDDD")
    two.complete()
    assert seen(lab) == [2, 4]  # 3 is missing, and it is said; 2 is not published twice
    assert lab.publisher.errors == 1
    assert "another than when it was held" in str(lab.publisher.last_error)


def test_a_failed_handover_leaves_nothing_behind(lab: Any) -> None:
    two = Two(lab, *CHANNELS)
    two.handover.abandon()
    two.new(trade(1), trade(2), trade(3))
    two.old(trade(1), trade(2))
    assert seen(lab) == [1, 2]


def cold(*decoded: Decoded) -> ParsedMessage:
    return ParsedMessage(
        message_type=MessageType.TRADE, symbol="AAA/BBB", data=list(decoded), timestamp=1, raw_data=b"-"
    )


def a_trade(index: int, number: int) -> Decoded:
    return Decoded(
        DecodeCode.OK, MessageKind.TRADE, index, number, number, number, 0, (100, 200, 0, 0, 0, 0, 0, 0)
    )


def test_a_cold_message_too_may_say_several_things(lab: Any) -> None:
    two = Two(lab, *CHANNELS)
    two.old(trade(1))
    two.handover.keep(
        cold(
            a_trade(two.index, 1),
            a_trade(two.index, 2),
            Decoded(DecodeCode.UNKNOWN_SYMBOL),
            Decoded(DecodeCode.MALFORMED),
            a_trade(two.index, 3),
        )
    )
    assert (lab.counter("unknown"), lab.counter("malformed")) == (1, 1)
    two.handover.keep(cold(Decoded(DecodeCode.NOT_MINE)))
    assert lab.counter("unknown") == 2  # as by the cold path: nothing is dropped in silence
    two.complete()
    assert seen(lab) == [1, 2, 3]
    two.handover.keep(cold(a_trade(two.index, 3), a_trade(two.index, 4)))  # what the cold queue still had
    assert seen(lab)[-1] == 4
    two.handover.keep(cold(Decoded(DecodeCode.NOT_MINE), Decoded(DecodeCode.MALFORMED)))
    assert (lab.counter("unknown"), lab.counter("malformed")) == (3, 2)
