"""What becomes of bytes under each order: exact, repeatable, and nothing at all without one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faults.faults import (
    Blackhole,
    Corrupt,
    Corruption,
    Cut,
    Direction,
    Drop,
    Duplicate,
    Fault,
    FaultError,
    Half,
    Hole,
    How,
    Latency,
    Orders,
    Reorder,
    Stall,
    Throttle,
    parse,
)
from tests.faults.frames import CLOSE, PING, TEXT, Frame, decode
from tests.faults.lane import End, Lane, Send

HEAD = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
DOWN = Direction.DOWN


def text(payload: bytes) -> bytes:
    return Frame(True, 0, TEXT, b"", payload).encode()


MESSAGES = [text(b'{"n":%d}' % n) for n in range(5)]
STREAM = HEAD + b"".join(MESSAGES)


def chunks(data: bytes, sizes: list[int]) -> list[bytes]:
    out, turn = [], 0
    while data:
        size = sizes[turn % len(sizes)]
        out.append(data[:size])
        data, turn = data[size:], turn + 1
    return out


def run(
    *faults: Fault, data: bytes = STREAM, sizes: list[int] | None = None, seed: int = 1, connection: int = 1
) -> tuple[bytes, How, Orders, Lane]:
    """What a lane lets through, how it ends, and what was counted."""
    orders = Orders()
    for fault in faults:
        orders.add(fault, 0.0)
    lane = Lane(orders, connection, DOWN, seed)
    steps = lane.feed(b"", 0.0)
    for chunk in chunks(data, sizes or [len(data)]):
        steps += lane.feed(chunk, 0.0)
    steps += lane.finish(0.0)
    ends = [step.how for step in steps if isinstance(step, End)]
    assert len(ends) <= 1
    assert not ends or isinstance(steps[-1], End)
    sent = b"".join(step.data for step in steps if isinstance(step, Send))
    assert lane.carried == len(sent)
    return sent, ends[0] if ends else How.SILENCE, orders, lane


sizes_ = st.lists(st.integers(1, 40), min_size=1, max_size=5)


@given(
    st.one_of(st.binary(max_size=300), st.just(STREAM), st.binary(max_size=60).map(lambda b: STREAM + b)),
    sizes_,
)
def test_without_an_order_the_bytes_pass_as_they_are(data: bytes, sizes: list[int]) -> None:
    sent, how, orders, lane = run(data=data, sizes=sizes)
    assert (sent, how, lane.lost, dict(orders.used)) == (data, How.FIN, 0, {})


@given(
    st.one_of(st.binary(max_size=300), st.just(STREAM), st.binary(max_size=60).map(lambda b: STREAM + b)),
    sizes_,
)
def test_an_order_that_matches_nothing_holds_back_but_changes_nothing(data: bytes, sizes: list[int]) -> None:
    others = (
        Drop(text="never there"),
        Half(connection=2),
        Cut(after=10_000),
        Corrupt(direction=Direction.UP),
    )
    sent, how, orders, _ = run(*others, data=data, sizes=sizes)
    assert (sent, how, dict(orders.used)) == (data, How.FIN, {})


@given(st.integers(0, len(STREAM)), sizes_, st.sampled_from(list(How)))
def test_a_cut_is_at_that_very_byte(after: int, sizes: list[int], how: How) -> None:
    sent, ended, orders, lane = run(Cut(after=after, how=how), sizes=sizes)
    assert (sent, ended) == (STREAM[:after], how)
    assert orders.used["cut"] == 1
    assert lane.lost >= 0
    assert lane.dead


@given(st.integers(0, len(STREAM) - 1), st.integers(1, 30), sizes_)
def test_a_hole_is_exactly_those_bytes(after: int, size: int, sizes: list[int]) -> None:
    sent, how, orders, lane = run(Hole(after=after, size=size), sizes=sizes)
    assert sent == STREAM[:after] + STREAM[after + size :]
    assert how is How.FIN
    assert lane.lost == len(STREAM) - len(sent)
    assert orders.used["hole"] == (after + size <= len(STREAM))


EVENTS = {
    "drop": (Drop(after=1, count=2), [MESSAGES[0], *MESSAGES[3:]]),
    "duplicate": (Duplicate(text='"n":3'), [*MESSAGES[:4], *MESSAGES[3:]]),
    "reorder": (Reorder(after=1), [MESSAGES[0], MESSAGES[2], MESSAGES[1], *MESSAGES[3:]]),
    "reorder of a kind": (Reorder(text='"n":1'), [MESSAGES[0], *MESSAGES[2:], MESSAGES[1]]),
    "reorder the last": (Reorder(text='"n":4'), MESSAGES),
    "every one twice": (Duplicate(count=9), [m for m in MESSAGES for _ in (0, 1)]),
}


@pytest.mark.parametrize("name", EVENTS)
@given(sizes_)
def test_frames_are_dropped_doubled_and_swapped_whole(name: str, sizes: list[int]) -> None:
    fault, expected = EVENTS[name]
    sent, how, orders, _ = run(fault, sizes=sizes)
    assert sent == HEAD + b"".join(expected)
    assert how is How.FIN
    assert orders.used[fault.kind] >= 1


@given(sizes_, st.sampled_from(list(How)))
def test_half_a_frame_is_half_of_that_frame(sizes: list[int], how: How) -> None:
    sent, ended, _, _ = run(Half(after=2, how=how), sizes=sizes)
    assert sent == HEAD + MESSAGES[0] + MESSAGES[1] + MESSAGES[2][: len(MESSAGES[2]) // 2]
    assert ended is how


def test_control_frames_are_left_alone() -> None:
    controls = Frame(True, 0, PING, b"", b"x").encode() + Frame(True, 0, CLOSE, b"", b"\x03\xe8").encode()
    sent, _, orders, _ = run(Drop(count=9), data=HEAD + controls)
    assert sent == HEAD + controls
    assert not orders.used


@pytest.mark.parametrize("what", list(Corruption))
def test_a_corrupt_frame_breaks_the_rule_it_names(what: Corruption) -> None:
    sent, _, orders, _ = run(Corrupt(what=what, after=4))
    assert orders.used["corrupt"] == 1
    assert sent.startswith(HEAD + b"".join(MESSAGES[:4]))
    raw = sent[len(HEAD) + sum(map(len, MESSAGES[:4])) :]
    assert raw != MESSAGES[4]
    frame = decode(raw)
    good = decode(MESSAGES[4])
    match what:
        case Corruption.OPCODE:
            assert frame.opcode == 3
        case Corruption.RESERVED:
            assert frame.rsv == 4
        case Corruption.MASK:
            assert raw[1] & 0x80
            assert frame.payload == good.payload
        case Corruption.UTF8:
            with pytest.raises(UnicodeDecodeError):
                frame.payload.decode()
        case Corruption.LENGTH:
            assert int.from_bytes(raw[2:10], "big") == 1 << 62
        case Corruption.FLIP:
            assert sum((a ^ b).bit_count() for a, b in zip(raw, MESSAGES[4], strict=True)) == 1


def test_a_black_hole_takes_everything_of_its_direction_and_says_nothing() -> None:
    sent, how, orders, lane = run(Blackhole(direction=DOWN), sizes=[3])
    assert (sent, how, lane.lost) == (b"", How.SILENCE, len(STREAM))
    assert orders.used["blackhole"] == 1
    assert run(Blackhole(direction=Direction.UP))[0] == STREAM


def test_an_order_is_over_by_itself_and_what_a_black_hole_has_eaten_stays_dead() -> None:
    orders = Orders()
    orders.add(Blackhole(lasts=1.0), 0.0)
    eaten, fresh = Lane(orders, 1, DOWN), Lane(orders, 2, DOWN)
    assert eaten.feed(b"abc", 0.5) == []
    assert eaten.feed(b"abc", 1.5) == []
    assert fresh.feed(b"abc", 1.5) == [Send(1.5, b"abc")]
    assert len(orders) == 0


def test_latency_keeps_the_order_and_is_the_same_for_the_same_seed() -> None:
    def dues(seed: int, connection: int = 1) -> list[float]:
        orders = Orders()
        orders.add(Latency(seconds=0.05, jitter=0.04), 0.0)
        lane = Lane(orders, connection, DOWN, seed)
        steps = [step for n in range(200) for step in lane.feed(b"x", n * 0.001)]
        arrivals = [step.due for step in steps]
        assert arrivals == sorted(arrivals)
        return [due - n * 0.001 for n, due in enumerate(arrivals)]

    late = dues(7)
    assert min(late) >= 0.01
    assert max(late) <= 0.09 + 0.08  # one that waits for an older one
    assert max(late) - min(late) > 0.02
    assert dues(7) == late
    assert dues(8) != late
    assert dues(7, connection=2) != late


def test_a_throttle_is_a_rate_and_reads_little_at_once() -> None:
    orders = Orders()
    orders.add(Throttle(rate=1000.0), 0.0)
    lane = Lane(orders, 1, DOWN)
    assert lane.appetite(0.0) == 50
    steps = [step for _ in range(10) for step in lane.feed(b"x" * 100, 0.0)]
    assert [step.due for step in steps] == pytest.approx([0.1 * n for n in range(1, 11)])
    assert lane.appetite(61.0) == 65_536


def test_a_stall_gives_everything_back_at_its_end() -> None:
    orders = Orders()
    orders.add(Stall(lasts=2.0), 0.0)
    lane = Lane(orders, 1, DOWN)
    assert [*lane.feed(b"ab", 0.5), *lane.feed(b"c", 1.0)] == [Send(2.0, b"ab"), Send(2.0, b"c")]
    assert lane.feed(b"d", 2.5) == [Send(2.5, b"d")]


def test_counts_are_over_all_connections_and_after_is_on_each() -> None:
    orders = Orders()
    orders.add(Drop(after=1, count=2), 0.0)
    for connection in (1, 2, 3):
        lane = Lane(orders, connection, DOWN)
        sent = b"".join(step.data for step in lane.feed(STREAM, 0.0) if isinstance(step, Send))
        missing = {1: MESSAGES[1] + MESSAGES[2]}.get(connection, b"")
        assert len(sent) == len(STREAM) - len(missing)
    assert orders.used == {"drop": 2}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("cutt", "there are: latency"),
        ("cut:how=fast", "Invalid enum value"),
        ("cut:when=now", "after, how"),
        ("latency", "seconds"),
    ],
)
def test_wrong_words_are_answered_with_what_is_right(words: str, expected: str) -> None:
    with pytest.raises(FaultError, match=expected):
        parse(words)


def test_words_are_orders() -> None:
    assert parse("half:text=bookTicker,how=fin,connection=2") == Half(
        text="bookTicker", how=How.FIN, connection=2
    )
    assert parse("latency:seconds=0.05,jitter=0.01,direction=down") == Latency(
        seconds=0.05, jitter=0.01, direction=DOWN
    )
    with pytest.raises(FaultError, match="at most 3600"):
        Orders().add(Blackhole(lasts=1e9), 0.0)
    with pytest.raises(FaultError, match="at least 1"):
        Orders().add(Cut(count=0), 0.0)
