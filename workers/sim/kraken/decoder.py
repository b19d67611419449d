"""Reads Kraken's recorded frames for a replay. Numbers stay text: a float would lose trailing zeros."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from workers.capture.reader import Row
from workers.sim.book import Depth, Diff, Level
from workers.sim.kraken import payloads
from workers.sim.kraken.names import USUAL_DEPTH, parts
from workers.sim.kraken.names import book as book_of
from workers.sim.market import Listing
from workers.sim.replay import CaptureDecoder


def _decode(payload: bytes) -> Any:
    return json.loads(payload, parse_float=str, parse_int=str)


class KrakenDecoder(CaptureDecoder):
    """See `replay.CaptureDecoder`. Book frames do not contain the depth; the subscription does."""

    snapshot_in_stream = True

    def __init__(self) -> None:
        self._depths: dict[tuple[int, str], int] = {}  # of a connection's symbol

    def frames(self, row: Row) -> Iterable[tuple[str, bytes]]:
        """Books, tickers and trades; a message with several symbols belongs to the stream of each."""
        if row.dir not in ("in", "out"):
            return ()
        message = _decode(row.payload())
        if not isinstance(message, dict):
            return ()
        if row.dir == "out":
            self._note_request(row.conn, message.get("params"))
            return ()
        if isinstance(result := message.get("result"), dict):
            self._note_depth(row.conn, result.get("symbol"), result.get("depth"))
        channel, data = message.get("channel"), message.get("data")
        if channel not in ("book", "ticker", "trade") or not isinstance(data, list):
            return ()
        symbols = dict.fromkeys(entry["symbol"] for entry in data)
        return [(self._stream(row.conn, channel, symbol), row.payload()) for symbol in symbols]

    def _note_request(self, conn: int, params: Any) -> None:
        if isinstance(params, dict) and isinstance(params.get("symbol"), list):
            for symbol in params["symbol"]:
                self._note_depth(conn, symbol, params.get("depth"))

    def _note_depth(self, conn: int, symbol: Any, depth: Any) -> None:
        if isinstance(symbol, str) and isinstance(depth, str) and depth.isdecimal():
            self._depths[conn, symbol] = int(depth)

    def _stream(self, conn: int, channel: str, symbol: str) -> str:
        if channel == "book":
            return book_of(symbol, self._depths.get((conn, symbol), USUAL_DEPTH))
        return f"{channel}/{symbol}"

    def book_event(self, stream: str, payload: bytes) -> Depth | Diff | None:
        """``book``; the ids are 0, because the venue has none."""
        channel, _, symbol = parts(stream)
        if channel != "book":
            return None
        message = _decode(payload)
        [entry] = [entry for entry in message["data"] if entry["symbol"] == symbol]
        bids, asks = _levels(entry["bids"]), _levels(entry["asks"])
        return Depth(0, bids, asks) if message["type"] == "snapshot" else Diff(0, 0, bids, asks)

    def max_levels(self, stream: str) -> int:
        """The depth of the subscription."""
        return parts(stream)[1]

    def resends_last(self, stream: str) -> bool:
        """Tickers."""
        return stream.startswith("ticker/")

    def snapshot_frame(self, stream: str, depth: Depth, ts_ns: int) -> bytes:
        """The snapshot as the venue sends it after a subscription."""
        return payloads.book("snapshot", parts(stream)[2], depth.bids, depth.asks, depth, ts_ns)

    def listing(self, venue_symbol: str, price_decimals: int, size_decimals: int) -> Listing:
        """With the decimals of the book, which are the pair's."""
        base, _, quote = venue_symbol.partition("/")
        return Listing(
            base, quote, price_decimals, size_decimals, 1, 10**size_decimals, "0.5", spelled=venue_symbol
        )


def _levels(levels: list[dict[str, str]]) -> list[Level]:
    return [(level["price"], level["qty"]) for level in levels]
