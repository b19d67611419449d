"""What these tests share: frames of every channel, a decoder that knows their symbols, and the check."""

from __future__ import annotations

from workers.decode.normal import DecodeCode, Decoded, Scale, disagreement
from workers.sim.mexc_spot import payloads
from workers.venues.mexc_spot._decode import Decoder
from workers.venues.mexc_spot.parser import MexcSpotParser
from workers.venues.mexc_spot.venue import VENUE

SCALES = {"BTCUSDT": Scale(0, 2, 8), "HYPEUSDT": Scale(1, 2, 2), "PEPEUSDT": Scale(7, 12, 2)}
SENT = 1790281243450
TOP_CHANNEL = "spot@public.aggre.bookTicker.v3.api.pb@100ms@BTCUSDT"
DEPTH_EVENT = "spot@public.aggre.depth.v3.api.pb@100ms"
DEALS_EVENT = "spot@public.aggre.deals.v3.api.pb@100ms"
TOP_BODY = payloads.book_ticker(("84270", "0.006387"), ("84270.01", "5.42169969"), 82164153436, SENT - 3)
DEPTH_BODY = payloads.depths(
    DEPTH_EVENT,
    82164153430,
    82164153436,
    [("84269.99", "0.5"), ("84260.00", "0.00000000")],
    [("84270.01", "5.42169969")],
)
DEALS = [
    payloads.deal("84270", "0.00099829", True, SENT - 74, "731901896985399296X0_731901896985399297X0"),
    payloads.deal("84270.01", "0.00019169", False, SENT - 73, "731901896985399298X0_731901896985399299X0"),
]
DEALS_BODY = payloads.deals(DEALS_EVENT, DEALS)
TICKER_BODY = payloads.mini_ticker(
    "BTCUSDT", "84270", "0.0766", "85000.01", "83000", "11336518.0264", "134.52000001"
)


def frame(number: int, body: bytes, symbol: str = "BTCUSDT", channel: str = TOP_CHANNEL) -> bytes:
    return payloads.wrapper(channel, symbol, SENT, number, body)


TOP = frame(payloads.BOOK_TICKER, TOP_BODY)
DEPTH = frame(payloads.DEPTHS, DEPTH_BODY, channel=f"{DEPTH_EVENT}@BTCUSDT")
TRADES = frame(payloads.DEALS, DEALS_BODY, channel=f"{DEALS_EVENT}@BTCUSDT")
TICKER = frame(payloads.MINI_TICKER, TICKER_BODY, channel="spot@public.miniTicker.v3.api.pb@BTCUSDT@24H")
FRAMES = [TOP, DEPTH, TRADES, TICKER]


def make_decoder(scales: dict[str, Scale] = SCALES, **options: int) -> Decoder:
    decoder = Decoder(**options)
    for symbol, scale in scales.items():
        decoder.add_symbol(symbol, *scale)
    return decoder


DECODER = make_decoder()
PARSER = MexcSpotParser({"BTCUSDT": "BTC/USDT", "HYPEUSDT": "HYPE/USDT"})


def reference(data: bytes, scales: dict[str, Scale] = SCALES) -> list[Decoded]:
    return VENUE.data.forms(PARSER.parse(data).data, scales)


def check(data: bytes) -> list[Decoded]:
    native = DECODER.decode_messages(data)
    assert disagreement(native, reference(data)) is None, data
    return native


def left(data: bytes) -> bool:
    """Whether the native decoder leaves this to the reference."""
    return [each.code for each in check(data)] == [DecodeCode.NOT_MINE]
