"""Binance spot's words: request targets, client messages and their answers, payloads.

Written from the venue's documentation (stream names, methods, error texts) and from recorded traffic
(field order, 8 decimals), and from no parser of this project, so that it can testify against one.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from workers.sim.book import Depth, Diff, Level
from workers.sim.hub import Hub
from workers.sim.market import Listing, Trade
from workers.sim.transport import Peer

LISTINGS: dict[str, Listing] = {
    listing.symbol: listing
    for listing in (
        Listing("BTC", "USDT", 2, 5, 9_412_345, 12_000),
        Listing("ETH", "USDT", 2, 4, 321_098, 25_000),
        Listing("SOL", "USDT", 2, 3, 18_765, 20_000),
        Listing("BNB", "USDT", 2, 3, 91_234, 3_000),
        Listing("XRP", "USDT", 4, 1, 23_456, 12_000),
        Listing("ADA", "USDT", 4, 1, 7_654, 20_000),
        Listing("DOGE", "USDT", 5, 0, 21_987, 5_000),
        Listing("LTC", "USDT", 2, 3, 10_432, 5_000),
        Listing("LINK", "USDT", 2, 2, 1_876, 4_000),
        Listing("AVAX", "USDT", 2, 2, 2_345, 6_000),
        Listing("ETH", "BTC", 5, 4, 3_411, 8_000, "0.00010000"),
        Listing("SOL", "BTC", 6, 2, 1_993, 4_000, "0.00010000"),
    )
}
"""What the synthetic market can list, by canonical symbol."""
DEFAULT_SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT")

_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
# Times (13 digits: milliseconds) of every payload; ids are shorter or have other names.
_MILLISECONDS = re.compile(rb'"([EtTOC]|closeTime|openTime)":(\d{13})(?=[,}])')
_WRAPPED = re.compile(rb'\A\{"stream":"([^"]+)","data":(.*)\}\s*\Z', re.DOTALL)


class SpotWords:
    """See `hub.Words`. `top_ask` gives the best ask (text) of a venue symbol, for the crossed fault."""

    def __init__(self, top_ask: Callable[[str], str]) -> None:
        self.hub: Hub | None = None
        self._top_ask = top_ask

    # -- opening and answering ----------------------------------------------------------------------

    def target(self, peer: Peer, target: str) -> list[str] | None:
        """``/ws``, ``/ws/<stream>[/<stream>]``, ``/stream``, ``/stream?streams=a/b``; `timeUnit` on all."""
        url = urlsplit(target)
        query = parse_qs(url.query)
        path = unquote(url.path)
        unit = query.get("timeUnit", ["MILLISECOND"])[0].upper()
        peer.micro = unit == "MICROSECOND"
        if path.rstrip("/") == "/stream":
            peer.combined = True
            names = query.get("streams", [""])[0]
        elif path.rstrip("/") == "/ws" or path.startswith("/ws/"):
            names = path[4:]
        else:
            return None
        return [name for name in names.split("/") if name]

    def answer(self, peer: Peer, text: bytes) -> bytes:
        """A client's JSON message; see the venue's "Live subscribing/unsubscribing to streams"."""
        assert self.hub is not None
        try:
            message = msgspec.json.decode(text)
        except msgspec.DecodeError:
            return _error(3, "Invalid JSON: expected value at line 1 column 1")
        if not isinstance(message, dict):
            return _error(2, "Invalid request: expected an object")
        number = message.get("id")
        if not _good_id(number):
            return _error(2, "Invalid request: request ID must be an unsigned integer")
        if "method" not in message:
            return _error(2, "Invalid request: missing field `method` at line 1 column 1", number)
        method, params = message["method"], message.get("params", [])
        if method not in _METHODS:
            allowed = ", ".join(f"`{name}`" for name in _METHODS)
            text_ = f"Invalid request: unknown variant `{method}`, expected one of {allowed}"
            return _error(2, text_, number)
        if not isinstance(params, list):
            return _error(2, "Invalid request: params must be an array", number)
        if method == "LIST_SUBSCRIPTIONS":
            return _result(list(peer.streams), number)
        if method.endswith("PROPERTY"):
            return _property(peer, method, params, number)
        if not params or not all(isinstance(name, str) for name in params):
            return _error(2, "Invalid request: params must be an array of stream names", number)
        if method == "UNSUBSCRIBE":
            self.hub.unsubscribe(peer, params)
            return _result(None, number)
        if len({*peer.streams, *params}) > self.hub.rules.max_streams:
            return _error(2, "Invalid request: too many parameters", number)
        # A name that matches no stream is accepted and stays silent: so does the venue.
        self.hub.subscribe(peer, params)
        return _result(None, number)

    # -- payloads -----------------------------------------------------------------------------------

    def form(self, stream: str, payload: bytes, combined: bool, micro: bool) -> bytes:
        """Raw or wrapped, milliseconds or microseconds."""
        if micro:
            payload = _MILLISECONDS.sub(rb'"\1":\g<2>000', payload)
        return b'{"stream":"%s","data":%s}' % (stream.encode(), payload) if combined else payload

    def shutdown(self, combined: bool) -> bytes:
        """The notice of a planned disconnect."""
        body = b'{"e":"serverShutdown","E":%d}' % (time.time_ns() // 1_000_000)
        return b'{"stream":"!serverShutdown","data":%s}' % body if combined else body

    def crossed(self, stream: str, payload: bytes) -> bytes:
        """The same update with one more bid, above the best ask."""
        diff: dict[str, Any] = msgspec.json.decode(payload)
        if diff.get("e") != "depthUpdate":
            return payload
        price = Decimal(self._top_ask(diff["s"])) * 2  # on the tick, whatever that is
        diff["b"] = [[f"{price:.8f}", "1.00000000"], *diff["b"]]
        return msgspec.json.encode(diff)

    # -- for replay ---------------------------------------------------------------------------------

    def unwrap(self, payload: bytes, known: frozenset[str]) -> tuple[str, bytes] | None:
        """A recorded frame's stream and bare payload; None for answers and what cannot be placed.

        Args:
            payload: the frame.
            known: the streams that the recording client had subscribed to; they name the stream of a
                raw frame (``depthUpdate`` fits both ``@depth`` and ``@depth@100ms``).
        """
        wrapped = _WRAPPED.match(payload)
        if wrapped is not None:
            return wrapped[1].decode(), wrapped[2]
        data = msgspec.json.decode(payload)
        if not isinstance(data, dict) or "result" in data or "error" in data:
            return None
        if "s" not in data:
            return (next(iter(known)), payload) if len(known) == 1 and "lastUpdateId" in data else None
        channels = _CHANNELS.get(data.get("e", "bookTicker"), ())
        for channel in channels:
            stream = f"{data['s'].lower()}@{channel}"
            if stream in known:
                return stream, payload
        return (f"{data['s'].lower()}@{channels[0]}", payload) if channels else None

    def diff(self, payload: bytes) -> Diff:
        """A ``depthUpdate`` payload."""
        raw = msgspec.json.decode(payload, type=_RawDiff)
        return Diff(raw.U, raw.u, raw.b, raw.a)

    def keeps_state(self, stream: str) -> bool:
        """Whether the stream's last frame is a state that a late subscriber can be given again."""
        return not stream.endswith(("@trade", "@aggTrade"))


_CHANNELS = {
    "depthUpdate": ("depth@100ms", "depth"),
    "bookTicker": ("bookTicker",),
    "trade": ("trade",),
    "aggTrade": ("aggTrade",),
    "24hrTicker": ("ticker",),
    "24hrMiniTicker": ("miniTicker",),
    "kline": ("kline_1m",),
}


class _RawDiff(msgspec.Struct):
    U: int
    u: int
    b: list[Level]
    a: list[Level]


def _good_id(number: object) -> bool:
    # int64, a string of at most 36 characters, or null
    if isinstance(number, bool):
        return False
    if isinstance(number, int):
        return 0 <= number < 2**63
    return number is None or (isinstance(number, str) and len(number) <= 36)


def _result(result: object, number: object) -> bytes:
    return msgspec.json.encode({"result": result, "id": number})


def _error(code: int, text: str, number: object = None) -> bytes:
    return msgspec.json.encode({"error": {"code": code, "msg": text}, "id": number})


def _property(peer: Peer, method: str, params: list[Any], number: object) -> bytes:
    if not params or params[0] != "combined":
        return _error(0, "Unknown property", number)
    if method == "GET_PROPERTY":
        return _result(peer.combined, number)
    if len(params) != 2 or not isinstance(params[1], bool):
        return _error(1, "Invalid value type: expected Boolean", number)
    peer.combined = params[1]
    return _result(None, number)


def levels(side: list[Level]) -> str:
    """``[["0.35","12.0"],…]``"""
    return "[" + ",".join(f'["{price}","{size}"]' for price, size in side) + "]"


def book_ticker(symbol: str, update: int, bid: str, bid_size: str, ask: str, ask_size: str) -> bytes:
    """``<s>@bookTicker``: no event time, no `e`."""
    return (
        f'{{"u":{update},"s":"{symbol}","b":"{bid}","B":"{bid_size}","a":"{ask}","A":"{ask_size}"}}'
    ).encode()


def depth_update(symbol: str, ms: int, diff: Diff) -> bytes:
    """``<s>@depth[@100ms]``"""
    return (
        f'{{"e":"depthUpdate","E":{ms},"s":"{symbol}","U":{diff.first_id},"u":{diff.last_id},'
        f'"b":{levels(diff.bids)},"a":{levels(diff.asks)}}}'
    ).encode()


def partial_depth(depth: Depth) -> bytes:
    """``<s>@depth<n>``, and the REST snapshot: no symbol, no time."""
    return (
        f'{{"lastUpdateId":{depth.last_id},"bids":{levels(depth.bids)},"asks":{levels(depth.asks)}}}'
    ).encode()


def trade(symbol: str, ms: int, match: Trade, price: str, size: str) -> bytes:
    """``<s>@trade``; `m`: the buyer was the maker, so the taker sold."""
    return (
        f'{{"e":"trade","E":{ms},"s":"{symbol}","t":{match.id},"p":"{price}","q":"{size}","T":{ms},'
        f'"m":{_bool(match.buyer_is_maker)},"M":true}}'
    ).encode()


def agg_trade(symbol: str, ms: int, number: int, first: Trade, last: Trade, price: str, size: str) -> bytes:
    """``<s>@aggTrade``: one taker order at one price."""
    return (
        f'{{"e":"aggTrade","E":{ms},"s":"{symbol}","a":{number},"p":"{price}","q":"{size}",'
        f'"f":{first.id},"l":{last.id},"T":{ms},"m":{_bool(first.buyer_is_maker)},"M":true}}'
    ).encode()


def _bool(value: bool) -> str:
    return "true" if value else "false"
