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
from workers.decode.normal import DecodeCode, Decoded, MessageFlag, MessageKind, Scale, disagreement
from workers.decode.normal import absent as lacking
from workers.decode.symbols import FLAGS
from workers.venues.binance.parser import BinanceParser
from workers.venues.binance_spot import schema
from workers.venues.binance_spot._decode import Decoder
from workers.venues.binance_spot.instruments import instruments
from workers.venues.binance_spot.parser import DIALECT, normalise

ROOT = Path(__file__).resolve().parents[4]
FULL = ROOT.parent / "shared/captures/binance_spot/session.jsonl.gz"
SMALL = ROOT / "tests/fixtures/binance_spot_small.jsonl.gz"

SCALES = {"NKNUSDT": Scale(0, 4, 0), "BLZETH": Scale(1, 8, 0), "BTCUSDT": Scale(7, 2, 5)}
TOP = (
    b'{"u":499869768,"s":"NKNUSDT","b":"0.35210000","B":"672.00000000","a":"0.35260000","A":"3199.00000000"}'
)
DEPTH = (
    b'{"e":"depthUpdate","E":1633998512068,"s":"NKNUSDT","U":499869750,"u":499869752,'
    b'"b":[["0.35130000","6195.00000000"],["0.34750000","0.00000000"]],"a":[["0.35260000","1.00000000"]]}'
)
TRADE = (
    b'{"e":"trade","E":1633998523963,"s":"BTCUSDT","t":15683430,"p":"57211.15000000","q":"0.03412000",'
    b'"T":1633998523962,"m":true,"M":true}'
)
AGG_TRADE = (
    b'{"e":"aggTrade","E":1633998523963,"s":"NKNUSDT","a":15683430,"p":"0.35280000","q":"58.00000000",'
    b'"f":19862790,"l":19862792,"T":1633998523963,"m":false,"M":true}'
)
TICKER = (
    b'{"e":"24hrTicker","E":1633998512068,"s":"BTCUSDT","p":"-0.00150000","P":"-2.100","w":"57000.35180000",'
    b'"x":"57100.00000000","c":"57211.15000000","Q":"0.00100000","b":"57211.14000000","B":"1.00000000",'
    b'"a":"57211.15000000","A":"0.50000000","o":"57100.00000000","h":"57900.01000000","l":"56100.99000000",'
    b'"v":"41023.12345000","q":"2338318031.8001234","O":1633912112068,"C":1633998512068,"F":-1,"L":1815,"n":1816}'
)
EVENTS = [TOP, DEPTH, TRADE, AGG_TRADE, TICKER]


def combined(event: bytes, stream: str = "nknusdt@depth@100ms") -> bytes:
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


# -- captures -------------------------------------------------------------------------------------------
def capture(path: Path) -> tuple[dict[str, Scale], list[bytes]]:
    """Scales by the capture's own exchangeInfo, and every message from the venue."""
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
    assert frames
    names = {json.loads(frame).get("data", {}).get("s") for frame in frames}
    wanted = [f"{entry.base}/{entry.quote}" for entry in info.entries if entry.symbol in names]
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


@pytest.mark.parametrize("path", [FULL, SMALL], ids=["full", "small"])
def test_every_captured_message_is_equal(path: Path) -> None:
    scales, frames = capture(path)
    found, decoded = differences(frames, scales)
    assert found == []
    # The native decoder takes all market data of the capture itself: what it leaves are the klines.
    left = [frame for frame, native in zip(frames, decoded, strict=True) if native.code is not DecodeCode.OK]
    assert all(b"@kline" in frame for frame in left)
    assert {native.kind for native in decoded} >= {MessageKind.TOP, MessageKind.DEPTH}
    assert len(scales) >= 2


def test_a_wrong_twin_is_noticed() -> None:
    scales, frames = capture(SMALL)

    def sides_swapped(event: object, scales: dict[str, Scale]) -> Decoded:
        right = normalise(event, scales)
        return right._replace(bids=right.asks, asks=right.bids)

    def ids_off(event: object, scales: dict[str, Scale]) -> Decoded:
        right = normalise(event, scales)
        return right._replace(update_id=right.update_id + 1)

    def rounded(event: object, scales: dict[str, Scale]) -> Decoded:
        return normalise(event, {name: scale._replace(price_exp=2) for name, scale in scales.items()})

    for wrong in (sides_swapped, ids_off, rounded):
        assert differences(frames, scales, wrong)[0], wrong.__name__


# -- one by one -----------------------------------------------------------------------------------------
def test_top() -> None:
    assert check(TOP) == Decoded(
        DecodeCode.OK, MessageKind.TOP, 0, 0, 499869768, words=(3521, 672, 3526, 3199, 0, 0, 0, 0)
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
    for frame in (DEPTH, combined(DEPTH)):
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
    assert (aggregated.update_id, aggregated.first_id, aggregated.words[:3]) == (
        15683430,
        19862790,
        (3528, 58, 3),
    )
    assert check(AGG_TRADE.replace(b'"l":19862792', b'"l":1')).code is DecodeCode.NOT_MINE


def test_ticker() -> None:
    # 2338318031.8001234 at 2 + 5 decimals.
    words = (5721115, 5710000, 5790001, 5610099, 4102312345, 23383180318001234, 1816, 1633912112068000000)
    assert check(TICKER) == Decoded(DecodeCode.OK, MessageKind.TICKER, 7, 1633998512068000000, words=words)
    for quote_volume in (b"2338318031.80012345", b"92233720368547758080.0"):
        absent = check(TICKER.replace(b"2338318031.8001234", quote_volume))
        assert (absent.code, absent.flags, absent.words[5]) == (DecodeCode.OK, lacking(5), 0)
    assert check(TICKER.replace(b"2338318031.8001234", b"1e9")).code is DecodeCode.NOT_MINE
    for volume in (b"41023.123450000000000000000001", b"136651248485429227479402823307.68"):
        wide = check(TICKER.replace(b'"v":"41023.12345000"', b'"v":"%s"' % volume))
        assert (wide.code, wide.flags, wide.words[4]) == (DecodeCode.OK, lacking(4) | MessageFlag.UNFIT, 0)


def test_a_trade_has_a_price() -> None:
    """A price of 0 stands for "no price" in shared memory: it is malformed, in every kind of trade."""
    for frame in (TRADE, AGG_TRADE):
        price = json.loads(frame)["p"].encode()
        for zero in (b"0", b"0.00000000"):
            assert check(frame.replace(b'"p":"%s"' % price, b'"p":"%s"' % zero)).code is DecodeCode.NOT_MINE
            broken = reference(frame.replace(b'"p":"%s"' % price, b'"p":"%s"' % zero))
            assert broken.code is DecodeCode.MALFORMED


def test_an_empty_side_of_a_top() -> None:
    """Kind: how a venue says that there is none."""
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
    assert (native.flags, native.words[5]) == (lacking(5), 0)


@pytest.mark.parametrize("frame", FRAMES)
def test_numbers_that_do_not_fit(frame: bytes) -> None:
    before = DECODER.decode_message(frame)
    text = next(text for text in (b"0.35260000", b"57211.15000000", b"0.35280000") if text in frame)
    for wrong, code in ((b"0.35261111", DecodeCode.INEXACT), (b"9" * 19 + b".0", DecodeCode.OVERFLOW)):
        found = check(frame.replace(b'"%s"' % text, b'"%s"' % wrong))
        if before.kind is MessageKind.TICKER:  # only that word is absent
            assert found.code is DecodeCode.OK
            assert found.flags & MessageFlag.UNFIT
            assert [a for a, b in zip(found.words, before.words, strict=True) if a != b] == [0]
            return
        place = before.kind in (MessageKind.TOP, MessageKind.DEPTH)  # of these it is still known
        left = (before.ts_event, before.update_id, before.first_id) if place else ()
        assert found == Decoded(code, before.kind, before.instrument, *left)
    # Of two faults the worse one is told, wherever it stands, and malformed is worse than both.
    both = frame.replace(text, b"9" * 19 + b".0", 1).replace(b"00000", b"00001")
    assert check(both).code is DecodeCode.OVERFLOW
    assert check(both[:-1] + b" " + both[-1:]).code is DecodeCode.NOT_MINE
    for broken in (b"1e5", b"", b"-1.0", b".5", b"1.2.3", b"NaN", b"\xff"):
        assert check(frame.replace(text, broken)).code is DecodeCode.NOT_MINE
        assert reference(frame.replace(text, broken)).code is DecodeCode.MALFORMED


@pytest.mark.parametrize("frame", FRAMES)
def test_times(frame: bytes) -> None:
    if b'"E":' not in frame:
        assert check(frame).ts_event == 0
        return
    start = frame.index(b'"E":') + 4
    head, tail = frame[:start], frame[start + 13 :]
    for time, ns in (
        (b"1633998512068", 1633998512068 * 10**6),
        (b"1633998512068123", 1633998512068123 * 10**3),
    ):
        assert check(head + time + tail).ts_event == ns
    for time in (b"99999999999999", b"9223372036854776", b"-1", b"1.5", b"01633998512068", b"9" * 30):
        assert check(head + time + tail).code is DecodeCode.NOT_MINE
        assert reference(head + time + tail).code is DecodeCode.MALFORMED


@pytest.mark.parametrize("frame", FRAMES)
def test_other_shapes_are_left_to_the_reference(frame: bytes) -> None:
    expected = check(frame)
    event = json.loads(frame)
    inner = event.get("data", event)
    inner["Z"] = {"new": [1, None]}
    for shape in (
        json.dumps(event, separators=(",", ":")).encode(),  # an extra field
        frame.replace(b":", b": "),  # white space
        frame.replace(b'"s":"', b'"s":"\\u00' + b"%02x" % ord(inner["s"][0])).replace(
            inner["s"].encode()[:1] + inner["s"].encode()[1:], inner["s"].encode()[1:], 1
        ),
        b" " + frame,
        frame + b"\n",
    ):
        assert check(shape).code is DecodeCode.NOT_MINE
        assert reference(shape) == expected, shape


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
    assert decoder.decode_message(TOP.replace(b"NKNUSDT", names[1].encode())).words[0] == 35210000
    assert decoder.symbols[names[1]] == (9999, 8, 0)
    with pytest.raises(ValueError, match="exponents must be 0 to 18"):
        decoder.add_symbol("A", 0, 19, 0)
    for bad in ("", 'A"B', "A\\B", "A\0"):
        with pytest.raises(ValueError, match="cannot be a venue symbol"):
            decoder.add_symbol(bad, 0, 1, 1)
    # Keys are zero-padded: a text that only differs by zero bytes is another one.
    assert decoder.decode_message(TOP.replace(b"NKNUSDT", b"S3USDT\0")).code is DecodeCode.NOT_MINE


def test_many_levels() -> None:
    def frame(count: int) -> bytes:
        rows = b",".join(b'["%d.00000000","1.00000000"]' % (price + 1) for price in range(count))
        return DEPTH[: DEPTH.index(b'"b":')] + b'"b":[' + rows + b'],"a":[' + rows + b"]}"

    decoder = make_decoder(max_levels=3000)
    for count in (0, 1, 1023, 1024, 1025, 3000):
        assert decoder.decode_message(frame(count)) == reference(frame(count))
    assert decoder.too_many_levels == 0
    assert decoder.decode_message(frame(3001)).code is DecodeCode.NOT_MINE
    assert decoder.too_many_levels == 1
    assert len(reference(frame(3001)).bids) == 3001


def test_flags_are_those_of_the_layout() -> None:
    assert {name: Flag[name].value for name in FLAGS} == FLAGS


# -- mutated frames -------------------------------------------------------------------------------------
NUMBER = st.one_of(
    st.decimals(0, 10**12, places=8).map(lambda value: format(value, "f")),
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


@settings(max_examples=1500)
@given(mutated())
def test_mutated_frames(data: bytes) -> None:
    check(data)


@settings(max_examples=300)
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
from workers.venues.binance_spot._decode import Decoder

page = mmap.PAGESIZE
area = mmap.mmap(-1, 2 * page)
address = ctypes.addressof(ctypes.c_char.from_buffer(area))
assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(address + page), page, 0) == 0
view = memoryview(area)
decoder = Decoder()
decoder.add_symbol("NKNUSDT", 0, 4, 0)
decoder.add_symbol("BTCUSDT", 7, 2, 5)
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
    assert repr(make_decoder()) == "binance_spot.Decoder(3 symbols, too_many_levels=0)"
    spent, ok = make_decoder().bench_loop([TOP, DEPTH, b"{}"], 300)
    assert spent > 0
    assert ok == 200
    with pytest.raises(ValueError, match="max_levels"):
        Decoder(max_levels=0)
