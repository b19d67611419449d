"""Binance spot: native decoder == reference, on each shape that the market sends and on mutated ones; what
all markets share is in `test_decode_binance.py`."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shm.layout import Flag
from tests.workers.venues.binance.decoder_kit import mutated
from tests.workers.venues.binance_spot.spot_frames import AGG_TRADE, DEPTH, SCALES, SPOT, TICKER, TOP, TRADE
from workers.decode.normal import DecodeCode, Decoded, MessageFlag, MessageKind, Scale
from workers.decode.normal import absent as lacking
from workers.decode.symbols import FLAGS
from workers.venues.binance.parser import BinanceParser
from workers.venues.binance_spot.parser import DIALECT, normalise

FRAMES = SPOT.frames
make_decoder, reference, check = SPOT.make_decoder, SPOT.reference, SPOT.check
DECODER = make_decoder()
PARSER = BinanceParser({symbol: symbol for symbol in SCALES}, DIALECT)


def test_a_wrong_reference_is_noticed() -> None:
    scales, frames = SPOT.capture(SPOT.small)

    def sides_swapped(event: object, scales: dict[str, Scale]) -> Decoded:
        right = normalise(event, scales)
        return right._replace(bids=right.asks, asks=right.bids)

    def ids_off(event: object, scales: dict[str, Scale]) -> Decoded:
        right = normalise(event, scales)
        return right._replace(update_id=right.update_id + 1)

    def rounded(event: object, scales: dict[str, Scale]) -> Decoded:
        return normalise(event, {name: scale._replace(price_exp=2) for name, scale in scales.items()})

    for wrong in (sides_swapped, ids_off, rounded):
        assert SPOT.differences(frames, scales, wrong)[0], wrong.__name__


# -- one by one -----------------------------------------------------------------------------------------
def test_top() -> None:
    assert check(TOP) == Decoded(
        DecodeCode.OK, MessageKind.TOP, 0, 0, 499869768, payload=(3521, 672, 3526, 3199, 0, 0, 0, 0)
    )


def test_absent_sides() -> None:
    empty = b'"0.00000000","%s":"0.00000000"'
    no_bid = TOP.replace(b'"0.35210000","B":"672.00000000"', empty % b"B")
    no_ask = TOP.replace(b'"0.35260000","A":"3199.00000000"', empty % b"A")
    assert check(no_bid).flags == Flag.NO_BID
    assert check(no_ask).flags == Flag.NO_ASK
    assert check(no_bid.replace(b'"0.35260000","A":"3199.00000000"', empty % b"A")).flags == 48
    # A price without size is no quote.
    for half in (TOP.replace(b"672.", b"0."), TOP.replace(b"0.35260000", b"0.00000000")):
        assert check(half).code is DecodeCode.NOT_MINE
        assert reference(half).code is DecodeCode.MALFORMED


def test_depth() -> None:
    for frame in (DEPTH, SPOT.combined(DEPTH)):
        assert check(frame) == Decoded(
            DecodeCode.OK,
            MessageKind.DEPTH,
            0,
            1633998512068000000,
            499869752,
            499869750,
            bids=((3513, 6195), (3475, 0)),
            asks=((3526, 1),),
        )
    assert check(DEPTH.replace(b'[["0.35260000","1.00000000"]]', b"[]")).asks == ()
    # A repeated price is kept, in the order sent.
    twice = DEPTH.replace(b'["0.34750000","0.00000000"]', b'["0.35130000","0.00000000"]')
    assert check(twice).bids == ((3513, 6195), (3513, 0))
    assert reference(DEPTH.replace(b"0.35130000", b"0.00000000")).code is DecodeCode.MALFORMED


def test_trades() -> None:
    time = 1633998523963000000
    sold = check(TRADE)
    assert sold == Decoded(
        DecodeCode.OK,
        MessageKind.TRADE,
        7,
        time,
        15683430,
        15683430,
        Flag.SELL,
        (5721115, 3412, 0, 0, 0, 0, 0, 0),
    )
    assert check(TRADE.replace(b'"m":true', b'"m":false')).flags == 0
    aggregated = check(AGG_TRADE)
    assert (aggregated.update_id, aggregated.first_id, aggregated.payload[:3]) == (
        15683430,
        19862790,
        (3528, 58, 3),
    )
    assert check(AGG_TRADE.replace(b'"l":19862792', b'"l":1')).code is DecodeCode.NOT_MINE


def test_ticker() -> None:
    # 2338318031.8001234 at 2 + 5 decimals.
    words = (5721115, 5710000, 5790001, 5610099, 4102312345, 23383180318001234, 1816, 1633912112068000000)
    assert check(TICKER) == Decoded(DecodeCode.OK, MessageKind.TICKER, 7, 1633998512068000000, payload=words)
    for quote_volume in (b"2338318031.80012345", b"92233720368547758080.0"):
        absent = check(TICKER.replace(b"2338318031.8001234", quote_volume))
        assert (absent.code, absent.flags, absent.payload[5]) == (DecodeCode.OK, lacking(5), 0)
    assert check(TICKER.replace(b"2338318031.8001234", b"1e9")).code is DecodeCode.NOT_MINE
    for volume in (b"41023.123450000000000000000001", b"136651248485429227479402823307.68"):
        wide = check(TICKER.replace(b'"v":"41023.12345000"', b'"v":"%s"' % volume))
        assert (wide.code, wide.flags, wide.payload[4]) == (DecodeCode.OK, lacking(4) | MessageFlag.UNFIT, 0)


def test_a_trade_has_a_price() -> None:
    """A price of 0 stands for "no price" in shared memory: it is malformed, in every kind of trade."""
    for frame in (TRADE, AGG_TRADE):
        price = json.loads(frame)["p"].encode()
        for zero in (b"0", b"0.00000000"):
            assert check(frame.replace(b'"p":"%s"' % price, b'"p":"%s"' % zero)).code is DecodeCode.NOT_MINE
            broken = reference(frame.replace(b'"p":"%s"' % price, b'"p":"%s"' % zero))
            assert broken.code is DecodeCode.MALFORMED


def test_an_empty_side_of_a_top() -> None:
    """Kind: how a venue writes an absent value."""
    event = json.loads(TOP)
    for none in ("0.00000000", "0", ""):
        text = json.dumps({**event, "b": none, "B": none}, separators=(",", ":")).encode()
        check(text)
        assert (reference(text).code, reference(text).flags) == (DecodeCode.OK, Flag.NO_BID)
        half = json.dumps({**event, "b": none}, separators=(",", ":")).encode()
        assert reference(half).code is DecodeCode.MALFORMED


def test_ticker_with_exponents_beyond_18() -> None:
    scales = {"BTCUSDT": Scale(0, 12, 8)}
    frame = TICKER.replace(b"2338318031.8001234", b"1.0").replace(b"57", b"5")
    native = make_decoder(scales).decode_message(frame)
    assert native == reference(frame, scales)
    assert (native.flags, native.payload[5]) == (lacking(5), 0)


@pytest.mark.parametrize("frame", FRAMES)
def test_numbers_that_do_not_fit(frame: bytes) -> None:
    before = DECODER.decode_message(frame)
    text = next(text for text in (b"0.35260000", b"57211.15000000", b"0.35280000") if text in frame)
    for wrong, code in ((b"0.35261111", DecodeCode.INEXACT), (b"9" * 19 + b".0", DecodeCode.OVERFLOW)):
        found = check(frame.replace(b'"%s"' % text, b'"%s"' % wrong))
        if before.kind is MessageKind.TICKER:  # only that word is absent
            assert found.code is DecodeCode.OK
            assert found.flags & MessageFlag.UNFIT
            assert [a for a, b in zip(found.payload, before.payload, strict=True) if a != b] == [0]
            return
        place = before.kind in (MessageKind.TOP, MessageKind.DEPTH)  # of these it is still known
        left = (before.ts_event, before.update_id, before.first_id) if place else ()
        assert found == Decoded(code, before.kind, before.instrument, *left)
    # Of two faults the worse one is reported, wherever it stands, and malformed is worse than both.
    both = frame.replace(text, b"9" * 19 + b".0", 1).replace(b"00000", b"00001")
    assert check(both).code is DecodeCode.OVERFLOW
    assert check(both[:-1] + b" " + both[-1:]).code is DecodeCode.NOT_MINE
    for broken in (b"1e5", b"", b"-1.0", b".5", b"1.2.3", b"NaN", b"\xff"):
        assert check(frame.replace(text, broken)).code is DecodeCode.NOT_MINE
        assert reference(frame.replace(text, broken)).code is DecodeCode.MALFORMED


def test_unknown_symbols() -> None:
    for symbol, code in (
        ("FOOBAR", DecodeCode.UNKNOWN_SYMBOL),
        ("", DecodeCode.UNKNOWN_SYMBOL),
        ("NKNUSD", DecodeCode.UNKNOWN_SYMBOL),
        ("NKNUSDTT", DecodeCode.UNKNOWN_SYMBOL),
        ("A" * 24, DecodeCode.UNKNOWN_SYMBOL),
        ("A" * 25, DecodeCode.NOT_MINE),
        ("币安人生USDT", DecodeCode.NOT_MINE),  # the reference knows how it may be spelt
    ):
        frame = TOP.replace(b"NKNUSDT", symbol.encode())
        assert check(frame).code is code
        assert reference(frame).code is DecodeCode.UNKNOWN_SYMBOL


def test_a_repeated_key_is_left_to_the_reference() -> None:
    # JSON takes the last one: here a symbol that is ours comes after one that is not.
    frame = TOP.replace(b'"s":"NKNUSDT"', b'"s":"FOOBAR","s":"NKNUSDT"')
    assert check(frame).code is DecodeCode.NOT_MINE
    assert reference(frame) == reference(TOP)


def test_symbol_table() -> None:
    decoder = make_decoder({})
    names = [f"S{number}USDT" for number in range(3000)] + ["币安人生USDT", "X" * 24, "Y" * 25]
    for slot, name in enumerate(names):
        decoder.add_symbol(name, slot, 4, 0)

    def slot_of(name: str) -> int | None:
        found = decoder.decode_message(TOP.replace(b"NKNUSDT", name.encode()))
        return found.instrument if found.code is DecodeCode.OK else None

    assert [slot_of(name) for name in names[:-1]] == list(range(len(names) - 1))
    assert slot_of("Y" * 25) is None  # longer than the native decoder's keys
    for name in names[::2]:
        assert decoder.remove_symbol(name)
    assert not decoder.remove_symbol(names[0])
    assert [slot_of(name) for name in names[:3]] == [None, 1, None]
    decoder.add_symbol(names[1], 9999, 8, 0)  # a new slot after a change of exponents
    assert decoder.decode_message(TOP.replace(b"NKNUSDT", names[1].encode())).payload[0] == 35210000
    assert decoder.symbols[names[1]] == (9999, 8, 0)
    with pytest.raises(ValueError, match="exponents must be 0 to 18"):
        decoder.add_symbol("A", 0, 19, 0)
    for bad in ("", 'A"B', "A\\B", "A\0"):
        with pytest.raises(ValueError, match="cannot be a venue symbol"):
            decoder.add_symbol(bad, 0, 1, 1)
    # Keys are zero-padded: a text that only differs by zero bytes is another one.
    assert decoder.decode_message(TOP.replace(b"NKNUSDT", b"S3USDT\0")).code is DecodeCode.NOT_MINE


def test_flags_are_those_of_the_layout() -> None:
    assert {name: Flag[name].value for name in FLAGS} == FLAGS


@settings(max_examples=1500)
@given(mutated(FRAMES))
def test_mutated_frames(data: bytes) -> None:
    check(data)


@settings(max_examples=300)
@given(st.sampled_from(FRAMES), st.randoms(use_true_random=False), st.booleans())
def test_reordered_keys_and_escapes(frame: bytes, chance: random.Random, escaped: bool) -> None:
    SPOT.check_reordered(frame, chance, escaped)
