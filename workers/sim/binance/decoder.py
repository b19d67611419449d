"""Reads Binance's recorded frames for a replay."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qs, urlsplit

import msgspec

from workers.capture.reader import Row
from workers.sim.binance.names import is_book, split
from workers.sim.book import Depth, Diff, Level
from workers.sim.market import Listing
from workers.sim.replay import CaptureDecoder
from workers.sim.symbol_query import answer_key, depth_answer

_WRAPPED = re.compile(rb'\A\{"stream":"([^"]+)","data":(.*)\}\s*\Z', re.DOTALL)

SPOT_CHANNELS: Mapping[str, tuple[str, ...]] = {
    "depthUpdate": ("depth@100ms", "depth"),
    "bookTicker": ("bookTicker",),
    "trade": ("trade",),
    "aggTrade": ("aggTrade",),
    "24hrTicker": ("ticker",),
    "24hrMiniTicker": ("miniTicker",),
    "kline": ("kline_1m",),
}
"""From an event's `e` to the channels that it may belong to."""


class RawDiff(msgspec.Struct):
    """A ``depthUpdate``; spot has no `pu`."""

    U: int
    u: int
    b: list[Level]
    a: list[Level]
    pu: int = 0


FUTURES_CHANNELS = {
    **SPOT_CHANNELS,
    "depthUpdate": ("depth@100ms", "depth", "depth@500ms"),
    "markPriceUpdate": ("markPrice@1s", "markPrice"),
    "forceOrder": ("forceOrder",),
}
"""The same for USD-M futures."""


class BinanceDecoder(CaptureDecoder):
    """See `replay.CaptureDecoder`.

    Args:
        channels: from a raw event's `e` to its streams.
        settled: whether symbols are swaps, settled in their quote.
    """

    def __init__(
        self, channels: Mapping[str, tuple[str, ...]] = SPOT_CHANNELS, settled: bool = False
    ) -> None:
        self._channels, self._settled = channels, settled
        self._known: dict[int, frozenset[str]] = {}

    def frames(self, row: Row) -> Iterable[tuple[str, bytes]]:
        """Unwraps combined frames; the stream of a raw one is found among the recorded subscriptions."""
        known = self._known.get(row.conn, frozenset())
        if row.dir == "open":
            self._known[row.conn] = frozenset(_url_streams(row.url))
        elif row.dir == "out":
            self._known[row.conn] = known | _asked(row.payload())
        elif row.dir == "in":
            placed = self.unwrap(row.payload(), known)
            return () if placed is None else (placed,)
        return ()

    def unwrap(self, payload: bytes, known: frozenset[str]) -> tuple[str, bytes] | None:
        """A recorded frame's stream and bare payload; None for answers and unknown streams.

        Args:
            payload: the frame.
            known: the streams subscribed to (``depthUpdate`` fits both ``@depth`` and ``@depth@100ms``).
        """
        wrapped = _WRAPPED.match(payload)
        if wrapped is not None:
            return wrapped[1].decode(), wrapped[2]
        data = msgspec.json.decode(payload)
        if not isinstance(data, dict) or "result" in data or "error" in data:
            return None
        symbol = (data.get("s") or data.get("o", {}).get("s", "")).lower()
        if not symbol:
            return (next(iter(known)), payload) if len(known) == 1 and "lastUpdateId" in data else None
        channels = self._channels.get(data.get("e", "bookTicker"), ())
        for channel in channels:
            stream = f"{symbol}@{channel}"
            if stream in known:
                return stream, payload
        return (f"{symbol}@{channels[0]}", payload) if channels else None

    def book_event(self, stream: str, payload: bytes) -> Depth | Diff | None:
        """``depthUpdate`` of a diff stream; partial books are not used (the futures' look like changes)."""
        if not is_book(stream):
            return None
        raw = msgspec.json.decode(payload, type=RawDiff)
        if not raw.pu:
            return Diff(raw.U, raw.u, raw.b, raw.a)
        return Diff(raw.pu + 1, raw.u, raw.b, raw.a, raw.U)

    def resends_last(self, stream: str) -> bool:
        """All but trades."""
        return not stream.endswith(("@trade", "@aggTrade", "@forceOrder"))

    def rest_snapshot(self, row: Row) -> tuple[str, Depth] | None:
        return depth_answer(row)

    def answer_key(self, row: Row) -> str:
        return answer_key(row)

    def listing(self, venue_symbol: str, price_decimals: int, size_decimals: int) -> Listing:
        """Base and quote by the quotes that the venue has."""
        typical = 1000 * 10**size_decimals
        base, quote = split(venue_symbol)
        settle = quote if self._settled else ""
        return Listing(base, quote, price_decimals, size_decimals, 1, typical, "0.00000001", settle)


def _url_streams(url: str) -> list[str]:
    parts = urlsplit(url)
    names = parse_qs(parts.query).get("streams", [""])[0] or parts.path.partition("/ws/")[2]
    return [name for name in names.split("/") if name]


def _asked(payload: bytes) -> frozenset[str]:
    try:
        message = msgspec.json.decode(payload)
    except msgspec.DecodeError:
        return frozenset()
    if isinstance(message, dict) and message.get("method") == "SUBSCRIBE":
        return frozenset(name for name in message.get("params", ()) if isinstance(name, str))
    return frozenset()
