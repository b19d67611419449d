"""Native decoder == reference: on every captured message and on mutated ones; forbidden outcomes are in
`workers.decode.normal.disagreement`."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shm.layout import Flag
from workers.contract.protocols import MessageType
from workers.decode.normal import DecodeCode, Decoded, MessageFlag, MessageKind, Scale, disagreement
from workers.decode.normal import absent as lacking
from workers.venues.binance.parser import BinanceParser
from workers.venues.binance_futures import schema
from workers.venues.binance_futures._decode import Decoder
from workers.venues.binance_futures.instruments import instruments, symbol_of
from workers.venues.binance_futures.parser import DIALECT, normalise

ROOT = Path(__file__).resolve().parents[4]
FULL = ROOT.parent / "shared/captures/binance_futures/session.jsonl.gz"
SMALL = ROOT / "tests/fixtures/binance_futures_small.jsonl.gz"

SCALES = {"SUSHIUSDT": Scale(0, 3, 0), "BTCUSDT": Scale(7, 4, 3), "BTCUSDT_261225": Scale(3, 1, 3)}
# Shapes of 2021, as captured, and as the venue documents them.
TOP = (
    b'{"e":"bookTicker","u":600859600576,"s":"SUSHIUSDT","b":"7.6110","B":"2","a":"7.6120","A":"297",'
    b'"T":1626992741012,"E":1626992741017}'
)
TOP_DOCUMENTED = (
    b'{"e":"bookTicker","u":400900217,"E":1568014460893,"T":1568014460891,"s":"BTCUSDT","b":"25.35190000",'
    b'"B":"31.210","a":"25.36520000","A":"40.660"}'
)
DEPTH = (
    b'{"e":"depthUpdate","E":1626992741037,"T":1626992741024,"s":"SUSHIUSDT","U":600859599090,"u":600859600917,'
    b'"pu":600859598061,"b":[["7.5040","813"],["7.6090","0"]],"a":[["7.6150","1563"]]}'
)
TRADE = (
    b'{"e":"trade","E":1676160600276,"T":1676160600269,"s":"BTCUSDT","t":3280342045,"p":"21845.10","q":"0.001",'
    b'"X":"MARKET","m":false}'
)
AGG_TRADE = (
    b'{"e":"aggTrade","E":1626992741575,"a":16599292,"s":"SUSHIUSDT","p":"7.61100","q":"10","f":23961322,'
    b'"l":23961324,"T":1626992741421,"m":true}'
)
AGG_TRADE_DOCUMENTED = (
    b'{"e":"aggTrade","E":123456789,"s":"BTCUSDT","a":5933014,"p":"0.001","q":"100","f":100,"l":105,'
    b'"T":123456785,"m":true}'
)
TICKER = (
    b'{"e":"24hrTicker","E":1787492324171,"s":"BTCUSDT","p":"355.50","P":"-0.461","w":"76764.07","c":"77490.00",'
    b'"Q":"0.001","o":"77134.50","h":"77771.60","l":"75588.00","v":"115619.606","q":"88754314.20",'
    b'"O":1787405880000,"C":1787492324171,"F":8003360342,"L":8006170931,"n":2798861}'
)
MARK = (
    b'{"e":"markPriceUpdate","E":1771263510000,"s":"BTCUSDT","p":"68005.80802899","P":"67836.82194783",'
    b'"i":"68035.14043478","r":"-0.00004435","T":1771286400000}'
)
MARK_DOCUMENTED = (
    b'{"e":"markPriceUpdate","E":1562305380000,"s":"BTCUSDT","p":"11794.15000000","i":"11784.62659091",'
    b'"P":"11784.25641265","r":"0.00038167","T":1562306400000}'
)
LIQUIDATION = (
    b'{"e":"forceOrder","E":1568014460893,"o":{"s":"BTCUSDT","S":"SELL","o":"LIMIT","f":"IOC","q":"0.190",'
    b'"p":"82338.30","ap":"82651.90","X":"FILLED","l":"0.155","z":"0.190","T":1568014460893}}'
)
OLD = [
    TOP, TOP_DOCUMENTED, DEPTH, TRADE, AGG_TRADE, AGG_TRADE_DOCUMENTED, TICKER, MARK, MARK_DOCUMENTED,
    LIQUIDATION,
]  # fmt: skip


def of_2026(event: bytes) -> bytes:
    """The same as it is today, with the fields that have come since."""
    data = json.loads(event)
    inner = data.get("o") if isinstance(data.get("o"), dict) else data
    new = {}
    for key, value in inner.items():
        new[key] = value
        if key == "s" and inner is data:
            new["ps"] = value[:7]
        elif key == "q" and data["e"] == "aggTrade":
            new["nq"] = value
        elif key == "p" and data["e"] == "markPriceUpdate":
            new["ap"] = value
    if inner is not data:
        new["ps"] = inner["s"][:7]
    new["st"] = 1
    whole = new if inner is data else {**data, "o": new}
    return json.dumps(whole, separators=(",", ":")).encode()


EVENTS = OLD + [of_2026(event) for event in OLD]


def combined(event: bytes, stream: str = "sushiusdt@depth@100ms") -> bytes:
    return b'{"stream":"' + stream.encode() + b'","data":' + event + b"}"


FRAMES = EVENTS + [combined(event) for event in EVENTS]


def make_decoder(scales: dict[str, Scale] = SCALES, **options: int) -> Decoder:
    decoder = Decoder(**options)
    for symbol, scale in scales.items():
        decoder.add_symbol(symbol, *scale)
    return decoder


DECODER = make_decoder()
PARSER = BinanceParser({symbol: symbol for symbol in SCALES}, DIALECT)


def reference(data: bytes, scales: dict[str, Scale] = SCALES) -> Decoded:
    return normalise(PARSER.parse(data).data, scales)


def check(data: bytes) -> Decoded:
    native = DECODER.decode_message(data)
    assert disagreement([native], [reference(data)]) is None, data
    return native


# -- sessions -------------------------------------------------------------------------------------------
def session(path: Path) -> tuple[dict[str, Scale], list[bytes]]:
    """Scales by the session's own exchangeInfo, and every message from the venue."""
    if not path.exists():
        pytest.skip(f"{path} is not here")
    frames, info = [], None
    with gzip.open(path, "rt") as lines:
        for line in lines:
            row = json.loads(line)
            if row["kind"] == "http" and row["url"].endswith("exchangeInfo"):
                info = schema.read_listing(row["text"])
            elif row["kind"] == "ws" and row["dir"] == "in":
                frames.append(row["text"].encode())
    assert info is not None
    names = {json.loads(frame)["data"].get("s") for frame in frames}
    wanted = [symbol_of(entry) for entry in info.entries if entry.symbol in names]
    return {
        made.venue_symbol: Scale(slot, made.price_exp, made.size_exp)
        for slot, made in enumerate(instruments(info, wanted).instruments)
    }, frames


def differences(
    frames: list[bytes], scales: dict[str, Scale], twin: object = normalise
) -> tuple[list[str], list[Decoded]]:
    """What disagrees between the native decoder and `twin`, raw and combined; and what was decoded."""
    decoder = make_decoder(scales)
    parser = BinanceParser({}, DIALECT)
    found, decoded = [], []
    for frame in frames:
        payload = bytes(msgspec.json.decode(frame, type=dict[str, msgspec.Raw])["data"])
        native = decoder.decode_message(frame)
        decoded.append(native)
        assert decoder.decode_message(payload) == native
        if problem := disagreement([native], [twin(parser.parse(frame).data, scales)]):  # type: ignore[operator]
            found.append(problem)
    return found, decoded


@pytest.mark.parametrize(("path", "symbols"), [(FULL, 4), (SMALL, 2)], ids=["captured", "small"])
def test_every_message_is_equal(path: Path, symbols: int) -> None:
    scales, frames = session(path)
    found, decoded = differences(frames, scales)
    assert found == []
    # The native decoder takes all market data itself: what it leaves are the klines.
    left = [frame for frame, native in zip(frames, decoded, strict=True) if native.code is not DecodeCode.OK]
    assert all(b"@kline" in frame for frame in left)
    assert {native.kind for native in decoded} >= {MessageKind.TOP, MessageKind.DEPTH, MessageKind.TRADE}
    assert len(scales) == symbols


def test_a_wrong_twin_is_noticed() -> None:
    scales, frames = session(SMALL)

    def sides_swapped(event: object, scales: dict[str, Scale]) -> Decoded:
        right = normalise(event, scales)
        return right._replace(bids=right.asks, asks=right.bids)

    def first_of_the_event(event: object, scales: dict[str, Scale]) -> Decoded:
        right = normalise(event, scales)
        return right._replace(first_id=event.first_id) if isinstance(event, schema.DepthUpdate) else right

    def rate_unsigned(event: object, scales: dict[str, Scale]) -> Decoded:
        right = normalise(event, scales)
        return right._replace(words=tuple(map(abs, right.words)))

    def rounded(event: object, scales: dict[str, Scale]) -> Decoded:
        return normalise(event, {name: scale._replace(price_exp=0) for name, scale in scales.items()})

    for wrong in (sides_swapped, first_of_the_event, rate_unsigned, rounded):
        assert differences(frames, scales, wrong)[0], wrong.__name__


# -- one by one -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("old", OLD, ids=lambda event: str(json.loads(event)["e"]))
def test_the_fields_of_2026_change_nothing_and_are_taken_natively(old: bytes) -> None:
    before = check(old)
    assert before.code is DecodeCode.OK
    for frame in (of_2026(old), combined(old), combined(of_2026(old))):
        assert check(frame) == before


def test_top() -> None:
    assert check(TOP) == Decoded(
        DecodeCode.OK,
        MessageKind.TOP,
        0,
        1626992741012000000,
        600859600576,
        words=(7611, 2, 7612, 297, 0, 0, 0, 0),
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
    assert aggregated.words[:3] == (7611, 10, 3)
    assert check(AGG_TRADE_DOCUMENTED).words[:3] == (10, 100000, 6)
    assert check(AGG_TRADE.replace(b'"l":23961324', b'"l":1')).code is DecodeCode.NOT_MINE


@pytest.mark.parametrize("kind", [b"INSURANCE_FUND", b"ADL", b"NA"])
def test_what_is_no_trade_of_the_book_is_none_of_ours(kind: bytes) -> None:
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
    assert check(TICKER) == Decoded(DecodeCode.OK, MessageKind.TICKER, 7, 1787492324171000000, words=words)
    absent = check(TICKER.replace(b"88754314.20", b"8875431314200.20"))
    assert (absent.code, absent.flags, absent.words[5]) == (DecodeCode.OK, lacking(5), 0)
    untraded = check(TICKER.replace(b'"c":"77490.00"', b'"c":"0.00"').replace(b'"o":"77134.50"', b'"o":""'))
    assert (untraded.flags, untraded.words[:2]) == (lacking(0, 1), (0, 0))
    vast = check(TICKER.replace(b'"v":"115619.606"', b'"v":"136651248485429227479402823307.68"'))
    assert (vast.code, vast.flags, vast.words[4]) == (DecodeCode.OK, lacking(4) | MessageFlag.UNFIT, 0)


def test_a_trade_has_a_price() -> None:
    """A price of 0 stands for "no price" in shared memory: it is malformed, in every kind of trade."""
    for frame, price in ((TRADE, b"21845.10"), (AGG_TRADE, b"7.61100"), (LIQUIDATION, b"82651.90")):
        for zero in (b"0", b"0.00"):
            assert check(frame.replace(b'"%s"' % price, b'"%s"' % zero)).code is DecodeCode.NOT_MINE
            assert reference(frame.replace(b'"%s"' % price, b'"%s"' % zero)).code is DecodeCode.MALFORMED


def test_what_kind_of_trade_it_is() -> None:
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


def test_a_mark_that_is_not_there_is_not_told() -> None:
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
        words=(6800580802899, 6803514043478, -44350000, 1771286400000000000, 0, 0, 0, 0),
    )
    documented = check(MARK_DOCUMENTED)
    assert (documented.words[1], documented.words[2]) == (1178462659091, 381670000)
    # A contract with a delivery date pays no funding.
    dated = check(MARK.replace(b'"-0.00004435","T":1771286400000', b'"","T":0'))
    assert (dated.flags, dated.words[2:4]) == (MessageFlag.MARK | MessageFlag.INDEX, (0, 0))
    for rate in (b"0.0000000000001", b"--1", b"-", b"1e-4", b"9" * 20):
        frame = MARK.replace(b"-0.00004435", rate)
        assert check(frame).code is DecodeCode.NOT_MINE
        assert reference(frame).code is DecodeCode.MALFORMED
    assert check(MARK.replace(b"-0.00004435", b"-0.0")).words[2] == 0


def test_mark_prices_are_exact_whatever_the_tick() -> None:
    """A tick of one decimal; the same digits of a trade do not fit."""
    for event in (MARK, LIQUIDATION):
        dated = event.replace(b'"BTCUSDT"', b'"BTCUSDT_261225"').replace(b"82651.90", b"82651.90123456")
        told = check(dated)
        assert (told.code, told.instrument) == (DecodeCode.OK, 3)
        assert told.words[0] in (6800580802899, 8265190123456)
    traded = TRADE.replace(b'"BTCUSDT"', b'"BTCUSDT_261225"')
    assert check(traded).code is DecodeCode.OK
    assert check(traded.replace(b"21845.10", b"21845.12")).code is DecodeCode.INEXACT


def test_a_days_volume_in_dollars_has_room() -> None:
    """As on the busiest days: 30 billion of BTC, at its tick."""
    busy = TICKER.replace(b'"BTCUSDT"', b'"BTCUSDT_261225"').replace(b"88754314.20", b"30875431420.37")
    told = check(busy)
    assert (told.flags, told.words[5]) == (0, 308_754_314_203_700)


def test_liquidation() -> None:
    assert check(LIQUIDATION) == Decoded(
        DecodeCode.OK,
        MessageKind.LIQUIDATION,
        7,
        1568014460893000000,
        flags=int(Flag.SELL),
        words=(8265190000000, 190, 0, 0, 0, 0, 0, 0),
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
        return before._replace(code=code, flags=flags, words=(0,) * 8, bids=(), asks=())
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
            assert [a for a, b in zip(found.words, before.words, strict=True) if a != b] == [0]
        else:
            assert found == unfit(before, code)
    # Of a ticker and a mark it says that there is none.
    none = () if before.kind in (MessageKind.TICKER, MessageKind.MARK) else (b"",)
    for broken in (*none, b"1e5", b"-1.0", b".5", b"1.2.3", b"NaN", b"\xff"):
        twisted = frame.replace(b'"%s"' % text, b'"%s"' % broken)
        assert check(twisted).code is DecodeCode.NOT_MINE
        assert reference(twisted).code is DecodeCode.MALFORMED


@pytest.mark.parametrize("frame", FRAMES)
def test_times(frame: bytes) -> None:
    start = frame.index(b'"T":' if b'"bookTicker"' in frame else b'"E":') + 4
    end = start + len(frame[start:].split(b",")[0].rstrip(b"}"))
    head, tail = frame[:start], frame[end:]
    assert check(head + b"1633998512068" + tail).ts_event == 1633998512068 * 10**6
    assert check(head + b"1633998512068123" + tail).ts_event == 1633998512068123 * 10**3
    for time in (b"99999999999999", b"9223372036854776", b"-1", b"1.5", b"01633998512068", b"9" * 30):
        assert check(head + time + tail).code is DecodeCode.NOT_MINE
        assert reference(head + time + tail).code is DecodeCode.MALFORMED


@pytest.mark.parametrize("frame", FRAMES)
def test_other_shapes_are_left_to_the_reference(frame: bytes) -> None:
    expected = check(frame)
    event = json.loads(frame)
    event.get("data", event)["Z"] = {"new": [1, None]}
    for shape in (
        json.dumps(event, separators=(",", ":")).encode(),  # an extra field
        frame.replace(b":", b": "),  # white space
        frame.replace(b'"ps":"', b'"ps":"\\u0041') if b'"ps"' in frame else b" " + frame,
        b" " + frame,
        frame + b"\n",
    ):
        assert check(shape).code is DecodeCode.NOT_MINE
        assert reference(shape) == expected, shape


def test_unknown_symbols() -> None:
    for event in OLD:
        name = json.loads(event).get("s") or json.loads(event)["o"]["s"]
        frame = event.replace(name.encode(), b"FOOBAR")
        assert check(frame).code is DecodeCode.UNKNOWN_SYMBOL
        assert reference(frame).code is DecodeCode.UNKNOWN_SYMBOL
        wide = event.replace(name.encode(), "币安人生USDT".encode())
        assert check(wide).code is DecodeCode.NOT_MINE
    assert check(MARK.replace(b'"BTCUSDT"', b'"BTCUSDT_261225"')).instrument == 3


def test_many_levels() -> None:
    def frame(count: int) -> bytes:
        rows = b",".join(b'["%d.5","1"]' % (price + 1) for price in range(count))
        return DEPTH[: DEPTH.index(b'"b":')] + b'"b":[' + rows + b'],"a":[' + rows + b"]}"

    decoder = make_decoder(max_levels=3000)
    for count in (0, 1, 1023, 1024, 1025, 3000):
        assert decoder.decode_message(frame(count)) == reference(frame(count))
    assert decoder.decode_message(frame(3001)).code is DecodeCode.NOT_MINE
    assert decoder.too_many_levels == 1


# -- mutated frames -------------------------------------------------------------------------------------
NUMBER = st.one_of(
    st.decimals(0, 10**12, places=8).map(lambda value: format(value, "f")),
    st.decimals(-1, 10**6, places=3).map(lambda value: format(value, "f")),
    st.integers(0, 2**66).map(str),
    st.text("0123456789.-e", max_size=24),
)
INTEGER = st.one_of(st.integers(0, 2**65).map(str), st.text("0123456789-.e", min_size=1, max_size=20))


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A known frame, some of its values replaced, then some bytes flipped, cut, put in or repeated."""
    data = draw(st.sampled_from(FRAMES))
    for _ in range(draw(st.integers(0, 3))):
        event = json.loads(data)
        inner = event.get("data", event)
        if isinstance(inner.get("o"), dict) and draw(st.booleans()):
            inner = inner["o"]
        key = draw(st.sampled_from(sorted(inner)))
        if isinstance(inner[key], str) and key not in "es":
            old, new = f'"{key}":"{inner[key]}"', f'"{key}":"{draw(NUMBER)}"'
        elif isinstance(inner[key], int) and not isinstance(inner[key], bool):
            old, new = f'"{key}":{inner[key]}', f'"{key}":{draw(INTEGER)}'
        else:
            continue
        replaced = data.replace(old.encode(), new.encode(), 1)
        try:
            json.loads(replaced)
        except ValueError:
            return replaced
        data = replaced
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        byte = draw(st.sampled_from(b'0123456789.,:"[]{}\\ \0u\xff') | st.integers(0, 255))
        match draw(st.integers(0, 4)):
            case 0:
                data = data[:at] + bytes([byte]) + data[at + 1 :]
            case 1:
                data = data[:at] + bytes([byte]) + data[at:]
            case 2:
                data = data[:at] + data[at + 1 :]
            case 3:
                data = data[:at]
            case _:
                data = data[:at] + data[draw(st.integers(0, len(data))) :]
    return data


@settings(max_examples=3000)
@given(mutated())
def test_mutated_frames(data: bytes) -> None:
    check(data)


@settings(max_examples=500)
@given(st.sampled_from(FRAMES), st.randoms(use_true_random=False), st.booleans())
def test_reordered_keys_and_escapes(frame: bytes, chance: random.Random, escaped: bool) -> None:
    event = json.loads(frame)
    inner = event.get("data", event)
    keys = list(inner)
    chance.shuffle(keys)
    text = json.dumps({key: inner[key] for key in keys}, separators=(",", ":"))
    if escaped:
        text = text.replace("USDT", "\\u0055SDT", 1)
    data = combined(text.encode()) if "data" in event else text.encode()
    check(data)
    assert reference(data) == reference(frame)


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    assert check(data).code is DecodeCode.NOT_MINE


GUARDED = """
import ctypes, mmap, random, sys
sys.path[:0] = sys.argv[1:2]
from workers.venues.binance_futures._decode import Decoder

page = mmap.PAGESIZE
area = mmap.mmap(-1, 2 * page)
address = ctypes.addressof(ctypes.c_char.from_buffer(area))
assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(address + page), page, 0) == 0
view = memoryview(area)
decoder = Decoder()
decoder.add_symbol("SUSHIUSDT", 0, 8, 0)
decoder.add_symbol("BTCUSDT", 7, 8, 3)
chance = random.Random(7)
done = 0
for line in sys.stdin:
    frame = line.strip().encode("latin-1")
    for cut in range(len(frame) + 1):
        part = bytearray(frame[:cut])
        for _ in range(2):
            area[page - cut : page] = bytes(part)
            decoder.decode_message(view[page - cut : page])
            done += 1
            if cut:
                part[chance.randrange(cut)] = chance.choice(b'0123456789."\\\\]},')
if sys.argv[2:]:
    area[page]  # negative control: the page behind the frame cannot be read
print(done)
"""


def test_nothing_is_read_beyond_the_end() -> None:
    """Every prefix of every frame, laid right before a page that cannot be read."""
    lines = "\n".join(frame.decode("latin-1") for frame in FRAMES)
    guarded = [sys.executable, "-c", GUARDED, str(ROOT)]
    outcome = subprocess.run(guarded, input=lines, capture_output=True, text=True, timeout=60, check=False)
    assert outcome.returncode == 0, outcome.stderr
    assert int(outcome.stdout) == 2 * sum(len(frame) + 1 for frame in FRAMES)
    control = subprocess.run(
        [*guarded, "x"], input="", capture_output=True, text=True, timeout=60, check=False
    )
    assert control.returncode < 0


def test_repr_and_bench_loop() -> None:
    assert repr(make_decoder()) == "binance_futures.Decoder(3 symbols, too_many_levels=0)"
    spent, ok = make_decoder().bench_loop([TOP, DEPTH, b"{}"], 300)
    assert spent > 0
    assert ok == 200
