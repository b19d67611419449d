"""Native decoder == reference, in every market of Binance: on captures, other shapes, times, any bytes.

What one market alone sends: `test_decode_binance_spot.py`, `test_decode_binance_futures.py`. Forbidden
outcomes are in `workers.decode.normal.disagreement`.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.venues.binance.decoder_kit import ROOT, Market
from tests.workers.venues.binance_futures.futures_frames import FUTURES
from tests.workers.venues.binance_spot.spot_frames import SPOT
from workers.decode.normal import DecodeCode, MessageKind

MARKETS = pytest.mark.parametrize("market", [SPOT, FUTURES], ids=repr)
EACH_FRAME = pytest.mark.parametrize(
    ("market", "frame"), [(market, frame) for market in (SPOT, FUTURES) for frame in market.frames]
)
TOP_AND_DEPTH = {MessageKind.TOP, MessageKind.DEPTH}


@pytest.mark.parametrize("full", [True, False], ids=["full", "small"])
@pytest.mark.parametrize(
    ("market", "symbols", "kinds"),
    [(SPOT, (2, 2), TOP_AND_DEPTH), (FUTURES, (4, 2), TOP_AND_DEPTH | {MessageKind.TRADE})],
    ids=["binance_spot", "binance_futures"],
)
def test_every_captured_message_is_equal(
    market: Market, symbols: tuple[int, int], kinds: set[MessageKind], full: bool
) -> None:
    scales, frames = market.capture(market.full if full else market.small)
    found, decoded = market.differences(frames, scales)
    assert found == []
    # The native decoder takes all market data of the capture itself: what it leaves are the klines.
    left = [frame for frame, native in zip(frames, decoded, strict=True) if native.code is not DecodeCode.OK]
    assert all(b"@kline" in frame for frame in left)
    assert {native.kind for native in decoded} >= kinds
    least = symbols[0] if full else symbols[1]
    assert len(scales) >= least if market is SPOT else len(scales) == least


@EACH_FRAME
def test_times(market: Market, frame: bytes) -> None:
    field = b'"T":' if b'"bookTicker"' in frame else b'"E":'
    if field not in frame:  # spot's top has no time
        assert market is SPOT
        assert market.check(frame).ts_event == 0
        return
    start = frame.index(field) + 4
    end = start + len(frame[start:].split(b",")[0].rstrip(b"}"))
    head, tail = frame[:start], frame[end:]
    assert market.check(head + b"1633998512068" + tail).ts_event == 1633998512068 * 10**6
    assert market.check(head + b"1633998512068123" + tail).ts_event == 1633998512068123 * 10**3
    for time in (b"99999999999999", b"9223372036854776", b"-1", b"1.5", b"01633998512068", b"9" * 30):
        assert market.check(head + time + tail).code is DecodeCode.NOT_MINE
        assert market.reference(head + time + tail).code is DecodeCode.MALFORMED


@EACH_FRAME
def test_other_shapes_are_left_to_the_reference(market: Market, frame: bytes) -> None:
    expected = market.check(frame)
    event = json.loads(frame)
    inner = event.get("data", event)
    symbol = (inner.get("s") or inner["o"]["s"]).encode()
    inner["Z"] = {"new": [1, None]}
    escaped = frame.replace(b'"s":"', b'"s":"\\u00%02x' % symbol[0]).replace(symbol, symbol[1:], 1)
    assert escaped != frame
    for shape in (
        json.dumps(event, separators=(",", ":")).encode(),  # an extra field
        frame.replace(b":", b": "),  # white space
        escaped,
        frame.replace(b'"ps":"', b'"ps":"\\u0041') if b'"ps"' in frame else b" " + frame,
        b" " + frame,
        frame + b"\n",
    ):
        assert market.check(shape).code is DecodeCode.NOT_MINE
        assert market.reference(shape) == expected, shape


@MARKETS
def test_many_levels(market: Market) -> None:
    depth = market.depth

    def frame(count: int) -> bytes:
        rows = b",".join(market.level % (price + 1) for price in range(count))
        return depth[: depth.index(b'"b":')] + b'"b":[' + rows + b'],"a":[' + rows + b"]}"

    decoder = market.make_decoder(max_levels=3000)
    for count in (0, 1, 1023, 1024, 1025, 3000):
        assert decoder.decode_message(frame(count)) == market.reference(frame(count))
    assert decoder.too_many_levels == 0
    assert decoder.decode_message(frame(3001)).code is DecodeCode.NOT_MINE
    assert decoder.too_many_levels == 1
    assert len(market.reference(frame(3001)).bids) == 3001


@MARKETS
@given(data=st.binary(max_size=200))
def test_any_bytes(market: Market, data: bytes) -> None:
    assert market.check(data).code is DecodeCode.NOT_MINE


GUARDED = """
import ctypes, importlib, json, mmap, random, sys
sys.path[:0] = sys.argv[1:2]
Decoder = importlib.import_module(sys.argv[2]).Decoder

page = mmap.PAGESIZE
area = mmap.mmap(-1, 2 * page)
address = ctypes.addressof(ctypes.c_char.from_buffer(area))
assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(address + page), page, 0) == 0
view = memoryview(area)
decoder = Decoder()
for symbol, scale in json.loads(sys.argv[3]).items():
    decoder.add_symbol(symbol, *scale)
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
if sys.argv[4:]:
    area[page]  # negative control: the page behind the frame cannot be read
print(done)
"""


@MARKETS
def test_nothing_is_read_beyond_the_end(market: Market) -> None:
    """Every prefix of every frame, laid right before a page that cannot be read."""
    lines = "\n".join(frame.decode("latin-1") for frame in market.frames)
    module = f"workers.venues.{market.name}._decode"
    guarded = [sys.executable, "-c", GUARDED, str(ROOT), module, json.dumps(market.scales)]
    outcome = subprocess.run(guarded, input=lines, capture_output=True, text=True, timeout=60, check=False)
    assert outcome.returncode == 0, outcome.stderr
    assert int(outcome.stdout) == 2 * sum(len(frame) + 1 for frame in market.frames)
    control = subprocess.run(
        [*guarded, "x"], input="", capture_output=True, text=True, timeout=60, check=False
    )
    assert control.returncode < 0


@MARKETS
def test_repr_and_bench_loop(market: Market) -> None:
    assert repr(market.make_decoder()) == f"{market.name}.Decoder(3 symbols, too_many_levels=0)"
    spent, ok = market.make_decoder().bench_loop([market.events[0], market.depth, b"{}"], 300)
    assert spent > 0
    assert ok == 200
    with pytest.raises(ValueError, match="max_levels"):
        market.decoder(max_levels=0)
