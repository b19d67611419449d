"""OKX's frames for its tests: one of each shape, as recorded or as the docs have it, and the real capture."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from workers.decode.normal import Decoded, Scale, disagreement
from workers.venues.okx._decode import Decoder
from workers.venues.okx.parser import OkxParser
from workers.venues.okx.venue import VENUE

ROOT = Path(__file__).resolve().parents[4]
CAPTURE = ROOT.parent / "shared/captures/okx/session.jsonl.gz"
BOOKS = ROOT.parent / "shared/captures/okx/books.jsonl"

SYMBOLS = {
    "BTC/USDT": "BTC-USDT",
    "BTC/USDT:USDT": "BTC-USDT-SWAP",
    "ETH/USD:ETH": "ETH-USD-SWAP",
    "SOL/USDT": "SOL-USDT",
}
SCALES = {
    "BTC-USDT": Scale(0, 1, 8),
    "BTC-USDT-SWAP": Scale(3, 1, 2),
    "ETH-USD-SWAP": Scale(4, 2, 0),
    "SOL-USDT": Scale(7, 2, 6),
}

SNAPSHOT = (
    b'{"arg":{"channel":"books","instId":"SOL-USDT"},"action":"snapshot","data":[{"asks":[["120.67","90.475897",'
    b'"0","6"],["120.68","83.806786","0","7"]],"bids":[["120.66","28.448458","0","3"],["120.65","46.716665","0",'
    b'"3"]],"ts":"1790394877200","checksum":0,"seqId":32032594283,"prevSeqId":-1}]}'
)
UPDATE = (
    b'{"arg":{"channel":"books","instId":"SOL-USDT"},"action":"update","data":[{"asks":[["120.67","60.475897","0",'
    b'"5"]],"bids":[["120.66","0","0","0"]],"ts":"1790394877300","checksum":0,"seqId":32032594315,'
    b'"prevSeqId":32032594283}]}'
)
ALIVE = (
    b'{"arg":{"channel":"books","instId":"SOL-USDT"},"action":"update","data":[{"asks":[],"bids":[],'
    b'"ts":"1790394937300","checksum":0,"seqId":32032594315,"prevSeqId":32032594315}]}'
)
LEGACY = (
    b'{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"update","data":[{"asks":[["30249.4","0","0","0"],'
    b'["30261","4","0","1"]],"bids":[["30182.6","0.00000452","0","1"]],"ts":"1652459225464","checksum":-914047754}]}'
)
BOOKS5 = (
    b'{"arg":{"channel":"books5","instId":"BTC-USDT-SWAP"},"data":[{"asks":[["111.1","55154","0","2"]],'
    b'"bids":[["111","57745.25","0","2"]],"instId":"BTC-USDT-SWAP","ts":"1670324386802","seqId":363996337}]}'
)
TOP = (
    b'{"arg":{"channel":"bbo-tbt","instId":"SOL-USDT"},"data":[{"asks":[["117.36","62.36109","0","3"]],'
    b'"bids":[["117.31","4.41916","0","1"]],"ts":"1790071390505","seqId":4153112115}]}'
)
TRADE = (
    b'{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","tradeId":"1051102132",'
    b'"px":"78808.8","sz":"0.00504905","side":"sell","ts":"1788118931677","count":"1","source":"0",'
    b'"seqId":80559459948}]}'
)
TRADES = (
    b'{"arg":{"channel":"trades","instId":"BTC-USDT-SWAP"},"data":[{"instId":"BTC-USDT-SWAP","tradeId":"130639474",'
    b'"px":"42219.9","sz":"12","side":"sell","ts":"1630048897897","count":"3","source":"0","seqId":1234},'
    b'{"instId":"BTC-USDT-SWAP","tradeId":"130639475","px":"42220","sz":"1.5","side":"buy","ts":"1630048897898",'
    b'"count":"1","source":"1","seqId":1235}]}'
)
LEGACY_TRADE = (
    b'{"arg":{"channel":"trades","instId":"ETH-USD-SWAP"},"data":[{"instId":"ETH-USD-SWAP","tradeId":"7849",'
    b'"px":"2218.8","sz":"1","side":"buy","ts":"1652459199958"}]}'
)
TICKER = (
    b'{"arg":{"channel":"tickers","instId":"BTC-USDT"},"data":[{"instType":"SPOT","instId":"BTC-USDT",'
    b'"last":"115450","lastSz":"0.01299737","askPx":"115450.1","askSz":"2.57408132","bidPx":"115450",'
    b'"bidSz":"1.62542563","open24h":"113625.5","high24h":"116400","low24h":"112900","sodUtc0":"114555.7",'
    b'"sodUtc8":"114959.9","volCcy24h":"887468830.390342052","vol24h":"7715.62528481","ts":"1761583471970"}]}'
)
SWAP_TICKER = (
    TICKER.replace(b'"SPOT"', b'"SWAP"')
    .replace(b"BTC-USDT", b"BTC-USDT-SWAP")
    .replace(b"7715.62528481", b"7715.62")
)
MARK = (
    b'{"arg":{"channel":"mark-price","instId":"BTC-USDT-SWAP"},"data":[{"instId":"BTC-USDT-SWAP",'
    b'"instType":"SWAP","markPx":"83679.8","ts":"1790358817778"}]}'
)
INDEX = (
    b'{"arg":{"channel":"index-tickers","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","idxPx":"83700.1",'
    b'"high24h":"85258.8","low24h":"83174.7","open24h":"84180.1","sodUtc0":"84409.9","sodUtc8":"83800",'
    b'"ts":"1790358817778"}]}'
)
FUNDING = (
    b'{"arg":{"channel":"funding-rate","instId":"BTC-USDT-SWAP"},"data":[{"formulaType":"withRate",'
    b'"fundingRate":"0.0000663322867090","fundingTime":"1788508800000","impactValue":"20000",'
    b'"instId":"BTC-USDT-SWAP","instType":"SWAP","interestRate":"0.0001","maxFundingRate":"0.00375",'
    b'"method":"current_period","minFundingRate":"-0.00375","nextFundingRate":"",'
    b'"nextFundingTime":"1788537600000","premium":"-0.0004527652078389","prevFundingTime":"1788480000000",'
    b'"settFundingRate":"0.0000418741079605","settState":"settled","ts":"1788487507788"}]}'
)
LIQUIDATION = (
    b'{"arg":{"channel":"liquidation-orders","instType":"SWAP"},"data":[{"details":[{"bkLoss":"0","bkPx":"82655.7",'
    b'"ccy":"","posSide":"long","side":"sell","sz":"8.55","ts":"1791565600771"}],"instFamily":"BTC-USDT",'
    b'"instId":"BTC-USDT-SWAP","instType":"SWAP","uly":"BTC-USDT"}]}'
)
FOREIGN = LIQUIDATION.replace(b"BTC-USDT", b"CELO-USDT")
FRAMES = {
    "snapshot": SNAPSHOT, "update": UPDATE, "alive": ALIVE, "legacy": LEGACY, "books5": BOOKS5, "top": TOP,
    "trade": TRADE, "trades": TRADES, "legacy trade": LEGACY_TRADE, "ticker": TICKER,
    "swap ticker": SWAP_TICKER, "mark": MARK, "index": INDEX, "funding": FUNDING, "liquidation": LIQUIDATION,
}  # fmt: skip


def make_decoder(scales: dict[str, Scale] = SCALES, **options: int) -> Decoder:
    decoder = Decoder(**options)
    for symbol, scale in scales.items():
        decoder.add_symbol(symbol, *scale)
    return decoder


DECODER = make_decoder()
PARSER = OkxParser(SYMBOLS)


def reference(data: bytes, scales: dict[str, Scale] = SCALES) -> list[Decoded]:
    return VENUE.data.forms(PARSER.parse(data).data, scales)


def check(data: bytes) -> list[Decoded]:
    """The events by the native decoder, which the reference agrees with."""
    native = DECODER.decode_messages(data)
    assert disagreement(native, reference(data)) is None, data
    return native


@cache
def rows() -> list[dict[str, Any]]:
    if not CAPTURE.exists():
        pytest.skip(f"{CAPTURE} is not here")
    with gzip.open(CAPTURE, "rt") as lines:
        return [json.loads(line) for line in lines]


def captured() -> list[bytes]:
    """Every frame from the venue."""
    return [row["text"].encode() for row in rows() if row.get("dir") == "in"]


CAPTURED_SYMBOLS = {
    "BTC/USD:BTC-220527": "BTC-USD-220527",
    "UNI/USD:UNI": "UNI-USD-SWAP",
    "BTC/USDT": "BTC-USDT",
}
CAPTURED_SCALES = {
    "BTC-USD-220527": Scale(0, 1, 0),
    "UNI-USD-SWAP": Scale(1, 3, 0),
    "BTC-USDT": Scale(2, 1, 8),
}
