"""Native decoder == reference on whatever protobuf allows: any order, newer fields, what comes twice, damage,
and messages made by hypothesis."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shm.layout import Flag
from tests.workers.venues.mexc_spot.mexc_kit import (
    DEALS_BODY,
    DEALS_EVENT,
    DEPTH_BODY,
    DEPTH_EVENT,
    FRAMES,
    SENT,
    TICKER_BODY,
    TOP,
    TOP_BODY,
    TOP_CHANNEL,
    check,
    frame,
    left,
    reference,
)
from workers.decode.normal import DecodeCode, MessageKind
from workers.sim.mexc_spot import payloads


# -- what protobuf allows ------------------------------------------------------------------------------
def test_field_order_and_unknown_fields() -> None:
    """Any order, and newer fields of every wire type, in the wrapper and in every message."""
    newer = payloads.field(99, "new") + payloads.field(98, 7) + b"\xb5\x06abcd" + b"\xb1\x06abcdefgh"
    body = (
        newer
        + payloads.message((5, "7"), (4, "1"), (3, "2"))
        + newer
        + payloads.message((2, "1"), (1, "1.5"))
    )
    data = (
        payloads.field(payloads.BOOK_TICKER, body)
        + newer
        + payloads.message((6, SENT), (3, "BTCUSDT"), (1, "x"))
    )
    [top] = check(data)
    assert (top.payload[:4], top.update_id) == ((150, 10**8, 200, 10**8), 7)
    level = newer + payloads.message((2, "1"), (1, "2")) + newer
    [depth] = check(frame(payloads.DEPTHS, newer + payloads.message((5, "4"), (4, "3"), (1, level)) + newer))
    assert depth.asks == ((200, 10**8),)
    deal = newer + payloads.message((3, 2), (2, "1"), (1, "2")) + newer
    [trade] = check(frame(payloads.DEALS, newer + payloads.field(1, deal) + newer))
    assert trade.flags == Flag.SELL
    assert check(frame(payloads.MINI_TICKER, newer + TICKER_BODY + newer))[0].code is DecodeCode.OK
    named = payloads.message((1, "x"), (3, "BTCUSDT"), (4, "2fb9"), (5, SENT), (6, SENT), (315, TOP_BODY))
    assert check(named) == check(TOP)


def test_repeated_fields_and_other_oddities_are_left_to_the_reference() -> None:
    other = payloads.book_ticker(("1", "1"), ("2", "1"), 9)
    group = b"\x93\x03\x94\x03"  # an empty group of field 50
    for data in (
        TOP + payloads.field(payloads.BOOK_TICKER, other),  # merged: the later fields win
        TOP + payloads.field(payloads.DEPTHS, DEPTH_BODY),  # one of several: the last
        TOP + payloads.field(3, "HYPEUSDT"),
        TOP + payloads.field(6, 1),
        frame(payloads.BOOK_TICKER, TOP_BODY + payloads.field(1, "3")),
        frame(payloads.BOOK_TICKER, TOP_BODY + payloads.field(5, "3")),
        frame(payloads.DEPTHS, DEPTH_BODY + payloads.field(5, "82164153437")),
        frame(
            payloads.DEPTHS,
            payloads.message((4, "1"), (5, "2"), (1, payloads.level(("1", "1")) + payloads.field(1, "2"))),
        ),
        TOP + group,
        frame(payloads.BOOK_TICKER, TOP_BODY + group),
        frame(
            payloads.BOOK_TICKER, TOP_BODY + payloads.field(1, 7)
        ),  # a known field of another type is unknown
        TOP + b"\x80\x01\x00",  # field 16 in two bytes, value 0: unknown, and fine
        TOP + b"\x88\x80\x00\x00",  # a tag of three bytes
    ):
        check(data)
    assert left(TOP + payloads.field(payloads.BOOK_TICKER, other))
    assert reference(TOP + payloads.field(payloads.BOOK_TICKER, other))[0].update_id == 9
    assert reference(TOP + payloads.field(payloads.DEPTHS, DEPTH_BODY))[0].kind is MessageKind.DEPTH


def test_text_that_is_not_utf_8_is_malformed_and_utf_8_is_the_references() -> None:
    for number in (1, 3, 4):
        for raw, fine in ((b"\xff", False), ("é".encode(), True)):
            data = TOP + payloads.field(number, raw)
            assert left(data)
            assert (reference(data)[0].code is not DecodeCode.MALFORMED) is fine
    channel = payloads.wrapper("spot@é", "BTCUSDT", SENT, payloads.BOOK_TICKER, TOP_BODY)
    assert left(channel)
    assert reference(channel) == check(TOP)


@pytest.mark.parametrize("data", FRAMES)
def test_truncated_at_every_byte(data: bytes) -> None:
    for size in range(len(data)):
        check(data[:size])


@pytest.mark.parametrize("data", FRAMES)
def test_every_byte_changed(data: bytes) -> None:
    chance = random.Random(7)
    for place in range(len(data)):
        for byte in {0, 0x7F, 0x80, 0xFF, data[place] ^ 1, data[place] ^ 8, chance.randrange(256)}:
            check(data[:place] + bytes([byte]) + data[place + 1 :])


def test_huge_varints_and_lengths() -> None:
    for raw in (
        b"\xff" * 9 + b"\x01",
        b"\xff" * 10,
        b"\xff" * 11,
        b"\x80" * 9 + b"\x00",
        b"\x80" * 5 + b"\x00",
    ):
        for tag in (b"\x30", b"\x28", b"\x0a", b"\x1a", b"\xda\x13", b"\xf0\x03", b"\xf2\x03", b""):
            check(TOP + tag + raw)
            check(tag + raw + TOP)
            check(frame(payloads.BOOK_TICKER, TOP_BODY + tag + raw))
            check(frame(payloads.BOOK_TICKER, tag + raw + TOP_BODY))
            check(frame(payloads.DEALS, DEALS_BODY + tag + raw))
            check(frame(payloads.DEPTHS, tag + raw + DEPTH_BODY))


# -- generated -----------------------------------------------------------------------------------------
def mostly(good: st.SearchStrategy[Any], *odd: Any) -> st.SearchStrategy[Any]:
    """The good ones, and now and then one of the odd: else hardly a message would be whole."""
    return st.integers(0, 30).flatmap(lambda n: st.sampled_from(odd) if n == 17 else good)


ODD = (
    "",
    "0",
    "0.0",
    "1e5",
    "-1",
    ".5",
    "5.",
    "9" * 18,
    "9" * 19,
    "9" * 40,
    "0" * 30 + "1",
    "1.23456789012",
    "é",
)
DECIMALS = mostly(st.from_regex(r"[1-9][0-9]{0,6}(\.[0-9]{1,2}0{0,3})?", fullmatch=True), *ODD)
IDS = mostly(st.integers(0, 2**63 - 1).map(str), "", "007", "0", "x", "1.0", str(2**63), str(2**64))
NUMBERS = st.one_of(st.integers(0, 3), st.integers(0, 2**64 - 1))
SIDES = mostly(st.integers(1, 2), 0, 3, 2**32 + 1, 2**64 - 1)
TIMES = mostly(st.integers(0, 2**42), 2**62, 2**63, 2**64 - 1)
UNKNOWN = st.tuples(st.integers(17, 299), st.one_of(NUMBERS, st.binary(max_size=6)))


@st.composite
def fields(draw: st.DrawFn, *known: tuple[int, Any]) -> bytes:
    """A message: mostly each field once and in order; now and then in any order, one again, one missing, with
    newer ones between."""
    chosen = [(number, draw(values)) for number, values in known]
    match draw(st.integers(0, 20)):
        case 11:
            chosen = draw(st.permutations(chosen))
        case 12:
            chosen = draw(st.permutations([*chosen, *draw(st.lists(UNKNOWN, min_size=1, max_size=2))]))
        case 13:
            chosen.remove(draw(st.sampled_from(chosen)))
        case 14:
            number, values = draw(st.sampled_from(known))
            chosen.append((number, draw(values)))
    return b"".join(payloads.field(number, value) for number, value in chosen)


LEVELS = fields((1, DECIMALS), (2, DECIMALS))
DEALT = fields((1, DECIMALS), (2, DECIMALS), (3, SIDES), (4, TIMES), (5, st.text(max_size=5)))
TEXT = st.text(st.characters(max_codepoint=0x7E), max_size=3)
TEXTS = mostly(TEXT, "é", "\0")
SIDE = ((1, DECIMALS), (2, DECIMALS), (3, DECIMALS), (4, DECIMALS))
BODIES = [
    (payloads.BOOK_TICKER, fields(*SIDE, (5, IDS), (6, TIMES))),
    (
        payloads.DEPTHS,
        fields((1, LEVELS), (1, LEVELS), (2, LEVELS), (3, TEXTS), (4, IDS), (5, IDS), (6, TIMES)),
    ),
    (payloads.DEALS, fields((1, DEALT), (1, DEALT), (2, TEXTS))),
    (payloads.MINI_TICKER, fields(*((number, DECIMALS) for number in range(1, 13)))),
]
WRAPPERS = st.one_of(
    fields(
        (1, mostly(st.just(TOP_CHANNEL), "", "é")),
        (3, mostly(st.sampled_from(["BTCUSDT", "HYPEUSDT", "PEPEUSDT"]), "ETHUSDT", "", "é")),
        (4, TEXTS),
        (5, TIMES),
        (6, TIMES),
        body,
    )
    for body in BODIES
)


def test_what_is_generated_is_mostly_whole() -> None:
    """Else the test below would compare refusals."""
    codes: Counter[DecodeCode] = Counter()

    @given(WRAPPERS)
    @settings(max_examples=300, deadline=None, database=None, derandomize=True)
    def count(data: bytes) -> None:
        codes[check(data)[0].code] += 1

    count()
    assert codes[DecodeCode.OK] > 60, codes
    assert codes[DecodeCode.NOT_MINE] > 20, codes


@given(WRAPPERS)
@settings(max_examples=1500, deadline=None)
def test_generated_messages_are_equal(data: bytes) -> None:
    check(data)


@given(WRAPPERS, st.data())
@settings(max_examples=500, deadline=None)
def test_generated_messages_with_damage_are_equal(data: bytes, draw: st.DataObject) -> None:
    if data:
        place = draw.draw(st.integers(0, len(data) - 1))
        check(data[:place] + bytes([draw.draw(st.integers(0, 255))]) + data[place + 1 :])
        check(data[:place])


@given(st.binary(max_size=64))
@settings(max_examples=500, deadline=None)
def test_any_bytes_are_equal(data: bytes) -> None:
    check(data)


def ordinary(seed: int, count: int) -> Iterator[bytes]:
    """Frames as the venue sends them all day."""
    chance = random.Random(seed)

    def price() -> str:
        return chance.choice(["{:.2f}", "{:.1f}", "{:.0f}"]).format(chance.uniform(1, 90_000))

    def size() -> str:
        return f"{chance.uniform(0.00000001, 100):.{chance.randrange(9)}f}"

    for n in range(count):
        symbol = chance.choice(["BTCUSDT", "ETHUSDT"])
        levels = [(price().replace("0.00", "1.00"), size()) for _ in range(chance.randrange(12))]
        yield frame(
            payloads.BOOK_TICKER,
            payloads.book_ticker((price(), "1"), (price(), "1"), n + 1, SENT + n),
            symbol,
        )
        yield frame(payloads.DEPTHS, payloads.depths(DEPTH_EVENT, n + 1, n + 1, levels, levels[:3]), symbol)
        each = [payloads.deal(price(), size(), bool(n % 2), SENT + n, f"{n}X{i}") for i in range(1 + n % 4)]
        yield frame(payloads.DEALS, payloads.deals(DEALS_EVENT, each), symbol)
        ticker = payloads.mini_ticker(symbol, price(), "-0.1", price(), price(), "1.5", size())
        yield frame(payloads.MINI_TICKER, ticker, symbol)


def test_the_native_decoder_takes_all_ordinary_frames() -> None:
    for data in ordinary(1, 400):
        assert check(data)[0].code in (DecodeCode.OK, DecodeCode.UNKNOWN_SYMBOL)
