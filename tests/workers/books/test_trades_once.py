"""Rule 13: a trade that the venue tells again is not published again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shm import Kind, Reason, State
from tests.workers.decode.talk import talk
from workers.decode.normal import DecodeCode, Decoded, MessageKind
from workers.handover.handover import Handover


class Tape:
    """A feed of one instrument's trades."""

    def __init__(self, lab: Any) -> None:
        self.lab = lab
        self.index = lab.add()

    def send(self, *lines: str) -> None:
        self.lab.now += 1_000
        assert self.lab.publisher.hot_path.frame("\n".join(lines).encode(), self.lab.now) == 1
        self.lab.publisher.hot_path.batch_end()

    def ids(self) -> list[int]:
        self.lab.poll()
        return [int(r["words"][2]) for r in self.lab.records if int(r["kind"]) == Kind.TRADE]

    def of_instrument(self) -> int:
        return int(self.lab.feed.counters().instruments["AAA/BBB"]["trades"])


@pytest.fixture
def tape(make_lab: Callable[..., Any]) -> Tape:
    return Tape(make_lab(decoder=talk()))


def test_the_last_trade_told_again_is_dropped_and_counted(tape: Tape) -> None:
    tape.send('T AAABBB" 5 1.00 1', 'T AAABBB" 6 1.01 1')
    tape.send('T AAABBB" 6 1.01 1')
    tape.send('T AAABBB" 7 1.01 1')
    assert tape.ids() == [5, 6, 7]
    assert tape.lab.counter("outdated") == 1
    assert tape.of_instrument() == 3


def test_over_a_lost_connection_too(tape: Tape) -> None:
    tape.send('T AAABBB" 6 1.01 1')
    tape.lab.publisher.lost(tape.index, State.DOWN, Reason.DISCONNECTED)
    tape.send('T AAABBB" 6 1.01 1')
    tape.send('T AAABBB" 9 1.01 1')
    assert tape.ids() == [6, 9]


def test_only_the_last_one_is_known(tape: Tape) -> None:
    """What the venue tells in another order is its word: nothing but the very same trade is left out."""
    tape.send('T AAABBB" 6 1.01 1', 'T AAABBB" 5 1.01 1', 'T AAABBB" 6 1.01 1')
    assert tape.ids() == [6, 5, 6]
    assert tape.lab.counter("outdated") == 0


def test_without_an_id_nothing_is_known(tape: Tape) -> None:
    tape.send('T AAABBB" 0 1.01 1')
    tape.send('T AAABBB" 0 1.01 1')
    assert tape.ids() == [0, 0]
    assert tape.lab.counter("outdated") == 0


def test_two_instruments_are_apart(tape: Tape) -> None:
    tape.lab.add("CCCDDD")
    tape.send('T AAABBB" 6 1.01 1', 'T CCCDDD" 6 1.01 1')
    tape.send('T CCCDDD" 6 1.01 1')
    assert tape.ids() == [6, 6]


@pytest.mark.parametrize("count", [0, 3])
def test_singles_and_aggregated_ones_are_apart(tape: Tape, count: int) -> None:
    """Their ids may count different things."""
    for each in (count, 3 - count, count):
        one = Decoded(DecodeCode.OK, MessageKind.TRADE, tape.index, 1, 6, 6, 0, (100, 1, each, 0, 0, 0, 0, 0))
        assert tape.lab.publisher.messages.publish_message(one, 1_000, b"")
    tape.lab.publisher.hot_path.batch_end()
    assert tape.ids() == [6, 6]
    assert tape.lab.counter("outdated") == 1


def test_a_new_slot_knows_none(tape: Tape) -> None:
    tape.send('T AAABBB" 6 1.01 1')
    tape.lab.publisher.drop_instrument(tape.index)
    tape.lab.publisher.add_instrument(tape.index, 2, 2)
    tape.send('T AAABBB" 6 1.01 1')
    assert tape.ids() == [6, 6]


def test_a_handover_finds_the_seam_as_before(tape: Tape) -> None:
    """The new connection begins with the last trade, as told to everybody who subscribes."""
    tape.send('T AAABBB" 6 1.01 1')
    made = Handover(tape.lab.publisher, [(tape.index, "trades")], clock=lambda: tape.lab.now)
    made.subscribed()
    made.sink.frame(b'T AAABBB" 6 1.01 1', tape.lab.now)
    tape.send('T AAABBB" 7 1.01 1')
    made.sink.frame(b'T AAABBB" 7 1.01 1\nT AAABBB" 8 1.01 1', tape.lab.now)
    assert made.ready()
    made.complete()
    made.sink.frame(b'T AAABBB" 8 1.01 1\nT AAABBB" 9 1.01 1', tape.lab.now)
    tape.lab.publisher.hot_path.batch_end()
    assert tape.ids() == [6, 7, 8, 9]
