"""Marks and liquidations: what a derivative's records say, also over a lost connection and a handover."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shm import Flag, Kind, Reason, State
from tests.workers.decode.talk import talk
from workers.contract.protocols import MessageType, ParsedMessage
from workers.decode.normal import DecodeCode, Decoded, MessageFlag, MessageKind
from workers.handover.handover import Handover

MARK, INDEX, RATE, NEXT = MessageFlag.MARK, MessageFlag.INDEX, MessageFlag.RATE, MessageFlag.NEXT
ALL = MARK | INDEX | RATE | NEXT


class Perpetual:
    """A feed of one derivative; what is not told is sent as 7, as a decoder may leave there what it likes."""

    def __init__(self, lab: Any, price_exp: int = 2) -> None:
        self.lab = lab
        self.index = lab.add(price_exp=price_exp)

    def frame(self, *lines: str) -> bytes:
        return "\n".join(lines).encode()

    def mark(self, time: int, **fields: int) -> str:
        flags = sum(MessageFlag[name.upper()] for name in fields)
        facts = [fields.get(name, 7) for name in ("mark", "index", "rate", "next")]
        return f'M AAABBB" {flags} {time} ' + " ".join(map(str, facts))

    def send(self, *lines: str) -> None:
        self.lab.now += 1_000
        assert self.lab.publisher.hot_path.frame(self.frame(*lines), self.lab.now) == 1
        self.lab.publisher.hot_path.batch_end()

    def records(self, kind: Kind = Kind.MARK) -> list[tuple[int, ...]]:
        self.lab.poll()
        return [tuple(map(int, r["words"])) for r in self.lab.records if int(r["kind"]) == kind]


@pytest.fixture
def one(make_lab: Callable[..., Any]) -> Perpetual:
    return Perpetual(make_lab(decoder=talk()))


def test_a_record_has_all_four_facts_as_told_last(one: Perpetual) -> None:
    one.send(one.mark(1, mark=100))
    one.send(one.mark(2, index=101), one.mark(3, rate=5, next=900))
    one.send(one.mark(4, mark=102, index=103, rate=0, next=901))
    one.send(one.mark(5))
    assert one.records() == [
        (100, 0, 0, 0),
        (100, 101, 0, 0),
        (100, 101, 5, 900),
        (102, 103, 0, 901),
        (102, 103, 0, 901),
    ]
    record = one.lab.records[-1]
    assert (int(record["ts_event"]), int(record["flags"]), int(record["instrument"])) == (5, 0, one.index)
    gone = [int(r["flags"]) for r in one.lab.records if int(r["kind"]) == Kind.MARK]
    assert gone == [Flag.ABSENT_1 | Flag.ABSENT_2 | Flag.ABSENT_3, Flag.ABSENT_2 | Flag.ABSENT_3, 0, 0, 0]


def test_facts_of_two_instruments_are_apart(one: Perpetual) -> None:
    one.lab.add("CCCDDD")
    one.send(one.mark(1, mark=100), one.mark(1, index=50).replace("AAABBB", "CCCDDD"))
    assert one.records() == [(100, 0, 0, 0), (0, 50, 0, 0)]


def test_a_new_slot_begins_empty(one: Perpetual) -> None:
    one.send(one.mark(1, mark=100, rate=5))
    one.lab.publisher.drop_instrument(one.index)
    one.lab.publisher.add_instrument(one.index, 2, 2)
    one.send(one.mark(2, index=101))
    assert one.records()[-1] == (0, 101, 0, 0)
    assert int(one.lab.records[-1]["flags"]) == Flag.ABSENT_0 | Flag.ABSENT_2 | Flag.ABSENT_3


def test_a_lost_connection_forgets_what_was_told(one: Perpetual) -> None:
    """A funding rate of before beside a mark of after would look like one moment's."""
    one.send(one.mark(1, mark=100, rate=5))
    one.lab.publisher.forget_marks(one.index)
    one.send(one.mark(2, mark=101))
    assert one.records()[-1] == (101, 0, 0, 0)
    gone = Flag.ABSENT_1 | Flag.ABSENT_2 | Flag.ABSENT_3
    assert int(one.lab.records[-1]["flags"]) == gone


def test_a_lost_connection_of_the_cells_alone_does_not(one: Perpetual) -> None:
    """Marks go on elsewhere: nobody tells again what they were made of."""
    one.send(one.mark(1, mark=100, rate=5))
    one.lab.publisher.lost(one.index, State.DOWN, Reason.DISCONNECTED)
    one.send(one.mark(2, mark=101))
    assert one.records()[-1] == (101, 0, 5, 0)


def test_a_liquidation(one: Perpetual) -> None:
    one.send('L AAABBB" 17 5 1.00 2', 'L AAABBB" 0 6 1.01 3')
    assert one.records(Kind.LIQUIDATION) == [(100_000_000, 200, 17, 0), (101_000_000, 300, 0, 0)]
    assert all(int(r["flags"]) == Flag.SELL for r in one.lab.records if int(r["kind"]) == Kind.LIQUIDATION)


# -- their exponent, and what does not fit it ----------------------------------------------------------------
@pytest.mark.parametrize(("price_exp", "expected"), [(1, 8), (6, 8), (7, 9), (16, 18), (18, 18)])
def test_a_record_names_the_exponent_of_its_prices(
    make_lab: Callable[..., Any], price_exp: int, expected: int
) -> None:
    one = Perpetual(make_lab(decoder=talk()), price_exp)
    one.send(one.mark(1, mark=100), 'L AAABBB" 17 5 1.5 2')
    [(price, *_)] = one.records(Kind.LIQUIDATION)
    assert price == 15 * 10 ** (expected - 1)
    records = [r for r in one.lab.records if int(r["kind"]) in (Kind.MARK, Kind.LIQUIDATION)]
    assert [int(record["aux"]) for record in records] == [expected, expected]
    assert one.lab.feed.slots[one.index].mark_exp == expected


@pytest.mark.parametrize("price", ["1.123456789", "9" * 19])
@pytest.mark.parametrize("size", ["2", "2.001"])
def test_a_liquidation_that_does_not_fit_is_left_out(one: Perpetual, price: str, size: str) -> None:
    """Also by its size; the instrument is not blocked, and what comes after it is published."""
    one.lab.live(one.index)
    one.send(f'L AAABBB" 17 5 {price} {size}', 'L AAABBB" 18 6 1.5 2', 'T AAABBB" 3 1.00 2')
    assert [words[2] for words in one.records(Kind.LIQUIDATION)] == [18]
    assert [words[2] for words in one.records(Kind.TRADE)] == [3]
    assert (one.lab.counter("precision"), one.lab.precision) == (1, [])
    assert one.lab.state(one.index) is State.LIVE
    # Control: a trade that does not fit asks for other exponents.
    one.send('T AAABBB" 4 1.001 2', 'L AAABBB" 19 7 1.5 2')
    assert one.lab.state(one.index) is State.LIVE
    assert (one.lab.counter("precision"), len(one.lab.precision)) == (2, 1)
    assert [words[2] for words in one.records(Kind.LIQUIDATION)] == [18, 19]


@pytest.mark.parametrize("code", [DecodeCode.INEXACT, DecodeCode.OVERFLOW])
@pytest.mark.parametrize("kind", [MessageKind.MARK, MessageKind.LIQUIDATION])
def test_so_is_what_came_by_the_cold_path(one: Perpetual, kind: MessageKind, code: DecodeCode) -> None:
    one.lab.live(one.index)
    assert one.lab.publisher.messages.publish_message(Decoded(code, kind, one.index), 9, b"the frame")
    assert (one.lab.counter("precision"), one.lab.precision) == (1, [])
    assert one.lab.state(one.index) is State.LIVE
    one.send(one.mark(1, mark=100))
    assert one.records() == [(100, 0, 0, 0)]
    assert one.lab.publisher.messages.publish_message(
        Decoded(code, MessageKind.TRADE, one.index), 9, b"the frame"
    )
    asks = code is DecodeCode.INEXACT  # no decimals help against an overflow
    assert one.lab.precision == ([(one.index, code, b"the frame")] if asks else [])
    assert one.lab.state(one.index) is State.LIVE


# -- over a handover -----------------------------------------------------------------------------------------
def begin(one: Perpetual, *channels: str) -> Handover:
    made = Handover(
        one.lab.publisher, [(one.index, channel) for channel in channels], clock=lambda: one.lab.now
    )
    made.subscribed()
    return made


def test_marks_never_go_back_and_none_is_missing(one: Perpetual) -> None:
    one.send(one.mark(10, mark=100), one.mark(11, mark=101))
    handover = begin(one, "mark")
    handover.sink.frame(one.frame(one.mark(10, mark=100)), one.lab.now)  # the new one is a second behind
    one.send(one.mark(12, mark=102))
    handover.sink.frame(one.frame(one.mark(11, mark=101)), one.lab.now)
    assert handover.ready()
    handover.sink.frame(one.frame(one.mark(12, mark=102), one.mark(13, mark=103)), one.lab.now)
    handover.complete()
    handover.sink.frame(one.frame(one.mark(13, mark=103), one.mark(14, mark=104)), one.lab.now)
    one.lab.publisher.hot_path.batch_end()
    assert [words[0] for words in one.records()] == [100, 101, 102, 103, 103, 104]


def test_a_mark_that_the_old_connection_left_out_is_still_of_before(one: Perpetual) -> None:
    """Each connection may leave out others: what is older than what is published is no news."""
    handover = begin(one, "mark")
    one.send(one.mark(12, mark=102))
    handover.sink.frame(one.frame(one.mark(12, mark=102), one.mark(11, mark=101)), one.lab.now)
    assert handover.ready()
    handover.complete()
    handover.sink.frame(one.frame(one.mark(13, mark=103)), one.lab.now)
    one.lab.publisher.hot_path.batch_end()
    assert [words[0] for words in one.records()] == [102, 103]


def test_facts_that_are_told_apart_have_times_of_their_own(one: Perpetual) -> None:
    """A rate is sent with the time of its reckoning: a mark of the meantime makes it no old news."""
    one.send(one.mark(10, mark=100))
    handover = begin(one, "mark")
    one.send(one.mark(20, mark=101), one.mark(19, index=50))
    handover.sink.frame(one.frame(one.mark(20, mark=101), one.mark(15, rate=5, next=900)), one.lab.now)
    assert handover.ready()
    handover.complete()
    late = one.frame(
        one.mark(19, mark=99), one.mark(18, index=49), one.mark(19, index=50), one.mark(10, rate=4)
    )
    handover.sink.frame(late, one.lab.now)
    handover.sink.frame(one.frame(one.mark(16, rate=6, next=901)), one.lab.now)
    one.lab.publisher.hot_path.batch_end()
    assert one.records() == [
        (100, 0, 0, 0),
        (101, 0, 0, 0),
        (101, 50, 0, 0),
        (101, 50, 5, 900),
        (101, 50, 6, 901),
    ]


def test_a_mark_of_the_same_time_is_waited_for(one: Perpetual) -> None:
    one.send(one.mark(10, mark=100))
    handover = begin(one, "mark")
    one.send(one.mark(11, mark=101))
    handover.sink.frame(one.frame(one.mark(13, mark=103)), one.lab.now)  # where is 12?
    assert not handover.ready()
    one.send(one.mark(12, mark=102))
    one.send(one.mark(13, mark=103))
    assert handover.ready()


def test_marks_without_times_are_told_apart_by_what_they_tell(one: Perpetual) -> None:
    handover = begin(one, "mark")
    one.send(one.mark(0, mark=100), one.mark(0, mark=101))
    behind = one.mark(0, mark=101).rsplit(" ", 3)[0] + " 1 2 3"  # the other facts are nobody's word
    handover.sink.frame(one.frame(behind, one.mark(0, mark=102)), one.lab.now)
    assert handover.ready()
    handover.complete()
    assert [words[0] for words in one.records()] == [100, 101, 102]


@pytest.mark.parametrize("number", [17, 0])
def test_a_liquidation_is_published_once(one: Perpetual, number: int) -> None:
    """Also one of before the handover was made: the new connection may be behind."""
    before, both, news = (f'L AAABBB" {number and number + n} {5 + n} 1.00 2' for n in range(3))
    one.lab.now += 20_000_000_000
    one.send(before)
    handover = begin(one, "liquidations")
    handover.sink.frame(one.frame(before), one.lab.now)
    one.send(both)
    handover.sink.frame(one.frame(both, news), one.lab.now)
    assert handover.ready()
    handover.complete()
    handover.sink.frame(one.frame(both), one.lab.now)  # a second copy is another liquidation
    one.lab.publisher.hot_path.batch_end()
    one.lab.poll()
    times = [int(r["ts_event"]) for r in one.lab.records if int(r["kind"]) == Kind.LIQUIDATION]
    assert times == [5, 6, 7, 6]


@pytest.mark.parametrize("cold", [False, True])
def test_what_does_not_fit_is_left_out_of_a_replay_too(one: Perpetual, cold: bool) -> None:
    message = one.frame('L AAABBB" 17 5 1.123456789 2')
    one.lab.live(one.index)
    normalise = one.lab.decoder.decode_messages
    handover = Handover(
        one.lab.publisher,
        [(one.index, "liquidations")],
        normalise=lambda message: normalise(message.raw_data),
        clock=lambda: one.lab.now,
    )
    handover.subscribed()
    if cold:
        handover.keep(
            ParsedMessage(message_type=MessageType.LIQUIDATION, timestamp=one.lab.now, raw_data=message)
        )
    else:
        handover.sink.frame(message, one.lab.now)
    handover.complete()
    assert (one.lab.counter("precision"), one.lab.precision) == (1, [])
    assert one.lab.state(one.index) is State.LIVE


def test_a_spot_channels_handover_does_not_wait_for_them(one: Perpetual) -> None:
    handover = begin(one, "top")
    one.lab.now += 2_000_000_000
    assert handover.ready()
