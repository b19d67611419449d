"""Native decoder == reference: on every captured message, one by one, and on mutated ones; forbidden outcomes
are in `workers.decode.normal.disagreement`."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kraken_frames import (
    DECODER,
    FRAMES,
    HEARTBEAT,
    OLD_TICKER,
    SCALES,
    SNAPSHOT,
    STATUS,
    TICKER,
    TRADES,
    UPDATE,
    check,
    incoming,
    make_decoder,
    reference,
)

from shm.layout import Flag
from workers.decode.normal import DecodeCode, Decoded, MessageFlag, MessageKind, Scale, disagreement
from workers.decode.normal import absent as lacking
from workers.venues.kraken import schema
from workers.venues.kraken.times import to_ns

OK, MALFORMED, NOT_MINE = DecodeCode.OK, DecodeCode.MALFORMED, DecodeCode.NOT_MINE


@pytest.mark.parametrize("name", ["session", "session_resync"])
def test_every_captured_message_is_equal(name: str) -> None:
    frames = incoming(name)
    decoded = {frame: check(frame)[0] for frame in frames}
    left = [frame for frame, native in decoded.items() if native.code is not OK]
    # The native decoder takes all market data of the capture itself.
    assert all(frame == HEARTBEAT or b'"status"' in frame or b'"method"' in frame for frame in left)
    assert {native.kind for native in decoded.values() if native.code is OK} == {MessageKind.DEPTH}
    assert (
        len(frames) - len([frame for frame in frames if frame in left])
        == {"session": 30, "session_resync": 19}[name]
    )


# -- one by one -----------------------------------------------------------------------------------------
def test_book() -> None:
    time = 1786923425723653000
    checked = int(MessageFlag.CHECKED)
    assert check(UPDATE) == [
        Decoded(
            OK,
            MessageKind.DEPTH,
            0,
            time,
            flags=checked,
            payload=(222201382, 0, 0, 0, 0, 0, 0, 0),
            bids=((279, 0), (277, 148659884909)),
        )
    ]
    [snapshot] = check(SNAPSHOT)
    assert snapshot.flags == checked | MessageFlag.SNAPSHOT
    assert snapshot.asks == ((288, 3241638964164),)
    # A repeated price is kept, in the order sent (rule 2 of sync.py).
    assert check(UPDATE.replace(b"0.0277", b"0.0279"))[0].bids == ((279, 0), (279, 148659884909))
    # Snapshots once came without a time; a message without a checksum is for the reference.
    [old] = check(SNAPSHOT.replace(b',"timestamp":"2026-08-16T23:37:04.190019Z"', b""))
    assert (old.code, old.ts_event) == (OK, 0)
    unchecked = SNAPSHOT.replace(b'"checksum":2570005138,', b"")
    assert check(unchecked)[0].code is NOT_MINE
    assert reference(unchecked)[0].flags == MessageFlag.SNAPSHOT
    # No level costs nothing, or is no price.
    for wrong in (b"0.0000", b"-0.0279", b'"0.0279"', b"null"):
        assert check(UPDATE.replace(b"0.0279", wrong))[0].code is NOT_MINE
        assert reference(UPDATE.replace(b"0.0279", wrong))[0].code is MALFORMED
    # The checksum is 32 bits.
    assert check(UPDATE.replace(b"222201382", b"4294967296"))[0].code is NOT_MINE


def test_two_books_in_a_frame_are_for_the_reference() -> None:
    two = UPDATE[:-2] + b"," + UPDATE[UPDATE.index(b"[{") + 1 :]
    assert check(two)[0].code is NOT_MINE
    assert [form.bids for form in reference(two)] == [((279, 0), (277, 148659884909))] * 2


def test_a_ticker() -> None:
    time = 1790222058054886000
    ticker = Decoded(
        OK,
        MessageKind.TICKER,
        3,
        time,
        flags=lacking(5, 7),
        # open = last - change
        payload=(99981, 99976, 100000, 99959, 27063827750461281, 0, 38144, 0),
    )
    assert check(TICKER) == [ticker]
    assert check(TICKER.replace(b'"update"', b'"snapshot"')) == [ticker]
    # As it was until 2026: neither count nor time.
    words = (*ticker.payload[:6], 0, 0)
    assert check(OLD_TICKER) == [ticker._replace(ts_event=0, payload=words, flags=lacking(5, 6, 7))]


@pytest.mark.parametrize(
    ("change", "opened"),
    [
        (b"-0.00005", 99986),
        (b"0", 99981),
        (b"-0", 99981),
        (b"0.000005", 0),  # not exact
        (b"1.5", 0),  # below zero
        (b"0.99981", 0),
        (b"92233720368547.75807", 0),
        (b"-92233720368547.75807", 0),  # more than an int64
        (b"1e-05", 99980),
    ],
)
def test_what_a_ticker_opened_with(change: bytes, opened: int) -> None:
    frame = TICKER.replace(b"0.00005", change)
    check(frame)
    assert reference(frame)[0].payload[1] == opened


def test_several_tickers_in_a_frame() -> None:
    other = TICKER[TICKER.index(b"[{") + 1 : -2].replace(b"USDT/USD", b"MINA/GBP")
    forms = check(TICKER[:-2] + b"," + other.replace(b"0.99", b"0.9") + b"]}")
    assert [(form.kind, form.instrument, form.code) for form in forms] == [
        (MessageKind.TICKER, 3, OK),
        (MessageKind.TICKER, 0, OK),
    ]
    stranger = check(TICKER[:-2] + b"," + other.replace(b"MINA", b"XMINA") + b"]}")
    assert [form.code for form in stranger] == [OK, DecodeCode.UNKNOWN_SYMBOL]
    # What is wrong in the second leaves nothing of the first.
    broken = TICKER[:-2] + b"," + other.replace(b'"last":', b'"last":x') + b"]}"
    assert [form.code for form in check(broken)] == [NOT_MINE]


@pytest.mark.parametrize(
    "bid", [b"0.00000", b"0.999805", b"99999999999999999999.5", b"-1", b"1e-05", b"null"]
)
def test_a_ticker_s_bid_and_ask_are_no_top_and_cost_nothing(bid: bytes) -> None:
    """Whatever they are: a number of theirs that does not fit would else cost the symbol its slot."""
    frame = TICKER.replace(b'"bid":0.99980', b'"bid":' + bid)
    check(frame)
    assert reference(frame) == reference(TICKER)


def test_trades() -> None:
    time = 1788481280564568000
    assert check(TRADES) == [
        Decoded(
            OK, MessageKind.TRADE, 7, time, 106799953, 106799953, payload=(812051, 3630, 0, 0, 0, 0, 0, 0)
        ),
        Decoded(
            OK,
            MessageKind.TRADE,
            7,
            time,
            106799954,
            106799954,
            int(Flag.SELL),
            (812050, 200000, 0, 0, 0, 0, 0, 0),
        ),
    ]
    # History is no news.
    history = TRADES.replace(b'"update"', b'"snapshot"')
    assert check(history)[0].code is NOT_MINE
    assert reference(history) == [Decoded(NOT_MINE)]
    assert reference(TRADES.replace(b'"buy"', b'"bought"'))[0].code is MALFORMED


def test_a_trade_has_a_price() -> None:
    """A price of 0 stands for "no price" in shared memory: it is malformed."""
    for zero in (b"0", b"0.0", b"0.00000000"):
        frame = TRADES.replace(b'"price":81205.1', b'"price":' + zero)
        assert frame != TRADES
        assert check(frame)[0].code is NOT_MINE
        assert reference(frame)[0].code is MALFORMED


@pytest.mark.parametrize("none", [b"null", b"0.0"])
def test_a_statistic_that_is_not_there(none: bytes) -> None:
    for key, words in ((b"last", (0, 1)), (b"high", (2,)), (b"low", (3,))):
        at = TICKER.index(b'"%s":' % key) + len(key) + 3
        frame = TICKER[:at] + none + TICKER[TICKER.index(b",", at) :]
        check(frame)
        [form] = reference(frame)
        assert (form.code, form.flags) == (OK, lacking(*words, 5, 7))


def test_a_number_that_does_not_fit() -> None:
    finer = UPDATE.replace(b"1486.59884909", b"1486.598849091")
    [whole] = check(UPDATE)
    assert check(finer) == [Decoded(DecodeCode.INEXACT, MessageKind.DEPTH, 0, whole.ts_event)]
    huge = UPDATE.replace(b"1486.59884909", b"99999999999999999999.0")
    assert check(huge) == [Decoded(DecodeCode.OVERFLOW, MessageKind.DEPTH, 0, whole.ts_event)]
    ticker = TICKER.replace(b'"low":0.99959', b'"low":0.999595')
    [form] = check(ticker)
    assert (form.code, form.payload[3]) == (OK, 0)
    assert form.flags == lacking(3, 5, 7) | MessageFlag.UNFIT
    # Zeros beyond the slot's decimals are no digits.
    assert check(UPDATE.replace(b"1486.59884909", b"1486.5988490900"))[0].code is OK


@pytest.mark.parametrize("text", [b"1e-08", b"1E2", b"2.5e+3", b"74198191257.26e-6"])
def test_exponents_are_for_the_reference(text: bytes) -> None:
    frame = UPDATE.replace(b"1486.59884909", text)
    assert check(frame)[0].code is NOT_MINE
    [form] = reference(frame)
    assert form.code is OK
    assert form.bids[1][1] == int(float(text) * 10**8 + 0.5)


@pytest.mark.parametrize(
    "text", [b"01", b"00.5", b".5", b"1.", b"+1", b"1..2", b"0x1", b"--1", b"1e", b"NaN"]
)
def test_texts_that_are_no_json_number(text: bytes) -> None:
    for frame, old in ((UPDATE, b"1486.59884909"), (TICKER, b'0.99983,"low"'), (TICKER, b"0.00005")):
        mutant = frame.replace(old, text + old[old.index(b",") :] if b"," in old else text)
        assert check(mutant)[0].code is NOT_MINE
        assert reference(mutant)[0].code is MALFORMED


def test_messages_that_are_no_market_data() -> None:
    for frame in (STATUS, HEARTBEAT, b"{}", b"", b"[]", b'{"channel":"book"}', UPDATE + b" ", UPDATE[:-1]):
        assert check(frame)[0].code is NOT_MINE
    assert check(UPDATE.replace(b"MINA", b"XMINA")) == [Decoded(DecodeCode.UNKNOWN_SYMBOL)]
    assert reference(b'{"channel":"trade","type":"update","data":[]}') == [Decoded(NOT_MINE)]


def test_levels_are_bounded() -> None:
    decoder = make_decoder(max_levels=1)
    assert decoder.decode_message(UPDATE).code is NOT_MINE
    assert decoder.too_many_levels == 1


# -- times ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("2026-08-16T23:37:05.723653Z", 1786923425723653000),
        ("2026-08-16T23:37:05Z", 1786923425000000000),
        ("2026-08-16T23:37:05.7Z", 1786923425700000000),
        ("2026-08-16T23:37:05.123456789Z", 1786923425123456789),
        ("1970-01-01T00:00:00Z", 0),
        ("2000-02-29T12:00:00Z", 951825600000000000),
        ("2261-12-31T23:59:59.999999999Z", 9214646399999999999),
    ],
)
def test_times(text: str, ns: int) -> None:
    assert to_ns(text) == ns
    frame = UPDATE.replace(b"2026-08-16T23:37:05.723653Z", text.encode())
    assert check(frame)[0].ts_event == ns


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("2026-08-16T23:37:60Z", 1786923480000000000),  # a leap second
        ("2026-08-16T23:37:05.1234567899Z", 1786923425123456789),
        ("2026-08-17T01:37:05+02:00", 1786923425000000000),
        ("2026-08-16t23:37:05z", 1786923425000000000),
        ("2026-02-29T00:00:00Z", None),
        ("2100-02-29T00:00:00Z", None),
        ("2026-13-01T00:00:00Z", None),
        ("2026-04-31T00:00:00Z", None),
        ("2026-00-10T00:00:00Z", None),
        ("2026-01-00T00:00:00Z", None),
        ("2026-01-01T24:00:00Z", None),
        ("2262-01-01T00:00:00Z", None),
        ("1969-12-31T23:59:59Z", None),
        ("2026-08-16T23:37:05.Z", None),
        ("2026-08-16T23:37:05", None),
        ("2026-08-16 23:37:0xZ", None),
        ("1786923425", None),
    ],
)
def test_times_for_the_reference(text: str, ns: int | None) -> None:
    assert to_ns(text) == ns
    frame = UPDATE.replace(b"2026-08-16T23:37:05.723653Z", text.encode())
    assert check(frame)[0].code is NOT_MINE
    assert reference(frame)[0].code is (MALFORMED if ns is None else OK)


def test_every_day_until_2261() -> None:
    stamp = b"2026-08-16T23:37:05.723653Z"
    for day in range(0, 106_600, 7):
        text = str(_day(day)).encode() + b"T00:00:00Z"
        assert check(UPDATE.replace(stamp, text))[0].ts_event == day * 86_400 * 10**9


def _day(number: int) -> object:
    from datetime import date, timedelta

    return date(1970, 1, 1) + timedelta(days=number)


# -- numbers in words -------------------------------------------------------------------------------------
@given(st.decimals(min_value=0, max_value=10**12, places=8), st.integers(-20, 20))
def test_an_exponent_is_written_out(number: object, power: int) -> None:
    from decimal import Decimal

    import msgspec

    text = f"{Decimal(str(number)):f}e{power}"
    written = schema.decimal(msgspec.Raw(text.encode()))
    assert re.fullmatch(r"[0-9]+(\.[0-9]+)?", written)
    assert Decimal(written) == Decimal(text)


# -- mutations -----------------------------------------------------------------------------------------
PIECES = [
    b'"', b",", b":", b"{", b"}", b"[", b"]", b"0", b"00", b"9", b".", b"-", b"e-08", b"E5", b" ", b"\\",
    b"\xff", b"\0", b"null", b"true", b"1e-08", b"99999999999999999999", b"0.000000001", b"0.0", b'"qty":',
    b'"price":', b"BTC/USD", b'"snapshot"', b'"update"', b'"sell"', b"2026-02-30", b".123456789123Z",
    b'"trades":1,', b'{"price":1,"qty":1},',
]  # fmt: skip


def mutated(frame: bytes, rng: random.Random) -> bytes:
    data = bytearray(frame)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(5):
            case 0:
                data[at : at + rng.randint(1, 6)] = b""
            case 1:
                data[at:at] = rng.choice(PIECES)
            case 2:
                data[at : at + rng.randint(1, 4)] = rng.choice(PIECES)
            case 3:
                at = rng.randrange(len(data))
                data[at] = rng.choice((data[at] ^ (1 << rng.randrange(8)), rng.choice(b"0123456789.-e")))
            case _:
                end = at + rng.randint(1, 40)
                data[at:at] = data[at:end]
        if not data:
            break
    return bytes(data)


def test_mutants_are_equal() -> None:
    rng = random.Random(7)
    taken = 0
    for _ in range(20_000):
        frame = mutated(rng.choice(FRAMES), rng)
        native = DECODER.decode_messages(frame)
        problem = disagreement(native, reference(frame))
        assert problem is None, (frame, problem)
        taken += native[0].code is not NOT_MINE
    assert taken > 500  # else this compared nothing


NUMBERS = st.one_of(
    st.from_regex(r"-?[0-9]{1,21}(\.[0-9]{1,12})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
    st.sampled_from(
        ["0", "0.0", "0.00000000", "9223372036854775807", "922337203685.4775808", "1e400", "1e-400"]
    ),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(NUMBERS, min_size=4, max_size=4), st.integers(0, 18), st.integers(0, 18))
@example(["0.0286", "74198.19125726", "0.0288", "1"], 4, 8)
@example(["1", "0", "2", "0.0"], 18, 18)
def test_any_numbers_at_any_exponents(texts: list[str], price_exp: int, size_exp: int) -> None:
    scales = {"BTC/USD": Scale(5, price_exp, size_exp)}
    decoder = make_decoder(scales)
    bid, bid_qty, ask, ask_qty = texts
    book = (
        f'{{"channel":"book","type":"update","data":[{{"symbol":"BTC/USD","bids":[{{"price":{bid},"qty":{bid_qty}}}],'
        f'"asks":[{{"price":{ask},"qty":{ask_qty}}}],"checksum":0,"timestamp":"2026-08-16T23:37:05.723653Z"}}]}}'
    )
    ticker = (
        f'{{"channel":"ticker","type":"update","data":[{{"symbol":"BTC/USD","bid":{bid},"bid_qty":{bid_qty},'
        f'"ask":{ask},"ask_qty":{ask_qty},"last":{ask},"volume":{bid_qty},"vwap":{bid},"low":{bid},"high":{ask},'
        f'"change":{bid},"change_pct":{ask},"trades":1,"timestamp":"2026-08-16T23:37:05.723653Z"}}]}}'
    )
    for frame in (book.encode(), ticker.encode()):
        problem = disagreement(decoder.decode_messages(frame), reference(frame, scales))
        assert problem is None, (frame, problem)


def test_scales_are_those_of_the_frames() -> None:
    assert {form.instrument for frame in FRAMES for form in check(frame)} == {
        scale[0] for scale in SCALES.values()
    }
