"""Reads OKX's recorded frames for a replay."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from workers.capture.reader import Row
from workers.sim.book import Depth, Diff, Level
from workers.sim.market import Listing
from workers.sim.okx import payloads
from workers.sim.okx.names import LEGACY, parts
from workers.sim.okx.publisher import LEVELS
from workers.sim.replay import CaptureDecoder


class OkxDecoder(CaptureDecoder):
    """See `replay.CaptureDecoder`. Recordings of 2022 have no ``seqId``; their books get the id 0."""

    snapshot_in_stream = True

    def frames(self, row: Row) -> Iterable[tuple[str, bytes]]:
        """A push names channel and instrument; of channels subscribed by type, its first entry names it."""
        if row.dir != "in":
            return
        payload = row.payload()
        if payload == b"pong":
            return
        message = msgspec.json.decode(payload)
        arg = message.get("arg") if isinstance(message, dict) else None
        if not isinstance(arg, dict) or "event" in message or not message.get("data"):
            return
        name = arg.get("instId") or message["data"][0].get("instId", "")
        yield f"{arg['channel']}/{name}", payload

    def book_event(self, stream: str, payload: bytes) -> Depth | Diff | None:
        """``books``, snapshots and updates."""
        channel, _, name = stream.partition("/")
        if channel not in ("books", LEGACY):
            return None
        message: dict[str, Any] = msgspec.json.decode(payload)
        if message["arg"]["instId"] != name:
            raise ValueError(f"a frame of {message['arg']['instId']} in {stream}")
        [entry] = message["data"]
        bids, asks = _levels(entry["bids"]), _levels(entry["asks"])
        number = entry.get("seqId", 0)
        if message["action"] == "snapshot":
            return Depth(number, bids, asks)
        return Diff(entry["prevSeqId"] + 1 if "prevSeqId" in entry else 0, number, bids, asks)

    def max_levels(self, stream: str) -> int:
        """The channel covers the best 400 levels; a level that leaves them is sent as removed."""
        return LEVELS

    def resends_last(self, stream: str) -> bool:
        """All but trades and liquidations."""
        return not stream.startswith(("trades/", "liquidation-orders/"))

    def snapshot_frame(self, stream: str, depth: Depth, ts_ns: int) -> bytes:
        """With ids, or, for a book of 2022, with the checksum instead."""
        name = stream.partition("/")[2]
        ids = (-1, depth.last_id) if depth.last_id else None
        check = 0 if ids else payloads.crc(depth)
        ms = ts_ns // 1_000_000
        return payloads.book(name, "snapshot", depth.bids, depth.asks, ms, ids, check)

    def answer_key(self, row: Row) -> str:
        """``instruments SPOT``, ``candles BTC-USDT 1m``"""
        url = urlsplit(row.url)
        query = parse_qs(url.query)
        parameters = [query[key][0] for key in ("instType", "uly", "instId", "bar") if key in query]
        return " ".join([url.path.rsplit("/", 1)[-1], *parameters])

    def listing(self, venue_symbol: str, price_decimals: int, size_decimals: int) -> Listing:
        """From the name of the instrument; the size of a contract is not known."""
        base, quote, settle = parts(venue_symbol)
        typical = 10 * 10**size_decimals
        return Listing(
            base, quote, price_decimals, size_decimals, 1, typical, settle=settle, spelled=venue_symbol
        )


def _levels(rows: list[list[str]]) -> list[Level]:
    return [(row[0], row[1]) for row in rows]
