"""Binance's WebSocket protocol: request targets, client messages and answers, raw and combined payloads.

Written from the venue's documentation (stream names, methods, error texts) and from recorded traffic
(field order, decimals), not from a parser of this project, so that it can be used to test one.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from workers.sim.binance.names import CONTRACTS, is_book
from workers.sim.faults import StreamInfo
from workers.sim.hub import Hub, WireProtocol
from workers.sim.transport import Peer

NEW_FIELDS = "new_fields"
_ELSEWHERE = "elsewhere:"
_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
# Times (13 digits: milliseconds) of every payload; ids are shorter or have other names.
_MILLISECONDS = re.compile(rb'"([EtTOC]|closeTime|openTime)":(\d{13})(?=[,}])')


class PayloadFormat(NamedTuple):
    """Format of a connection's payloads: `combined` adds the stream's name, `micro` writes times in µs."""

    combined: bool = False
    micro: bool = False


ROUTES: Mapping[str, str] = {
    "bookTicker": "public",
    "depth": "public",
    "trade": "public",
    "aggTrade": "market",
    "markPrice": "market",
    "kline": "market",
    "ticker": "market",
    "miniTicker": "market",
    "forceOrder": "market",
}
"""USD-M futures: the path that serves a channel, by the letters that the channel's name begins with."""


class BinanceProtocol(WireProtocol):
    """See `hub.WireProtocol`.

    Args:
        hub: the connections.
        symbols: from a venue symbol to (canonical, venue symbol).
        routes: the path prefix before ``/ws`` and ``/stream`` that serves each channel (`ROUTES`). A
            subscription under another prefix is accepted, but nothing is sent. Paths without a prefix, the
            only ones before 2026, serve everything.
        micro: whether clients may choose `timeUnit`.
    """

    def __init__(
        self,
        hub: Hub,
        symbols: Callable[[str], tuple[str, str]],
        routes: Mapping[str, str] | None = None,
        micro: bool = True,
    ) -> None:
        self._hub = hub
        self._symbols = symbols
        self._routes, self._micro = routes or {}, micro

    # -- opening and answering ----------------------------------------------------------------------

    def connect(self, peer: Peer, target: str) -> Sequence[str] | None:
        """``/ws``, ``/ws/<stream>[/<stream>]``, ``/stream``, ``/stream?streams=a/b``; `timeUnit` on all."""
        url = urlsplit(target)
        query = parse_qs(url.query)
        path = unquote(url.path)
        route, rest = path[1:].partition("/")[::2]
        if route in self._routes.values():
            path = "/" + rest
            peer.notes["route"] = route
        micro = self._micro and query.get("timeUnit", ["MILLISECOND"])[0].upper() == "MICROSECOND"
        peer.payload_format = PayloadFormat(False, micro)
        if path.rstrip("/") == "/stream":
            peer.payload_format = PayloadFormat(True, micro)
            names = query.get("streams", [""])[0]
        elif path.rstrip("/") == "/ws" or path.startswith("/ws/"):
            names = path[4:]
        else:
            return None
        return self._served_names(peer, [name for name in names.split("/") if name])

    def _served_names(self, peer: Peer, names: Sequence[str]) -> list[str]:
        """The streams' names; one that this path does not serve gets a name under which nothing is sent."""
        route = peer.notes.get("route")
        if route is None:
            return list(names)
        return [name if self._route(name) == route else f"{_ELSEWHERE}{name}" for name in names]

    def _route(self, stream: str) -> str:
        if stream == CONTRACTS:
            return "market"
        channel = re.match("[a-zA-Z]*", stream.partition("@")[2])
        return self._routes.get(channel[0] if channel else "", "")

    def handle_message(self, peer: Peer, text: bytes) -> Sequence[bytes]:
        """Answer a JSON message; see the venue's "Live subscribing/unsubscribing to streams"."""
        return (self._answer(peer, text),)

    def _answer(self, peer: Peer, text: bytes) -> bytes:
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
            return _result([name.removeprefix(_ELSEWHERE) for name in peer.streams], number)
        if method.endswith("PROPERTY"):
            return _property(peer, method, params, number)
        if not params or not all(isinstance(name, str) for name in params):
            return _error(2, "Invalid request: params must be an array of stream names", number)
        if method == "UNSUBSCRIBE":
            self._hub.unsubscribe(peer, self._served_names(peer, params))
            return _result(None, number)
        params = self._served_names(peer, params)
        if len({*peer.streams, *params}) > self._hub.rules.max_streams:
            return _error(2, "Invalid request: too many parameters", number)
        # Like the venue, accept a name that matches no stream, and never send anything on it.
        self._hub.subscribe(peer, params)
        return _result(None, number)

    # -- payloads -----------------------------------------------------------------------------------

    def stream_info(self, stream: str) -> StreamInfo:
        """Symbol of a name like ``btcusdt@depth@100ms``, and whether it is a stream of diffs."""
        name, _, channel = stream.partition("@")
        if not channel or not name.islower():
            return StreamInfo()
        return StreamInfo(*self._symbols(name.upper()), book=is_book(stream))

    def render(self, stream: str, payload: bytes, payload_format: Hashable) -> bytes:
        """The payload raw or combined, with times in milliseconds or microseconds."""
        assert isinstance(payload_format, PayloadFormat)
        if payload_format.micro:
            payload = _MILLISECONDS.sub(rb'"\1":\g<2>000', payload)
        return (
            b'{"stream":"%s","data":%s}' % (stream.encode(), payload) if payload_format.combined else payload
        )

    def shutdown_notice(self, peer: Peer) -> Sequence[bytes]:
        """The event ``serverShutdown``."""
        assert isinstance(peer.payload_format, PayloadFormat)
        body = b'{"e":"serverShutdown","E":%d}' % (time.time_ns() // 1_000_000)
        return (b'{"stream":"!serverShutdown","data":%s}' % body if peer.payload_format.combined else body,)

    def corrupt(self, kind: str, stream: str, payload: bytes) -> Sequence[bytes] | None:
        """``crossed`` adds a bid above the best ask; ``repeat_price`` repeats a level, first with a wrong
        size; ``new_fields`` adds the fields that the futures' events have had since 2026."""
        if kind == NEW_FIELDS:
            return (_with_new_fields(payload),)
        if kind not in ("crossed", "repeat_price"):
            return None
        diff: dict[str, Any] = msgspec.json.decode(payload)
        if kind == "crossed":
            ask = self._hub.source.depth(diff["s"], 1).asks[0][0]
            price = Decimal(ask) * 2  # on the tick, whatever that is
            places = -int(Decimal(ask).as_tuple().exponent)
            diff["b"] = [[f"{price:.{places}f}", "1.00000000"], *diff["b"]]
            return (msgspec.json.encode(diff),)
        side = diff["b"] or diff["a"]
        if not side:
            return None
        price, size = side[0]
        side.insert(0, [price, str(Decimal(size) + 1)])
        return (msgspec.json.encode(diff),)


def _with_new_fields(payload: bytes) -> bytes:
    """A futures event with the fields of 2026: ``st``; ``nq`` in aggregate trades, ``ps`` in liquidations."""
    if payload.startswith(b'{"e":"forceOrder"'):
        symbol = msgspec.json.decode(payload)["o"]["s"]
        return b'%s,"ps":"%s","st":1}}' % (payload[:-2], symbol.encode())
    if payload.startswith(b'{"e":"aggTrade"'):
        payload = re.sub(rb'("q":("[^"]*"))', rb'\1,"nq":\2', payload, count=1)
    return payload[:-1] + b',"st":1}'


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
    assert isinstance(peer.payload_format, PayloadFormat)
    if not params or params[0] != "combined":
        return _error(0, "Unknown property", number)
    if method == "GET_PROPERTY":
        return _result(peer.payload_format.combined, number)
    if len(params) != 2 or not isinstance(params[1], bool):
        return _error(1, "Invalid value type: expected Boolean", number)
    peer.payload_format = peer.payload_format._replace(combined=params[1])
    return _result(None, number)
