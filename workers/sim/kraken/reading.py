"""Kraken's recorded frames, read for a replay. Numbers stay text: a float would lose the spelling."""

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
from workers.sim.replay import Reading


def _decode(payload: bytes) -> Any:
    return json.loads(payload, parse_float=str, parse_int=str)


class KrakenReading(Reading):
    """See `replay.Reading`. A book's depth is in no frame of it: the answer to the subscription says it."""

    in_stream = True

    def __init__(self) -> None:
        self._depths: dict[tuple[int, str], int] = {}  # of a connection's symbol

    def frames(self, row: Row) -> Iterable[tuple[str, bytes]]:
        """Books, tickers and trades; a message about several symbols is one of each."""
        if row.dir not in ("in", "out"):
            return ()
        message = _decode(row.payload())
        if not isinstance(message, dict):
            return ()
        if row.dir == "out":
            self._asked(row.conn, message.get("params"))
            return ()
        if isinstance(result := message.get("result"), dict):
            self._note(row.conn, result.get("symbol"), result.get("depth"))
        channel, data = message.get("channel"), message.get("data")
        if channel not in ("book", "ticker", "trade") or not isinstance(data, list):
            return ()
        symbols = dict.fromkeys(entry["symbol"] for entry in data)
        return [(self._stream(row.conn, channel, symbol), row.payload()) for symbol in symbols]

    def _asked(self, conn: int, params: Any) -> None:
        if isinstance(params, dict) and isinstance(params.get("symbol"), list):
            for symbol in params["symbol"]:
                self._note(conn, symbol, params.get("depth"))

    def _note(self, conn: int, symbol: Any, depth: Any) -> None:
        if isinstance(symbol, str) and isinstance(depth, str) and depth.isdecimal():
            self._depths[conn, symbol] = int(depth)

    def _stream(self, conn: int, channel: str, symbol: str) -> str:
        if channel == "book":
            return book_of(symbol, self._depths.get((conn, symbol), USUAL_DEPTH))
        return f"{channel}/{symbol}"

    def book(self, stream: str, payload: bytes) -> Depth | Diff | None:
        """There are no ids: 0."""
        channel, _, symbol = parts(stream)
        if channel != "book":
            return None
        message = _decode(payload)
        [told] = [entry for entry in message["data"] if entry["symbol"] == symbol]
        bids, asks = _levels(told["bids"]), _levels(told["asks"])
        return Depth(0, bids, asks) if message["type"] == "snapshot" else Diff(0, 0, bids, asks)

    def cut(self, stream: str) -> int:
        """The depth subscribed."""
        return parts(stream)[1]

    def keeps_state(self, stream: str) -> bool:
        """Tickers."""
        return stream.startswith("ticker/")

    def snapshot_frame(self, stream: str, depth: Depth, ts_ns: int) -> bytes:
        """As the venue sends it after a subscription."""
        return payloads.book("snapshot", parts(stream)[2], depth.bids, depth.asks, depth, ts_ns)

    def listing(self, venue_symbol: str, price_decimals: int, size_decimals: int) -> Listing:
        """With the decimals of the book, which are the pair's."""
        base, _, quote = venue_symbol.partition("/")
        return Listing(
            base, quote, price_decimals, size_decimals, 1, 10**size_decimals, "0.5", spelled=venue_symbol
        )


def _levels(levels: list[dict[str, str]]) -> list[Level]:
    return [(level["price"], level["qty"]) for level in levels]
