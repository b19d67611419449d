"""Native decoder == reference (protobuf's own runtime): on every captured frame and on frames of our own;
forbidden outcomes are in `workers.decode.normal.disagreement`."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from shm.layout import Flag
from tests.workers.venues.mexc_spot.mexc_kit import (
    DEALS,
    DEALS_BODY,
    DEALS_EVENT,
    DECODER,
    DEPTH,
    DEPTH_EVENT,
    FRAMES,
    PARSER,
    SCALES,
    SENT,
    TICKER,
    TOP,
    TOP_BODY,
    TOP_CHANNEL,
    TRADES,
    check,
    frame,
    left,
    make_decoder,
    reference,
)
from workers.contract.protocols import MessageType
from workers.decode.decimals import to_mantissa
from workers.decode.normal import DecodeCode, Decoded, MessageFlag, MessageKind, Scale, disagreement
from workers.decode.normal import absent as lacking
from workers.sim.mexc_spot import payloads
from workers.venues.mexc_spot import proto
from workers.venues.mexc_spot.parser import normalise, trade_hash

ROOT = Path(__file__).resolve().parents[4]
EXPECTED = ROOT.parent / "shared/captures/mexc_spot/expected.jsonl"


# -- the capture ---------------------------------------------------------------------------------------
def captured() -> list[tuple[bytes, dict[str, Any]]]:
    if not EXPECTED.exists():
        pytest.skip(f"{EXPECTED} is not here")
    rows = [json.loads(line) for line in EXPECTED.read_text().splitlines()]
    return [(base64.b64decode(row["b64"]), row["expect"]) for row in rows]


def plain(message: Any) -> Any:
    """A message of the runtime as `expected.jsonl` writes it: fields that are set, levels as pairs."""
    if message.DESCRIPTOR.name == "Level":
        return [message.price, message.quantity]
    return {
        field.name: [plain(each) for each in value]
        if field.is_repeated
        else plain(value)
        if field.message_type is not None
        else value
        for field, value in message.ListFields()
    }


def test_every_captured_frame_is_what_it_was_decoded_to_and_is_written_again_byte_by_byte() -> None:
    rows = captured()
    assert len(rows) == 6
    for data, expect in rows:
        message = proto.Wrapper.FromString(data)
        assert plain(message) == expect
        assert message.SerializeToString() == data


def test_every_captured_frame_is_equal() -> None:
    taken = []
    for data, expect in captured():
        native = check(data)
        if native[0].code is DecodeCode.NOT_MINE:
            assert {"publicLimitDepths", "publicSpotKline"} & expect.keys()
            assert PARSER.parse(data).message_type is MessageType.OTHER
        else:
            taken.append((expect, native))
    assert [[each.kind for each in native] for _, native in taken] == [
        [MessageKind.TOP],
        [MessageKind.TOP],
        [MessageKind.TRADE, MessageKind.TRADE],
    ]
    for expect, native in taken:
        if "publicAggreBookTicker" in expect:
            body, scale = expect["publicAggreBookTicker"], SCALES[expect["symbol"]]
            names = (("bidPrice", 1), ("bidQuantity", 2), ("askPrice", 1), ("askQuantity", 2))
            values = tuple(to_mantissa(body[name], scale[which])[1] for name, which in names)
            assert native[0].payload[:4] == values
            assert (native[0].update_id, native[0].ts_event) == (
                int(body["version"]),
                expect["sendTime"] * 10**6,
            )
        else:
            for deal, each in zip(expect["publicAggreDeals"]["deals"], native, strict=True):
                assert each.update_id == trade_hash(deal["tradeId"])
                assert each.ts_event == deal["time"] * 10**6
                assert bool(each.flags & Flag.SELL) == (deal["tradeType"] == 2)


def test_a_wrong_reference_is_noticed() -> None:
    def differs(twin: Any) -> bool:
        frames = [data for data, _ in captured()] + FRAMES
        return any(
            disagreement(
                DECODER.decode_messages(data),
                [twin(each) for each in reference(data)],
            )
            for data in frames
        )

    assert not differs(lambda right: right)
    assert differs(lambda right: right._replace(bids=right.asks, asks=right.bids))
    assert differs(lambda right: right._replace(update_id=right.update_id + 1))
    assert differs(lambda right: right._replace(first_id=right.first_id + 1))
    assert differs(lambda right: right._replace(flags=right.flags ^ Flag.SELL))


def test_the_simulated_venues_writer_writes_what_the_venue_has_written() -> None:
    """The frames of these tests are of the captured shape, byte by byte."""
    for data, expect in captured():
        if body := expect.get("publicAggreBookTicker"):
            made = payloads.book_ticker(
                (body["bidPrice"], body["bidQuantity"]),
                (body["askPrice"], body["askQuantity"]),
                int(body["version"]),
                body["lastOrderCreateTime"],
            )
            number = payloads.BOOK_TICKER
        elif body := expect.get("publicAggreDeals"):
            each = [
                payloads.deal(d["price"], d["quantity"], d["tradeType"] == 2, d["time"], d["tradeId"])
                for d in body["deals"]
            ]
            made, number = payloads.deals(body["eventType"], each), payloads.DEALS
        else:
            continue
        assert payloads.wrapper(expect["channel"], expect["symbol"], expect["sendTime"], number, made) == data


# -- one by one ----------------------------------------------------------------------------------------
def test_top() -> None:
    values = (8427000, 638700, 8427001, 542169969, 0, 0, 0, 0)
    assert check(TOP) == [
        Decoded(DecodeCode.OK, MessageKind.TOP, 0, SENT * 10**6, 82164153436, 0, MessageFlag.SENT, values)
    ]


def test_an_emptied_side_is_absent() -> None:
    none = ("", "")
    for bid, ask, flags in (
        (none, ("1", "1"), Flag.NO_BID),
        (("1", "1"), none, Flag.NO_ASK),
        (none, none, Flag.NO_BID | Flag.NO_ASK),
        (("0", "0.00"), ("1", "1"), Flag.NO_BID),
    ):
        [top] = check(frame(payloads.BOOK_TICKER, payloads.book_ticker(bid, ask, 7)))
        assert (top.code, top.flags, top.update_id) == (DecodeCode.OK, flags | MessageFlag.SENT, 7)
    # A price without size is no quote, nor is a size without price.
    for bid in (("1", ""), ("", "1"), ("1", "0"), ("0", "1")):
        half = frame(payloads.BOOK_TICKER, payloads.book_ticker(bid, ("2", "1"), 7))
        assert left(half)
        assert reference(half) == [Decoded(DecodeCode.MALFORMED)]
    # Spelt out, an empty text is the same as an absent one.
    spelt = b"".join(payloads.field(n, text) for n, text in enumerate(("", "", "2", "1", "7"), 1))
    assert check(frame(payloads.BOOK_TICKER, spelt))[0].flags == Flag.NO_BID | MessageFlag.SENT


def test_depth() -> None:
    assert check(DEPTH) == [
        Decoded(
            DecodeCode.OK,
            MessageKind.DEPTH,
            0,
            SENT * 10**6,
            82164153436,
            82164153430,
            bids=((8426999, 50000000), (8426000, 0)),
            asks=((8427001, 542169969),),
        )
    ]
    # Field 1 is the asks; a side may be absent; a repeated price is kept, in the order sent.
    twice = [("1.5", "2"), ("1.5", "0")]
    one = check(frame(payloads.DEPTHS, payloads.depths(DEPTH_EVENT, 3, 4, [], twice)))
    assert (one[0].bids, one[0].asks) == ((), ((150, 200000000), (150, 0)))
    assert check(frame(payloads.DEPTHS, payloads.depths(DEPTH_EVENT, 3, 4, [], [])))[0].code is DecodeCode.OK
    mixed = payloads.message(
        (2, payloads.level(("1", "1"))), (4, "3"), (1, payloads.level(("2", "2"))), (5, "4")
    )
    mixed += payloads.message((2, payloads.level(("3", "3"))))
    assert check(frame(payloads.DEPTHS, mixed))[0].bids == ((100, 10**8), (300, 3 * 10**8))


def test_a_depth_event_needs_its_place_in_the_chain_and_whole_levels() -> None:
    good = payloads.level(("1", "1"))
    for body in (
        payloads.message((1, good), (4, "3")),
        payloads.message((1, good), (5, "3")),
        payloads.message((1, good), (4, "x"), (5, "3")),
        payloads.message((1, good), (4, "03"), (5, "3")),
        payloads.message((1, good), (4, "-1"), (5, "3")),
        payloads.message((1, good), (4, "3"), (5, str(2**63))),
        payloads.message((1, payloads.message((1, "1"))), (4, "3"), (5, "3")),
        payloads.message((1, payloads.message((2, "1"))), (4, "3"), (5, "3")),
        payloads.message((4, "3"), (5, "3")) + payloads.field(2, b""),
        payloads.message((1, payloads.level(("0", "1"))), (4, "3"), (5, "3")),
        payloads.message((1, payloads.level(("0.00", "1"))), (4, "3"), (5, "3")),
    ):
        data = frame(payloads.DEPTHS, body)
        assert left(data)
        assert reference(data) == [Decoded(DecodeCode.MALFORMED)]


def test_trades() -> None:
    sold, bought = check(TRADES)
    assert sold == Decoded(
        DecodeCode.OK,
        MessageKind.TRADE,
        0,
        (SENT - 74) * 10**6,
        trade_hash("731901896985399296X0_731901896985399297X0"),
        trade_hash("731901896985399296X0_731901896985399297X0"),
        Flag.SELL | Flag.HASHED_ID,
        (8427000, 99829, 0, 0, 0, 0, 0, 0),
    )
    assert (bought.flags, bought.payload[:2]) == (Flag.HASHED_ID, (8427001, 19169))
    assert bought.update_id != sold.update_id


def test_a_trade_without_id_or_time() -> None:
    [one] = check(frame(payloads.DEALS, payloads.deals(DEALS_EVENT, [payloads.deal("1", "1", False, 0, "")])))
    assert (one.update_id, one.first_id, one.flags, one.ts_event) == (0, 0, 0, SENT * 10**6)


def test_a_frame_without_trades_has_no_events() -> None:
    data = frame(payloads.DEALS, payloads.deals(DEALS_EVENT, []))
    assert left(data)
    assert reference(data) == []
    assert PARSER.parse(data).message_type is MessageType.TRADES


def test_a_trade_needs_a_side() -> None:
    for side in (0, 3, 2**31 - 1, 2**32 + 1):
        deal = payloads.message((1, "1"), (2, "1"), (3, side), (5, "x"))
        data = frame(payloads.DEALS, payloads.deals(DEALS_EVENT, [*DEALS, deal]))
        assert left(data), "one that cannot be read, and the whole frame is the reference's"
        codes = [each.code for each in reference(data)]
        # An int32 is cut to 32 bits.
        last = DecodeCode.OK if side & 0xFFFFFFFF == 1 else DecodeCode.MALFORMED
        assert codes == [DecodeCode.OK, DecodeCode.OK, last]


def test_a_trade_has_a_price() -> None:
    """Zero stands for "no price" in shared memory; the other trades are published."""
    for none in ("0", "0.00", "000"):
        data = frame(
            payloads.DEALS, payloads.deals("", [DEALS[0], payloads.deal(none, "1", False, SENT, "a")])
        )
        assert left(data)
        assert [each.code for each in reference(data)] == [DecodeCode.OK, DecodeCode.MALFORMED]
    fine = frame(payloads.DEALS, payloads.deals("", [payloads.deal("0.01", "0", False, SENT, "a")]))
    assert check(fine)[0].payload[:2] == (1, 0)


def test_each_trade_of_a_frame_is_checked_by_itself() -> None:
    wide = payloads.deal("84270.001", "1", False, SENT, "a")
    vast = payloads.deal("9" * 19, "1", False, SENT, "b")
    codes = [each.code for each in check(frame(payloads.DEALS, payloads.deals("", [wide, DEALS[0], vast])))]
    assert codes == [DecodeCode.INEXACT, DecodeCode.OK, DecodeCode.OVERFLOW]
    stranger = check(frame(payloads.DEALS, DEALS_BODY, symbol="ETHUSDT"))
    assert stranger == 2 * [Decoded(DecodeCode.UNKNOWN_SYMBOL)]


def test_many_trades_in_a_frame() -> None:
    each = [payloads.deal("1", str(n + 1), bool(n % 2), SENT, f"{n}X0") for n in range(500)]
    native = check(frame(payloads.DEALS, payloads.deals(DEALS_EVENT, each)))
    assert [trade.payload[1] for trade in native] == [(n + 1) * 10**8 for n in range(500)]
    assert len({trade.update_id for trade in native}) == 500


def test_ticker() -> None:
    # Volume is the turnover in quote, quantity the volume in base; the opening price is not sent.
    words = (8427000, 0, 8500001, 8300000, 13452000001, 113365180264000000, 0, 0)
    ticker = Decoded(
        DecodeCode.OK, MessageKind.TICKER, 0, SENT * 10**6, flags=lacking(1, 6, 7), payload=words
    )
    assert check(TICKER) == [ticker]
    for turnover in ("1.00000000001", "9" * 19):
        [absent] = check(
            frame(payloads.MINI_TICKER, payloads.mini_ticker("BTCUSDT", "1", "0", "1", "1", turnover, "1"))
        )
        assert (absent.code, absent.flags, absent.payload[5]) == (DecodeCode.OK, lacking(1, 5, 6, 7), 0)
    quiet = payloads.mini_ticker("BTCUSDT", "84270", "", "", "", "", "")
    [one] = check(frame(payloads.MINI_TICKER, quiet))
    assert (one.payload, one.flags) == ((8427000, 0, 0, 0, 0, 0, 0, 0), lacking(*range(1, 8)))
    none = frame(payloads.MINI_TICKER, payloads.mini_ticker("BTCUSDT", "", "", "1", "1", "1", "1"))
    [one] = check(none)
    assert (one.payload[:4], one.flags) == ((0, 0, 100, 100), lacking(0, 1, 6, 7))
    vast = payloads.mini_ticker("BTCUSDT", "1", "0", "1", "1", "1", "136651248485429227479402823307.68")
    [one] = check(frame(payloads.MINI_TICKER, vast))
    assert (one.code, one.flags) == (DecodeCode.OK, lacking(1, 4, 6, 7) | MessageFlag.UNFIT)


def test_ticker_with_exponents_beyond_18() -> None:
    scales = {"BTCUSDT": Scale(0, 12, 8)}
    native = make_decoder(scales).decode_messages(TICKER)
    assert native == reference(TICKER, scales)
    assert (native[0].flags, native[0].payload[5]) == (lacking(1, 5, 6, 7), 0)


def test_a_wrapper_without_body_is_no_fault() -> None:
    """proto3 leaves out what is empty; a body of a kind that is yet to come is unknown."""
    for data in (
        payloads.wrapper(TOP_CHANNEL, "BTCUSDT", SENT),
        payloads.wrapper(TOP_CHANNEL, "BTCUSDT", SENT, 399, b"\x0a\x01x"),
        payloads.wrapper("", "", 0),
    ):
        assert left(data)
        parsed = PARSER.parse(data)
        assert parsed.message_type is MessageType.UNKNOWN
        assert reference(data) == [Decoded(DecodeCode.NOT_MINE)]


def test_symbols() -> None:
    assert check(frame(payloads.BOOK_TICKER, TOP_BODY, symbol="ETHUSDT")) == [
        Decoded(DecodeCode.UNKNOWN_SYMBOL)
    ]
    for symbol in ("", "X" * 25, "Ü", "BTCUSDT\0"):
        data = frame(payloads.BOOK_TICKER, TOP_BODY, symbol=symbol)
        assert left(data) or check(data) == [Decoded(DecodeCode.UNKNOWN_SYMBOL)]
        assert reference(data) == [Decoded(DecodeCode.UNKNOWN_SYMBOL)]
    long = {"L" * 24: Scale(3, 2, 8), "M" * 25: Scale(4, 2, 8)}
    decoder = make_decoder(long)
    assert decoder.decode_message(frame(payloads.BOOK_TICKER, TOP_BODY, symbol="L" * 24)).instrument == 3
    data = frame(payloads.BOOK_TICKER, TOP_BODY, symbol="M" * 25)
    assert decoder.decode_message(data).code is DecodeCode.NOT_MINE
    assert reference(data, long)[0].instrument == 4


@pytest.mark.parametrize("data", FRAMES)
def test_numbers_that_do_not_fit(data: bytes) -> None:
    """Texts of the same length, so that the frame's lengths stay right."""
    kind = check(data)[0].kind
    for text in (b"84270.01", b"85000.01"):
        for wrong, code in ((b"8427.001", DecodeCode.INEXACT), (b"8427.000", DecodeCode.OK)):
            if text in data:
                found = check(data.replace(text, wrong))
                if kind is MessageKind.TICKER:  # by itself
                    assert bool(found[0].flags & MessageFlag.UNFIT) == (code is DecodeCode.INEXACT)
                    code = DecodeCode.OK
                assert {(each.code, each.kind) for each in found} >= {(code, kind)}
        for broken in (b"1e500000", b"-1.00000", b".8500000", b"1.2.3456", b"8427000.", b"NaN     "):
            if text in data:
                assert left(data.replace(text, broken))
                assert DecodeCode.MALFORMED in [each.code for each in reference(data.replace(text, broken))]


def test_of_two_faults_the_worse_one_is_reported() -> None:
    vast, fine = "9" * 19, "0.001"
    for bid, ask in (((vast, "1"), (fine, "1")), ((fine, "1"), (vast, "1"))):
        [one] = check(frame(payloads.BOOK_TICKER, payloads.book_ticker(bid, ask, 1)))
        assert one == Decoded(DecodeCode.OVERFLOW, MessageKind.TOP, 0, SENT * 10**6, 1)
    levels = [("0.001", "1"), ("1", "9" * 19)]
    [one] = check(frame(payloads.DEPTHS, payloads.depths("", 1, 2, levels, [])))
    assert one.code is DecodeCode.OVERFLOW
    assert left(frame(payloads.DEPTHS, payloads.depths("", 1, 2, [*levels, ("", "1")], [])))


def test_times() -> None:
    def at(sent: int) -> bytes:
        return payloads.wrapper(TOP_CHANNEL, "BTCUSDT", sent, payloads.BOOK_TICKER, TOP_BODY)

    longest = (2**63 - 1) // 10**6
    assert check(at(0))[0].ts_event == 0
    assert check(at(longest))[0].ts_event == longest * 10**6
    for beyond in (longest + 1, 2**63 - 1, 2**64 - 1):  # the last is -1
        assert left(at(beyond))
        assert reference(at(beyond)) == [Decoded(DecodeCode.MALFORMED)]


def test_levels_beyond_the_buffer() -> None:
    asks = [(str(n + 1), "1") for n in range(2000)]
    data = frame(payloads.DEPTHS, payloads.depths(DEPTH_EVENT, 1, 2, [], asks))
    assert len(check(data)[0].asks) == 2000
    small = make_decoder(max_levels=1999)
    assert small.decode_message(data).code is DecodeCode.NOT_MINE
    assert small.too_many_levels == 1


# -- the hash and the tags -----------------------------------------------------------------------------
def test_trade_hash_is_fnv_1a() -> None:
    """Known answers of the algorithm's authors (draft-eastlake-fnv)."""
    known = {"": 0xCBF29CE484222325, "a": 0xAF63DC4C8601EC8C, "foobar": 0x85944171F73967E8}
    assert {text: trade_hash(text) for text in known} == known
    [one] = check(frame(payloads.DEALS, payloads.deals("", [payloads.deal("1", "1", False, 1, "foobar")])))
    assert one.update_id == 0x85944171F73967E8


def test_hashes_of_consecutive_ids_differ() -> None:
    start = 731901896985399296
    ids = {trade_hash(f"{start + 2 * n}X0_{start + 2 * n + 1}X0") for n in range(20_000)}
    assert len(ids) == 20_000


def test_the_table_of_fields_is_the_venues() -> None:
    """The numbers of the venue's messages; the native decoder has them as tags."""
    wrapper = proto.MESSAGES[proto.WRAPPER]
    assert {name: field.number for name, field in wrapper.items()} == {
        "channel": 1,
        "symbol": 3,
        "symbolId": 4,
        "createTime": 5,
        "sendTime": 6,
        "publicLimitDepths": payloads.LIMIT_DEPTHS,
        "publicSpotKline": payloads.KLINE,
        "publicMiniTicker": payloads.MINI_TICKER,
        "publicAggreDepths": payloads.DEPTHS,
        "publicAggreDeals": payloads.DEALS,
        "publicAggreBookTicker": payloads.BOOK_TICKER,
    }
    source = (ROOT / "workers/venues/mexc_spot/_decode.pyx").read_text()
    for name, body in (
        ("BODY_TICKER", "publicMiniTicker"),
        ("BODY_DEPTH", "publicAggreDepths"),
        ("BODY_DEALS", "publicAggreDeals"),
        ("BODY_TOP", "publicAggreBookTicker"),
    ):
        assert f"{name} = {wrapper[body].number} << 3 | 2" in source


def test_normalise_takes_market_data_alone() -> None:
    assert normalise(None, SCALES).code is DecodeCode.NOT_MINE
    assert normalise("text", SCALES).code is DecodeCode.NOT_MINE
