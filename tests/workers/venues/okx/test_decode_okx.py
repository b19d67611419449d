"""Native decoder == reference: on every captured message, on one of each shape and on mutated ones; forbidden
outcomes are in `workers.decode.normal.disagreement`."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from okx_kit import (
    ALIVE,
    BOOKS5,
    CAPTURED_SCALES,
    CAPTURED_SYMBOLS,
    DECODER,
    FOREIGN,
    FRAMES,
    FUNDING,
    INDEX,
    LEGACY,
    LEGACY_TRADE,
    LIQUIDATION,
    MARK,
    PARSER,
    SCALES,
    SNAPSHOT,
    SWAP_TICKER,
    SYMBOLS,
    TICKER,
    TOP,
    TRADE,
    TRADES,
    UPDATE,
    captured,
    check,
    make_decoder,
    reference,
)

from shm.layout import Flag
from workers.contract.protocols import MessageType
from workers.decode.normal import DecodeCode, Decoded, MessageFlag, MessageKind, Scale, disagreement
from workers.decode.normal import absent as lacking
from workers.venues.okx import schema
from workers.venues.okx._decode import Decoder
from workers.venues.okx.parser import OkxParser, normalise
from workers.venues.okx.venue import VENUE

OK, NOT_MINE, MALFORMED = DecodeCode.OK, DecodeCode.NOT_MINE, DecodeCode.MALFORMED


def padded(*values: int) -> tuple[int, ...]:
    return values + (0,) * (8 - len(values))


# -- captures -------------------------------------------------------------------------------------------
def test_every_captured_message_is_equal() -> None:
    decoder, parser = make_decoder(CAPTURED_SCALES), OkxParser(CAPTURED_SYMBOLS)
    kinds = []
    for frame in captured():
        native = decoder.decode_messages(frame)
        parsed = parser.parse(frame)
        assert disagreement(native, VENUE.data.forms(parsed.data, CAPTURED_SCALES)) is None, frame
        # The native decoder takes all market data of the capture itself: what it leaves are answers.
        assert (native[0].code is OK) == (parsed.message_type is not MessageType.SUBSCRIPTION_CONFIRM)
        kinds.append(native[0].kind)
    counted = {kind: kinds.count(kind) for kind in set(kinds)}
    assert counted == {
        MessageKind.DEPTH: 290,
        MessageKind.TRADE: 74,
        MessageKind.TICKER: 28,
        MessageKind.NONE: 18,
    }


def test_a_wrong_reference_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = normalise

    def sides_swapped(event: object, scales: dict[str, Scale]) -> Decoded:
        one = right(event, scales)
        return one._replace(bids=one.asks, asks=one.bids)

    def ids_off(event: object, scales: dict[str, Scale]) -> Decoded:
        one = right(event, scales)
        return one._replace(first_id=one.first_id + 1)

    for wrong in (sides_swapped, ids_off):
        assert disagreement(DECODER.decode_messages(UPDATE), [wrong(PARSER.parse(UPDATE).data, SCALES)])


# -- one by one -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_every_shape_is_decoded_natively(frame: bytes) -> None:
    assert {one.code for one in check(frame)} == {OK}


def test_books() -> None:
    whole = check(SNAPSHOT)
    assert whole == [
        Decoded(
            OK,
            MessageKind.DEPTH,
            7,
            1790394877200000000,
            32032594283,
            0,  # it follows -1
            int(MessageFlag.SNAPSHOT),
            bids=((12066, 28448458), (12065, 46716665)),
            asks=((12067, 90475897), (12068, 83806786)),
        )
    ]
    [change] = check(UPDATE)
    assert (change.update_id, change.first_id, change.flags) == (32032594315, 32032594283 + 1, 0)
    assert (change.bids, change.asks) == (((12066, 0),), ((12067, 60475897),))
    [alive] = check(ALIVE)
    assert (alive.bids, alive.asks) == ((), ())
    assert alive.first_id == alive.update_id + 1
    # The wire of 2022: a checksum, no ids.
    [old] = check(LEGACY)
    assert (old.update_id, old.first_id, old.flags) == (0, 0, int(MessageFlag.CHECKED))
    assert old.payload[0] == -914047754
    # The order of the docs' examples.
    swapped = SNAPSHOT.replace(b'"seqId":32032594283,"prevSeqId":-1', b'"prevSeqId":-1,"seqId":32032594283')
    assert check(swapped) == whole
    # Snapshots have been seen without the id that they follow.
    assert check(SNAPSHOT.replace(b',"prevSeqId":-1', b"")) == whole


def test_the_best_five_are_a_snapshot() -> None:
    [book] = check(BOOKS5)
    assert (book.flags, book.update_id) == (int(MessageFlag.SNAPSHOT), 363996337)
    assert (book.bids, book.asks) == (((1110, 5774525),), ((1111, 5515400),))
    assert (
        check(BOOKS5.replace(b'"instId":"BTC-USDT-SWAP","ts"', b'"instId":"BTC-USDT","ts"'))[0].code
        is NOT_MINE
    )


def test_ids_that_are_none() -> None:
    for wrong in (
        UPDATE.replace(b'"prevSeqId":32032594283', b'"prevSeqId":-2'),
        UPDATE.replace(b'"seqId":32032594315,', b""),  # an id that is followed, and none of its own
        UPDATE.replace(b'"seqId":32032594315', b'"seqId":-1'),
        UPDATE.replace(b'"checksum":0', b'"checksum":"0"'),
        UPDATE.replace(b'"prevSeqId":32032594283', b'"prevSeqId":9223372036854775807'),
        UPDATE.replace(b'"update"', b'"partial"'),
    ):
        assert check(wrong)[0].code is NOT_MINE
        assert reference(wrong)[0].code is MALFORMED, wrong
    # Its place in the chain is unknown: the state machine decides.
    [bare] = check(UPDATE.replace(b',"prevSeqId":32032594283', b""))
    assert (bare.code, bare.first_id) == (OK, 0)
    # A key twice is JSON's to judge: the last one counts.
    twice = UPDATE.replace(b'"checksum":0', b'"checksum":0,"checksum":7')
    assert check(twice)[0].code is NOT_MINE
    assert reference(twice)[0].payload[0] == 7


def test_tops() -> None:
    assert check(TOP) == [
        Decoded(
            OK,
            MessageKind.TOP,
            7,
            1790071390505000000,
            4153112115,
            payload=padded(11731, 4419160, 11736, 62361090),
        )
    ]
    no_bid = TOP.replace(b'[["117.31","4.41916","0","1"]]', b"[]")
    no_ask = TOP.replace(b'[["117.36","62.36109","0","3"]]', b"[]")
    assert check(no_bid)[0].flags == Flag.NO_BID
    assert check(no_bid)[0].payload == padded(0, 0, 11736, 62361090)
    assert check(no_ask)[0].flags == Flag.NO_ASK
    assert check(TOP.replace(b',"seqId":4153112115', b""))[0].update_id == 0
    # A price without size is no quote.
    half = TOP.replace(b'"4.41916"', b'"0"')
    assert check(half)[0].code is NOT_MINE
    assert reference(half)[0].code is MALFORMED
    # With a number that does not fit, that is what is reported, on whichever side it stands.
    for wrong in (b'"62.36109"', b'"117.36"'):
        assert check(half.replace(wrong, b'"0.' + b"3" * 12 + b'"'))[0].code is DecodeCode.INEXACT
    two = TOP.replace(b'"asks":[', b'"asks":[["117.35","1","0","1"],')
    assert check(two)[0].code is NOT_MINE
    assert reference(two)[0].payload[2] == 11735


def test_trades() -> None:
    [one] = check(TRADE)
    assert one == Decoded(
        OK,
        MessageKind.TRADE,
        0,
        1788118931677000000,
        1051102132,
        1051102132,
        int(Flag.SELL),
        padded(788088, 504905, 0),
    )
    sold, bought = check(TRADES)
    assert (sold.flags, sold.payload[:3]) == (int(Flag.SELL), (422199, 1200, 3))
    assert (bought.flags, bought.update_id, bought.payload[:3]) == (0, 130639475, (422200, 150, 0))
    [old] = check(LEGACY_TRADE)
    assert (old.instrument, old.payload[:3]) == (4, (221880, 1, 0))
    for wrong in (
        TRADE.replace(b'"sell"', b'"none"'),
        TRADE.replace(b'"1051102132"', b'"10511x"'),
        TRADE.replace(b'"ts":"1788118931677"', b'"ts":""'),
        TRADE.replace(b'"px":"78808.8"', b'"px":""'),
    ):
        assert check(wrong)[0].code is NOT_MINE
        assert reference(wrong)[0].code is MALFORMED


def test_one_wrong_trade_of_several_is_all_that_is_wrong() -> None:
    fine = TRADES.replace(b'"px":"42220"', b'"px":"42220.123"')
    assert [one.code for one in check(fine)] == [OK, DecodeCode.INEXACT]
    broken = TRADES.replace(b'"side":"buy"', b'"side":"?"')
    assert [one.code for one in check(broken)] == [NOT_MINE]
    assert [one.code for one in reference(broken)] == [OK, MALFORMED]


def test_tickers() -> None:
    [spot] = check(TICKER)
    prices = (1154500, 1136255, 1164000, 1129000)
    assert spot.payload == padded(*prices, 771562528481, 887468830390342052)
    assert (spot.kind, spot.ts_event, spot.flags) == (MessageKind.TICKER, 1761583471970000000, lacking(6, 7))
    [swap] = check(SWAP_TICKER)  # of a derivative, contracts; and the base currency's volume is none of ours
    assert (swap.payload, swap.flags) == (padded(*prices, 771562), lacking(5, 6, 7))
    # Venue: "" is no number. Nothing has traded yet.
    empty = re.sub(rb'("(?:last|open24h|high24h|low24h|volCcy24h|vol24h)"):"[^"]*"', rb'\1:""', TICKER)
    [bare] = check(empty)
    assert (bare.code, bare.payload, bare.flags) == (OK, padded(), lacking(*range(8)))
    wide = TICKER.replace(b"887468830.390342052", b"887468830.3903420521")
    assert check(wide)[0].flags == lacking(5, 6, 7)
    for key, word in (("last", 0), ("open24h", 1), ("high24h", 2), ("low24h", 3), ("vol24h", 4)):
        for text, fits in (("0", True), ("", True), ("1.0" + "0" * 22 + "1", False), ("9" * 30, False)):
            [one] = check(re.sub(rb'"%s":"[^"]*"' % key.encode(), f'"{key}":"{text}"'.encode(), TICKER))
            gone = () if word == 4 and text == "0" else (word,)
            assert one.flags == lacking(*gone, 6, 7) | (0 if fits else MessageFlag.UNFIT)
            assert one.payload[word] == 0
    assert check(TICKER.replace(b"887468830.390342052", b"x"))[0].code is NOT_MINE


def test_marks() -> None:
    [mark] = check(MARK)
    assert (mark.flags, mark.payload, mark.instrument) == (int(MessageFlag.MARK), padded(8367980000000), 3)
    documented = MARK.replace(
        b'"instId":"BTC-USDT-SWAP","instType":"SWAP","markPx"',
        b'"instType":"SWAP","instId":"BTC-USDT-SWAP","markPx"',
    )
    assert check(documented) == [mark]
    [index] = check(INDEX)
    assert (index.flags, index.payload, index.instrument) == (
        int(MessageFlag.INDEX),
        padded(0, 8370010000000),
        3,
    )
    opened, high, low = b'"open24h":"84180.1"', b'"high24h":"85258.8"', b'"low24h":"83174.7"'
    older = INDEX.replace(b",".join([high, low, opened]), b",".join([opened, high, low]))
    assert older != INDEX
    assert check(older) == [index]
    [funding] = check(FUNDING)
    assert funding.flags == MessageFlag.RATE | MessageFlag.NEXT
    assert funding.payload == padded(
        0, 0, 66332286, 1788508800000000000
    )  # the coming one, not nextFundingTime
    [negative] = check(FUNDING.replace(b'"0.0000663322867090"', b'"-0.00375"'))
    assert negative.payload[2] == -3_750_000_000
    for wrong in (MARK.replace(b"83679.8", b"0"), INDEX.replace(b"83700.1", b"0")):
        assert check(wrong)[0].code is NOT_MINE
        assert reference(wrong)[0].code is MALFORMED


def test_mark_prices_are_exact_whatever_the_tick() -> None:
    """A tick of one decimal; the same digits of a trade do not fit."""
    [mark] = check(MARK.replace(b"83679.8", b"83679.81234567"))
    [index] = check(INDEX.replace(b"83700.1", b"83700.12345678"))
    [closed] = check(LIQUIDATION.replace(b"82655.7", b"82655.71234567"))
    assert (mark.payload[0], index.payload[1], closed.payload[0]) == (
        8367981234567,
        8370012345678,
        8265571234567,
    )
    assert check(TRADES.replace(b"42219.9", b"42219.91"))[0].code is DecodeCode.INEXACT


def test_funding_that_lacks_something() -> None:
    """For the reference alone: the wire of 2022, and numbers that are not there."""
    old = (
        b'{"arg":{"channel":"funding-rate","instId":"BTC-USDT-SWAP"},"data":[{"fundingRate":"0.00000915",'
        b'"fundingTime":"1642147200000","instId":"BTC-USDT-SWAP","instType":"SWAP","nextFundingRate":"0.00037"}]}'
    )
    [one] = reference(old)
    assert (one.ts_event, one.payload[2:4]) == (0, (9150000, 1642147200000000000))
    [rate] = reference(old.replace(b'"1642147200000"', b'""'))
    assert rate.flags == MessageFlag.RATE
    [due] = reference(old.replace(b'"0.00000915"', b'""'))
    assert due.flags == MessageFlag.NEXT
    for wrong in (b'"1e-5"', b'"--1"', b'"0."', b'"."', b'"99999999999"'):
        assert reference(old.replace(b'"0.00000915"', wrong))[0].code is MALFORMED, wrong
    assert (
        reference(old.replace(b'"0.00000915"', b'""').replace(b'"1642147200000"', b'""'))[0].code is MALFORMED
    )


def test_an_index_is_that_of_every_derivative_on_it() -> None:
    dated = {**SYMBOLS, "BTC/USDT:USDT-261225": "BTC-USDT-261225"}
    scales = {**SCALES, "BTC-USDT-261225": Scale(9, 1, 2)}
    both = VENUE.data.forms(OkxParser(dated).parse(INDEX).data, scales)
    assert sorted(one.instrument for one in both) == [3, 9]
    decoder = make_decoder(scales)  # one frame for several instruments is the reference's
    assert decoder.decode_messages(INDEX)[0].code is NOT_MINE
    assert decoder.remove_symbol("BTC-USDT-261225")
    assert decoder.decode_messages(INDEX)[0].code is OK
    # It is about no carried instrument; the spot instrument of that name is not meant.
    foreign = INDEX.replace(b"BTC-USDT", b"SOL-USDT")
    assert check(foreign)[0].code is NOT_MINE
    assert PARSER.parse(foreign).message_type is MessageType.OTHER


def test_liquidations() -> None:
    [one] = check(LIQUIDATION)
    assert one == Decoded(
        *(OK, MessageKind.LIQUIDATION, 3, 1791565600771000000),
        flags=int(Flag.SELL),
        payload=padded(8265570000000, 855),
    )
    # Others' are left out, and when nothing is left it is no news.
    entry = LIQUIDATION[LIQUIDATION.index(b'{"details"') : -2]
    foreign = entry.replace(b"BTC-USDT", b"CELO-USDT")
    detail = entry[entry.index(b'{"bkLoss"') : entry.index(b"],")]
    bought = detail.replace(b'"sell"', b'"buy"')
    several = LIQUIDATION.replace(entry, foreign + b"," + entry.replace(detail, detail + b"," + bought))
    first, second = check(several)
    assert (first, second.flags) == (one, 0)
    assert check(FOREIGN)[0].code is NOT_MINE
    assert PARSER.parse(FOREIGN).message_type is MessageType.OTHER
    assert PARSER.parse(FOREIGN).data is None
    assert check(LIQUIDATION.replace(b'"sell"', b'"none"'))[0].code is NOT_MINE


def test_a_trade_has_a_price() -> None:
    """A price of 0 stands for "no price" in shared memory: it is malformed, of a liquidation too."""
    for frame in (TRADE.replace(b"78808.8", b"0"), LIQUIDATION.replace(b"82655.7", b"0.0")):
        assert check(frame)[0].code is NOT_MINE
        assert reference(frame)[0].code is DecodeCode.MALFORMED
    assert reference(LIQUIDATION.replace(b'"sz":"8.55"', b'"sz":"0"'))[0].code is DecodeCode.MALFORMED
    assert check(LIQUIDATION.replace(b'"sz":"8.55"', b'"sz":"0"'))[0].code is NOT_MINE


def test_numbers_that_do_not_fit() -> None:
    for frame, code in (
        (UPDATE.replace(b"120.67", b"120.675"), DecodeCode.INEXACT),
        (UPDATE.replace(b"60.475897", b"60.4758971"), DecodeCode.INEXACT),
        (UPDATE.replace(b"60.475897", b"9223372036855"), DecodeCode.OVERFLOW),
        (TOP.replace(b"117.36", b"117.365"), DecodeCode.INEXACT),
        (TRADE.replace(b"78808.8", b"78808.88"), DecodeCode.INEXACT),
        (MARK.replace(b"83679.8", b"83679.850000001"), DecodeCode.INEXACT),
        (INDEX.replace(b"83700.1", b"83700.120000001"), DecodeCode.INEXACT),
        (LIQUIDATION.replace(b"82655.7", b"82655.700000001"), DecodeCode.INEXACT),
        (LIQUIDATION.replace(b"8.55", b"8.555"), DecodeCode.INEXACT),
    ):
        [one] = check(frame)
        assert one.code is code
        assert one.kind is not MessageKind.NONE


@pytest.mark.parametrize("name", [name for name in FRAMES if name not in ("index", "liquidation")])
def test_unknown_symbols(name: str) -> None:
    frame = FRAMES[name]
    for symbol in SYMBOLS.values():
        frame = frame.replace(f'"{symbol}"'.encode(), b'"NOPE-USDT"')
    assert {one.code for one in check(frame)} == {DecodeCode.UNKNOWN_SYMBOL}


def test_two_books_in_one_frame_are_the_references() -> None:
    entry = UPDATE[UPDATE.index(b'{"asks"') : -2]
    both = UPDATE.replace(entry, entry + b"," + entry)
    assert check(both)[0].code is NOT_MINE
    assert [one.kind for one in reference(both)] == [MessageKind.DEPTH] * 2


def test_a_zero_price_is_malformed() -> None:
    zero = UPDATE.replace(b'"120.66"', b'"0"')
    assert check(zero)[0].code is NOT_MINE
    assert reference(zero)[0].code is MALFORMED


def test_levels_are_bounded() -> None:
    decoder = make_decoder(max_levels=1)
    assert decoder.decode_messages(UPDATE)[0].code is OK
    assert decoder.decode_messages(SNAPSHOT)[0].code is NOT_MINE
    assert decoder.too_many_levels == 1


def test_repr_and_bench() -> None:
    assert repr(DECODER) == "okx.Decoder(4 symbols, too_many_levels=0)"
    spent, ok = Decoder().bench_loop([UPDATE, TRADES], 10)
    assert spent > 0
    assert ok == 0


# -- fuzz -----------------------------------------------------------------------------------------------
@settings(max_examples=400)
@given(st.sampled_from(sorted(FRAMES)), st.randoms(use_true_random=False))
def test_mutated_frames_are_equal(name: str, chance: random.Random) -> None:
    frame = bytearray(FRAMES[name])
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(frame))
        match chance.randrange(4):
            case 0:
                frame[at] = chance.choice(b'0123456789.-"[]{},:aex \\')
            case 1:
                del frame[at : at + chance.randint(1, 6)]
            case 2:
                frame[at:at] = chance.choice([b"0", b"-", b'"', b"1", b".5", b",", b"[]", b" ", b"1" * 20])
            case _:
                other = FRAMES[chance.choice(sorted(FRAMES))]
                piece = chance.randrange(len(other))
                frame[at : at + 8] = other[piece : piece + 8]
    check(bytes(frame))


NUMBER = st.from_regex(rb"[0-9]{0,19}(\.[0-9]{0,12})?", fullmatch=True)


@given(NUMBER, NUMBER, st.sampled_from(sorted(FRAMES)))
def test_numbers_are_equal(first: bytes, second: bytes, name: str) -> None:
    numbers = list(re.finditer(rb'"([0-9]+(?:\.[0-9]+)?)"', FRAMES[name]))
    frame = FRAMES[name]
    for place, number in ((numbers[-1], second), (numbers[0], first)):
        frame = frame[: place.start(1)] + number + frame[place.end(1) :]
    check(frame)


@given(st.binary(max_size=80))
def test_garbage_is_never_taken(data: bytes) -> None:
    assert DECODER.decode_messages(data)[0].code is NOT_MINE
    assert DECODER.decode_messages(b'{"arg":{"channel":"books","instId":"' + data)[0].code in (
        NOT_MINE,
        OK,
        DecodeCode.UNKNOWN_SYMBOL,
    )


def test_every_prefix_is_left_alone() -> None:
    for frame in FRAMES.values():
        for size in range(len(frame)):
            assert DECODER.decode_messages(frame[:size])[0].code is NOT_MINE, frame[:size]
        assert DECODER.decode_messages(frame + b" ")[0].code is NOT_MINE


def test_the_normal_form_of_what_is_no_market_data() -> None:
    assert normalise(None, SCALES).code is NOT_MINE
    assert normalise(schema.Malformed("x"), SCALES).code is MALFORMED
