"""Topics over shards: within the venue's limit, a symbol together, nothing ever moves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from workers.websocket.placement import Placement

CHANNELS = ("top", "book", "trades")
ROUTES = {"top": "a", "book": "a", "trades": "b"}
SYMBOLS = st.lists(st.integers(0, 12).map(lambda n: f"S{n}/USDT"), min_size=1, max_size=5)


def counts(placement: Placement) -> list[int]:
    return [len(topics) for topics in placement.shards.values()]


def test_symbols_fill_a_shard_then_the_next() -> None:
    placement = Placement(lambda route: 5)
    placement.add(["A/U", "B/U", "C/U", "D/U", "E/U"], ["top", "book"])
    assert counts(placement) == [4, 4, 2]  # 5 streams: two symbols of two, none is cut


def test_a_new_channel_goes_where_its_symbol_is_and_a_new_symbol_where_there_is_room() -> None:
    placement = Placement(lambda route: 4)
    placement.add(["A/U", "B/U"], ["top", "book"])
    placement.add(["C/U"], ["top"])
    placement.remove(["B/U"], ["book"])
    assert placement.add(["A/U"], ["ticker"]) == [(0, ("A/U", "ticker"))]
    assert placement.add(["D/U"], ["top", "book"]) == [(1, ("D/U", "top")), (1, ("D/U", "book"))]
    assert placement.add(["A/U"], ["top"]) == [(0, ("A/U", "top"))]  # it is there: no news


def test_a_symbol_with_more_channels_than_a_connection_carries_is_cut() -> None:
    placement = Placement(lambda route: 2)
    placement.add(["A/U"], ["top", "book", "trades", "ticker", "agg_trades"])
    assert counts(placement) == [2, 2, 1]


def test_channels_of_different_routes_never_share_a_shard() -> None:
    """Rule 5: what is asked for at the wrong address of a venue may be silent."""
    placement = Placement(
        lambda route: 4, route=lambda channel: "slow" if channel in ("ticker", "mark") else "fast"
    )
    placement.add(["A/U", "B/U"], ["top", "ticker", "book"])
    assert list(placement.shards.values()) == [
        dict.fromkeys([("A/U", "top"), ("A/U", "book"), ("B/U", "top"), ("B/U", "book")]),
        dict.fromkeys([("A/U", "ticker"), ("B/U", "ticker")]),
    ]
    assert placement.routes == {0: "fast", 1: "slow"}
    # There is room on the slow one, and none for a fast channel.
    assert placement.add(["A/U"], ["mark"]) == [(1, ("A/U", "mark"))]
    assert placement.add(["A/U"], ["trades"]) == [(2, ("A/U", "trades"))]
    placement.remove(["A/U"], ["trades"])
    placement.close(2)
    assert placement.routes == {0: "fast", 1: "slow"}


def test_a_number_is_never_used_again() -> None:
    placement = Placement(lambda route: 1)
    placement.add(["A/U", "B/U"], ["top"])
    assert placement.remove(["B/U"]) == {1}
    placement.close(1)
    assert placement.add(["C/U"], ["top"]) == [(2, ("C/U", "top"))]


def test_a_channel_that_a_symbol_has_not_is_not_placed() -> None:
    """Spot and swap on one worker: the spot market is not marked, and takes no room for it."""
    placement = Placement(
        lambda route: 3, lambda symbol, channel: channel != "mark" or symbol.endswith(":USDT")
    )
    placed = placement.add(["A/USDT", "A/USDT:USDT"], ["top", "mark"])
    assert [topic for _, topic in placed] == [
        ("A/USDT", "top"),
        ("A/USDT:USDT", "top"),
        ("A/USDT:USDT", "mark"),
    ]
    assert counts(placement) == [3]
    assert placement.add(["A/USDT"], ["mark"]) == []
    assert counts(placement) == [3]  # not even an empty shard
    assert placement.home(("A/USDT", "mark")) is None
    assert placement.remove(["A/USDT"], ["mark"]) == set()


class Stable(RuleBasedStateMachine):
    """Whatever is desired: every topic once, no shard over its room, and what is placed stays there."""

    ROOM = 4

    def __init__(self) -> None:
        super().__init__()
        self.placement = Placement(lambda route: self.ROOM, route=lambda channel: ROUTES[channel])
        self.homes: dict[tuple[str, str], int] = {}

    @rule(symbols=SYMBOLS, channels=st.lists(st.sampled_from(CHANNELS), min_size=1, unique=True))
    def desire(self, symbols: list[str], channels: list[str]) -> None:
        placed = self.placement.add(symbols, channels)
        assert {topic for _, topic in placed} == {(s, c) for s in symbols for c in channels}
        for number, topic in placed:
            assert self.homes.setdefault(topic, number) == number

    @rule(symbols=SYMBOLS, channels=st.none() | st.lists(st.sampled_from(CHANNELS), min_size=1))
    def desire_no_more(self, symbols: list[str], channels: list[str] | None) -> None:
        touched = self.placement.remove(symbols, channels)
        gone = {t for t in self.homes if t[0] in symbols and (channels is None or t[1] in channels)}
        assert touched == {self.homes.pop(topic) for topic in gone}
        for number in touched:
            if not self.placement.shards[number]:
                self.placement.close(number)

    @invariant()
    def every_topic_has_one_home_and_no_shard_too_many(self) -> None:
        assert {t: n for n, topics in self.placement.shards.items() for t in topics} == self.homes
        assert sum(counts(self.placement)) == len(self.homes)
        assert all(0 < count <= self.ROOM for count in counts(self.placement))
        for number, topics in self.placement.shards.items():
            assert {ROUTES[channel] for _, channel in topics} == {self.placement.routes[number]}


TestStable = Stable.TestCase


@given(room=st.integers(1, 9), calls=st.lists(st.integers(1, 6), max_size=8))
def test_the_channels_of_a_symbol_stay_together_when_they_fit_a_connection(
    room: int, calls: list[int]
) -> None:
    """Whoever loses a connection voids its symbols: a cut one would be void with either."""
    placement = Placement(lambda route: room)
    channels = [f"c{n}" for n in range(9)]
    for number, count in enumerate(calls):
        placement.add([f"S{number}/A", f"S{number}/B"], channels[:count])
    for number, count in enumerate(calls):
        for symbol in (f"S{number}/A", f"S{number}/B"):
            homes = {n for n, topics in placement.shards.items() if any(t[0] == symbol for t in topics)}
            assert len(homes) == 1 or count > room
