"""Frames as the venue sends them, and how both decoders are asked about them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from workers.decode.normal import Decoded, Scale, disagreement
from workers.venues.kraken._decode import Decoder
from workers.venues.kraken.parser import KrakenParser
from workers.venues.kraken.venue import VENUE

ROOT = Path(__file__).resolve().parents[4]
SHARED = ROOT.parent / "shared/captures/kraken"
FIXTURES = ROOT / "tests/fixtures"

SCALES = {"BTC/USD": Scale(7, 1, 8), "MINA/GBP": Scale(0, 4, 8), "USDT/USD": Scale(3, 5, 8)}
SNAPSHOT = (
    b'{"channel":"book","type":"snapshot","data":[{"symbol":"MINA/GBP","bids":[{"price":0.0286,"qty":74198.19125726},'
    b'{"price":0.0280,"qty":12925.63811394}],"asks":[{"price":0.0288,"qty":32416.38964164}],"checksum":2570005138,'
    b'"timestamp":"2026-08-16T23:37:04.190019Z"}]}'
)
UPDATE = (
    b'{"channel":"book","type":"update","data":[{"symbol":"MINA/GBP","bids":[{"price":0.0279,"qty":0.00000000},'
    b'{"price":0.0277,"qty":1486.59884909}],"asks":[],"checksum":222201382,"timestamp":"2026-08-16T23:37:05.723653Z"}]}'
)
TICKER = (
    b'{"channel":"ticker","type":"update","data":[{"symbol":"USDT/USD","bid":0.99980,"bid_qty":44620.68691883,'
    b'"ask":0.99981,"ask_qty":1087605.70466858,"last":0.99981,"volume":270638277.50461281,"vwap":0.99983,'
    b'"low":0.99959,"high":1.00000,"change":0.00005,"change_pct":0.01,"trades":38144,'
    b'"timestamp":"2026-09-24T03:54:18.054886Z"}]}'
)
OLD_TICKER = TICKER.replace(b',"trades":38144,"timestamp":"2026-09-24T03:54:18.054886Z"', b"")
TRADES = (
    b'{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"buy","price":81205.1,"qty":0.00003630,'
    b'"ord_type":"limit","trade_id":106799953,"timestamp":"2026-09-04T00:21:20.564568Z"},{"symbol":"BTC/USD",'
    b'"side":"sell","price":81205.0,"qty":0.00200000,"ord_type":"market","trade_id":106799954,'
    b'"timestamp":"2026-09-04T00:21:20.564568Z"}]}'
)
FRAMES = [SNAPSHOT, UPDATE, TICKER, OLD_TICKER, TRADES]
STATUS = (
    b'{"channel":"status","type":"update","data":[{"version":"2.0.10","system":"online","api_version":"v2",'
    b'"connection_id":9471984923908980762}]}'
)
HEARTBEAT = b'{"channel":"heartbeat"}'
PARSER = KrakenParser({symbol: symbol for symbol in SCALES})


def make_decoder(scales: dict[str, Scale] = SCALES, **options: int) -> Decoder:
    decoder = Decoder(**options)
    for symbol, scale in scales.items():
        decoder.add_symbol(symbol, *scale)
    return decoder


DECODER = make_decoder()


def reference(data: bytes, scales: dict[str, Scale] = SCALES) -> list[Decoded]:
    return VENUE.data.forms(PARSER.parse(data).data, scales)


def check(data: bytes) -> list[Decoded]:
    """The events by the native decoder, which the reference agrees with."""
    native = DECODER.decode_messages(data)
    assert disagreement(native, reference(data)) is None, data
    return native


def incoming(name: str) -> list[bytes]:
    """The frames of a capture in the shared folder."""
    path = SHARED / f"{name}.jsonl.gz"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    with gzip.open(path, "rt") as lines:
        rows = [json.loads(line) for line in lines]
    return [row["text"].encode() for row in rows if row["dir"] == "in"]


def oracle(name: str) -> dict[int, dict[str, Any]]:
    """Number of frames of a capture -> the book after them."""
    files = {"session": "d25_2026", "session_resync": "d25_resync"}
    rows = [json.loads(line) for line in (SHARED / "books.jsonl").read_text().splitlines()]
    return {row["line"] + 1: row["expect"] for row in rows if files[name] in row["file"]}
