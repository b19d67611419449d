"""Binance USD-M futures: native decoder == reference, on each shape that the market sends and on mutated
ones; what all markets share is in `test_decode_binance.py`."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shm.layout import Flag
from tests.workers.venues.binance.decoder_kit import mutated
from tests.workers.venues.binance_futures.futures_frames import (
    AGG_TRADE,
    AGG_TRADE_DOCUMENTED,
    DEPTH,
    FUTURES,
    LIQUIDATION,
    MARK,
    MARK_DOCUMENTED,
    OLD,
    SCALES,
    TICKER,
    TOP,
    TOP_DOCUMENTED,
    TRADE,
    of_2026,
)
from workers.contract.protocols import MessageType
from workers.decode.normal import DecodeCode, Decoded, MessageFlag, MessageKind, Scale
from workers.decode.normal import absent as lacking
from workers.venues.binance.parser import BinanceParser
from workers.venues.binance_futures import schema
from workers.venues.binance_futures.parser import DIALECT, normalise

FRAMES = FUTURES.frames
make_decoder, reference, check = FUTURES.make_decoder, FUTURES.reference, FUTURES.check
DECODER = make_decoder()
PARSER = BinanceParser({symbol: symbol for symbol in SCALES}, DIALECT)


def test_a_wrong_reference_is_noticed() -> None:
    scales, frames = FUTURES.capture(FUTURES.small)

    def sides_swapped(event: object, scales: dict[str, Scale]) -> Decoded:
        right = normalise(event, scales)
        return right._replace(bids=right.asks, asks=right.bids)

    def first_of_the_event(event: object, scales: dict[str, Scale]) -> Decoded:
        right = normalise(event, scales)
        return right._replace(first_id=event.first_id) if isinstance(event, schema.DepthUpdate) else right

    def rate_unsigned(event: object, scales: dict[str, Scale]) -> Decoded:
        right = normalise(event, scales)
        return right._replace(payload=tuple(map(abs, right.payload)))

    def rounded(event: object, scales: dict[str, Scale]) -> Decoded:
        return normalise(event, {name: scale._replace(price_exp=0) for name, scale in scales.items()})

    for wrong in (sides_swapped, first_of_the_event, rate_unsigned, rounded):
        assert FUTURES.differences(frames, scales, wrong)[0], wrong.__name__


# -- one by one -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("old", OLD, ids=lambda event: str(json.loads(event)["e"]))
def test_the_fields_of_2026_change_nothing_and_are_taken_natively(old: bytes) -> None:
    before = check(old)
    assert before.code is DecodeCode.OK
    for frame in (of_2026(old), FUTURES.combined(old), FUTURES.combined(of_2026(old))):
        assert check(frame) == before


def test_top() -> None:
    assert check(TOP) == Decoded(
        DecodeCode.OK,
        MessageKind.TOP,
        0,
        1626992741012000000,
        600859600576,
        payload=(7611, 2, 7612, 297, 0, 0, 0, 0),
    )
    assert check(TOP_DOCUMENTED).ts_event == 1568014460891000000
    no_bid = TOP.replace(b'"7.6110","B":"2"', b'"0","B":"0"')
    assert check(no_bid).flags == Flag.NO_BID
    half = TOP.replace(b'"B":"2"', b'"B":"0"')  # a price without size is no quote
    assert check(half).code is DecodeCode.NOT_MINE
    assert reference(half).code is DecodeCode.MALFORMED


def test_depth_follows_the_id_that_it_names() -> None:
    assert check(DEPTH) == Decoded(
        DecodeCode.OK,
        MessageKind.DEPTH,
        0,
        1626992741037000000,
        600859600917,
        600859598062,
        bids=((7504, 813), (7609, 0)),
        asks=((7615, 1563),),
    )
    largest = DEPTH.replace(b"600859598061", b"9223372036854775807")
    assert check(largest).first_id == 2**63
    first = check(DEPTH.replace(b"600859598061", b"-1"))  # of a stream: it follows none
    assert (first.code, first.first_id, first.update_id) == (DecodeCode.OK, 0, 600859600917)
    for none in (b"-2", b"-12", b"-", b"--1"):
        assert check(DEPTH.replace(b"600859598061", none)).code is DecodeCode.NOT_MINE
        assert reference(DEPTH.replace(b"600859598061", none)).code is DecodeCode.MALFORMED
    assert check(DEPTH.replace(b'"pu":600859598061,', b"")).code is DecodeCode.NOT_MINE
    assert reference(DEPTH.replace(b'"pu":600859598061,', b"")).code is DecodeCode.MALFORMED


def test_trades() -> None:
    bought = check(TRADE)
    assert bought == Decoded(
        DecodeCode.OK,
        MessageKind.TRADE,
        7,
        1676160600276000000,
        3280342045,
        3280342045,
        0,
        (218451000, 1, 0, 0, 0, 0, 0, 0),
    )
    assert check(TRADE.replace(b'"m":false', b'"m":true')).flags == Flag.SELL
    aggregated = check(AGG_TRADE)
    assert (aggregated.update_id, aggregated.first_id, aggregated.flags) == (16599292, 23961322, Flag.SELL)
    assert aggregated.payload[:3] == (7611, 10, 3)
    assert check(AGG_TRADE_DOCUMENTED).payload[:3] == (10, 100000, 6)
    assert check(AGG_TRADE.replace(b'"l":23961324', b'"l":1')).code is DecodeCode.NOT_MINE


@pytest.mark.parametrize("kind", [b"INSURANCE_FUND", b"ADL", b"NA"])
def test_trades_outside_of_the_order_book_are_ignored(kind: bytes) -> None:
    """Booked as trades, at prices that nobody could trade at: neither published nor malformed."""
    frame = TRADE.replace(b'"X":"MARKET"', b'"X":"%s"' % kind)
    nothing = frame.replace(b"21845.10", b"0").replace(b"0.001", b"0")
    for each in (frame, nothing):
        assert check(each).code is DecodeCode.NOT_MINE
        assert reference(each).code is DecodeCode.NOT_MINE


def test_ticker() -> None:
    # 88754314.20 at 4 + 3 decimals.
    words = (
        *(774900000, 771345000, 777716000, 755880000),
        *(115619606, 887543142000000, 2798861, 1787405880000000000),
    )
    assert check(TICKER) == Decoded(DecodeCode.OK, MessageKind.TICKER, 7, 1787492324171000000, payload=words)
    absent = check(TICKER.replace(b"88754314.20", b"8875431314200.20"))
    assert (absent.code, absent.flags, absent.payload[5]) == (DecodeCode.OK, lacking(5), 0)
    untraded = check(TICKER.replace(b'"c":"77490.00"', b'"c":"0.00"').replace(b'"o":"77134.50"', b'"o":""'))
    assert (untraded.flags, untraded.payload[:2]) == (lacking(0, 1), (0, 0))
    vast = check(TICKER.replace(b'"v":"115619.606"', b'"v":"136651248485429227479402823307.68"'))
    assert (vast.code, vast.flags, vast.payload[4]) == (DecodeCode.OK, lacking(4) | MessageFlag.UNFIT, 0)


def test_a_trade_has_a_price() -> None:
    """A price of 0 stands for "no price" in shared memory: it is malformed, in every kind of trade."""
    for frame, price in ((TRADE, b"21845.10"), (AGG_TRADE, b"7.61100"), (LIQUIDATION, b"82651.90")):
        for zero in (b"0", b"0.00"):
            assert check(frame.replace(b'"%s"' % price, b'"%s"' % zero)).code is DecodeCode.NOT_MINE
            assert reference(frame.replace(b'"%s"' % price, b'"%s"' % zero)).code is DecodeCode.MALFORMED


def test_kinds_of_trades() -> None:
    """Kind: an enum value that is new, dropped in silence (`X` was "RPI" in 2026-09)."""
    plain = check(TRADE)
    rpi = TRADE.replace(b'"X":"MARKET"', b'"X":"RPI"')
    assert check(rpi) == plain
    for new in (b"BLOCK", b""):
        frame = TRADE.replace(b'"X":"MARKET"', b'"X":"%s"' % new)
        assert check(frame).code is DecodeCode.NOT_MINE
        assert reference(frame) == plain._replace(flags=plain.flags | MessageFlag.UNKNOWN)
    for booked in (b"INSURANCE_FUND", b"ADL", b"NA"):
        frame = TRADE.replace(b'"X":"MARKET"', b'"X":"%s"' % booked)
        assert reference(frame).code is DecodeCode.NOT_MINE
        assert PARSER.parse(frame).message_type is MessageType.OTHER  # known, and none of the market's


def test_a_missing_mark_price_has_no_flag() -> None:
    rest = MessageFlag.RATE | MessageFlag.NEXT
    for none in (b"0.00000000", b"0", b""):
        frame = MARK.replace(b'"p":"68005.80802899"', b'"p":"%s"' % none)
        assert frame != MARK
        assert reference(frame).flags == rest | MessageFlag.INDEX
        check(frame)


def test_mark() -> None:
    every = MessageFlag.MARK | MessageFlag.INDEX | MessageFlag.RATE | MessageFlag.NEXT
    assert check(MARK) == Decoded(
        DecodeCode.OK,
        MessageKind.MARK,
        7,
        1771263510000000000,
        flags=int(every),
        payload=(6800580802899, 6803514043478, -44350000, 1771286400000000000, 0, 0, 0, 0),
    )
    documented = check(MARK_DOCUMENTED)
    assert (documented.payload[1], documented.payload[2]) == (1178462659091, 381670000)
    # A contract with a delivery date pays no funding.
    dated = check(MARK.replace(b'"-0.00004435","T":1771286400000', b'"","T":0'))
    assert (dated.flags, dated.payload[2:4]) == (MessageFlag.MARK | MessageFlag.INDEX, (0, 0))
    for rate in (b"0.0000000000001", b"--1", b"-", b"1e-4", b"9" * 20):
        frame = MARK.replace(b"-0.00004435", rate)
        assert check(frame).code is DecodeCode.NOT_MINE
        assert reference(frame).code is DecodeCode.MALFORMED
    assert check(MARK.replace(b"-0.00004435", b"-0.0")).payload[2] == 0


def test_mark_prices_are_exact_whatever_the_tick() -> None:
    """A tick of one decimal; the same digits of a trade do not fit."""
    for event in (MARK, LIQUIDATION):
        dated = event.replace(b'"BTCUSDT"', b'"BTCUSDT_261225"').replace(b"82651.90", b"82651.90123456")
        decoded = check(dated)
        assert (decoded.code, decoded.instrument) == (DecodeCode.OK, 3)
        assert decoded.payload[0] in (6800580802899, 8265190123456)
    traded = TRADE.replace(b'"BTCUSDT"', b'"BTCUSDT_261225"')
    assert check(traded).code is DecodeCode.OK
    assert check(traded.replace(b"21845.10", b"21845.12")).code is DecodeCode.INEXACT


def test_a_days_volume_in_dollars_has_room() -> None:
    """As on the busiest days: 30 billion of BTC, at its tick."""
    busy = TICKER.replace(b'"BTCUSDT"', b'"BTCUSDT_261225"').replace(b"88754314.20", b"30875431420.37")
    decoded = check(busy)
    assert (decoded.flags, decoded.payload[5]) == (0, 308_754_314_203_700)


def test_liquidation() -> None:
    assert check(LIQUIDATION) == Decoded(
        DecodeCode.OK,
        MessageKind.LIQUIDATION,
        7,
        1568014460893000000,
        flags=int(Flag.SELL),
        payload=(8265190000000, 190, 0, 0, 0, 0, 0, 0),
    )
    assert check(LIQUIDATION.replace(b"SELL", b"BUY")).flags == 0
    ahead = LIQUIDATION.replace(b',"o":{', b',"st":1,"o":{', 1)
    assert check(ahead) == check(LIQUIDATION)
    for old, new in ((b"SELL", b"HOLD"), (b'"z":"0.190"', b'"z":"0"'), (b'"ap":"82651.90"', b'"ap":"0.0"')):
        frame = LIQUIDATION.replace(old, new)
        assert check(frame).code is DecodeCode.NOT_MINE
        assert reference(frame).code is DecodeCode.MALFORMED


def unfit(before: Decoded, code: DecodeCode) -> Decoded:
    """What is left of it when a number does not fit; of a ticker see below."""
    if before.kind in (MessageKind.TOP, MessageKind.DEPTH):
        flags = before.flags & MessageFlag.SNAPSHOT
        return before._replace(code=code, flags=flags, payload=(0,) * 8, bids=(), asks=())
    return Decoded(code, before.kind, before.instrument)


@pytest.mark.parametrize("frame", FRAMES)
def test_numbers_that_do_not_fit(frame: bytes) -> None:
    before = DECODER.decode_message(frame)
    texts = (b"7.6110", b"25.35190000", b"7.5040", b"21845.10", b"7.61100", b"77490.00", b"0.001")
    texts += (b"68005.80802899", b"11794.15000000", b"82651.90")
    text = next(text for text in texts if b'"%s"' % text in frame)
    for wrong, code in ((b"0.352611111", DecodeCode.INEXACT), (b"9" * 19 + b".0", DecodeCode.OVERFLOW)):
        found = check(frame.replace(b'"%s"' % text, b'"%s"' % wrong))
        if before.kind is MessageKind.TICKER:  # only that word is absent
            assert found.code is DecodeCode.OK
            assert found.flags & MessageFlag.UNFIT
            assert [a for a, b in zip(found.payload, before.payload, strict=True) if a != b] == [0]
        else:
            assert found == unfit(before, code)
    # An empty text in a ticker or a mark means that there is no value.
    none = () if before.kind in (MessageKind.TICKER, MessageKind.MARK) else (b"",)
    for broken in (*none, b"1e5", b"-1.0", b".5", b"1.2.3", b"NaN", b"\xff"):
        twisted = frame.replace(b'"%s"' % text, b'"%s"' % broken)
        assert check(twisted).code is DecodeCode.NOT_MINE
        assert reference(twisted).code is DecodeCode.MALFORMED


def test_unknown_symbols() -> None:
    for event in OLD:
        name = json.loads(event).get("s") or json.loads(event)["o"]["s"]
        frame = event.replace(name.encode(), b"FOOBAR")
        assert check(frame).code is DecodeCode.UNKNOWN_SYMBOL
        assert reference(frame).code is DecodeCode.UNKNOWN_SYMBOL
        wide = event.replace(name.encode(), "币安人生USDT".encode())
        assert check(wide).code is DecodeCode.NOT_MINE
    assert check(MARK.replace(b'"BTCUSDT"', b'"BTCUSDT_261225"')).instrument == 3


@settings(max_examples=3000)
@given(mutated(FRAMES))
def test_mutated_frames(data: bytes) -> None:
    check(data)


@settings(max_examples=500)
@given(st.sampled_from(FRAMES), st.randoms(use_true_random=False), st.booleans())
def test_reordered_keys_and_escapes(frame: bytes, chance: random.Random, escaped: bool) -> None:
    FUTURES.check_reordered(frame, chance, escaped)
