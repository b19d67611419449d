"""Kraken's WebSocket v2 protocol: status message first, one answer per symbol, heartbeats."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from workers.sim.faults import StreamInfo
from workers.sim.hub import Hub, WireProtocol
from workers.sim.kraken import payloads
from workers.sim.kraken.names import DEPTHS, parts
from workers.sim.transport import Peer

CHANNELS = ("book", "ticker", "trade")
STREAMS = (*CHANNELS, "bbo")
"""The first parts of streams' names: the ticker has two, one for each trigger."""
TRIGGERS = {"trades": "ticker", "bbo": "bbo"}
SNAPSHOT = {"book": True, "ticker": True, "trade": False}
"""Whether a snapshot is sent by default."""
HEARTBEAT_AFTER = 1.0
"""Seconds without a message before a heartbeat."""
FIRST_CONNECTION = 9_471_984_923_908_980_762
"""Connection ids are above 2^63, as recorded."""
REFUSE_DEPTH, MAINTENANCE = "refuse_depth", "maintenance"
_CHECKSUM = re.compile(rb'"checksum":(\d+)')
_LEVEL = re.compile(rb'\{"price":([0-9.]+),"qty":([0-9.]+)\}')


class KrakenProtocol(WireProtocol):
    """See `hub.WireProtocol`.

    It has two faults of its own: ``refuse_depth`` refuses a book subscription whatever its depth;
    ``maintenance`` reports this status on all connections until the faults are cleared, then ``online``.
    """

    def __init__(self, hub: Hub, symbols: Callable[[str], tuple[str, str]]) -> None:
        self._hub = hub
        self._symbols = symbols
        self._connection = FIRST_CONNECTION

    def connect(self, peer: Peer, target: str) -> Sequence[str] | None:
        """``/v2``; the path names no streams."""
        return () if target.partition("?")[0] == "/v2" else None

    def greeting(self, peer: Peer) -> Sequence[bytes]:
        """The status; heartbeats come only after the first subscription."""
        self._connection += 1
        peer.notes["connection"] = self._connection
        peer.notes["system"] = self._system
        return (payloads.status(self._system, self._connection),)

    @property
    def _system(self) -> str:
        halted = any(fault.kind == MAINTENANCE for fault in self._hub.faults.pending)
        return "maintenance" if halted else "online"

    def timed_messages(self, peer: Peer, now: float) -> Sequence[bytes]:
        """A changed status; a heartbeat after a second without any message."""
        if peer.notes.get("system") != self._system:
            peer.notes["system"] = self._system
            return (payloads.status(self._system, peer.notes["connection"]),)
        return (payloads.HEARTBEAT,) if peer.streams and now - peer.last_sent_at >= HEARTBEAT_AFTER else ()

    def stream_info(self, stream: str) -> StreamInfo:
        """Symbol of a name like ``book/25/BTC/USD``, and whether it is a book."""
        channel, depth, symbol = parts(stream)
        if channel not in STREAMS or not symbol or (channel == "book") != bool(depth):
            return StreamInfo()
        return StreamInfo(*self._symbols(symbol), book=channel == "book")

    # -- answers ----------------------------------------------------------------------------------------
    def handle_message(self, peer: Peer, text: bytes) -> Sequence[bytes]:
        """Answer ``ping``, or ``subscribe`` and ``unsubscribe`` with one answer per symbol."""
        try:
            message = msgspec.json.decode(text)
        except msgspec.DecodeError:
            message = None
        if not isinstance(message, dict):
            return (_answer({"error": "Malformed request", "success": False}),)
        method, number = message.get("method"), message.get("req_id")
        common: dict[str, Any] = {"method": method}
        if isinstance(number, int):
            common["req_id"] = number
        params = message.get("params")
        if method == "ping":
            return (_answer({**common, "method": "pong"}),)
        if method not in ("subscribe", "unsubscribe") or not isinstance(params, dict):
            return (_answer({**common, "error": "Method not supported", "success": False}),)
        return self._subscription(peer, method == "subscribe", common, params)

    def _subscription(
        self, peer: Peer, subscribes: bool, common: dict[str, Any], params: dict[str, Any]
    ) -> list[bytes]:
        channel, symbols = params.get("channel"), params.get("symbol")
        if channel not in CHANNELS:
            return [_answer({**common, "error": "Channel not supported", "success": False})]
        if not isinstance(symbols, list) or not symbols:
            return [_answer({**common, "error": "Symbol(s) not found", "success": False})]
        trigger = params.get("event_trigger", "trades")
        if channel == "ticker" and trigger not in TRIGGERS:
            return [_answer({**common, "error": "Event trigger not supported", "success": False})]
        depth = params.get("depth", 10) if channel == "book" else 0
        refuses = channel == "book" and subscribes and self._hub.faults.take((REFUSE_DEPTH,)) is not None
        if channel == "book" and (depth not in DEPTHS or refuses):
            # One answer for all symbols; the connection stays.
            return [_answer({**common, "error": "Subscription depth not supported", "success": False})]
        known = set(self._hub.source.symbols())
        if not subscribes:  # also from symbols that have been delisted
            known |= {self._hub.stream_info(stream).venue_symbol for stream in peer.streams}
        answers = []
        for symbol in symbols:
            if symbol not in known:
                error = {"error": f"Currency pair not supported {symbol}", "success": False, "symbol": symbol}
                answers.append(_answer({**common, **error}))
                continue
            name = TRIGGERS[trigger] if channel == "ticker" else channel
            stream = f"book/{depth}/{symbol}" if channel == "book" else f"{name}/{symbol}"
            snapshot = bool(params.get("snapshot", SNAPSHOT[channel]))
            result: dict[str, Any] = {"channel": channel, "snapshot": snapshot, "symbol": symbol}
            if depth:
                result["depth"] = depth
            if channel == "ticker":
                result["event_trigger"] = trigger
            self._set_subscription(peer, stream, subscribes, snapshot)
            answers.append(_answer({**common, "result": dict(sorted(result.items())), "success": True}))
        return answers

    def _set_subscription(self, peer: Peer, stream: str, subscribes: bool, snapshot: bool) -> None:
        with_snapshot: set[str] = peer.notes.setdefault("snapshots", set())
        if not subscribes:
            self._hub.unsubscribe(peer, [stream])
            return
        (with_snapshot.add if snapshot else with_snapshot.discard)(stream)
        self._hub.subscribe(peer, [stream])

    # -- faults -----------------------------------------------------------------------------------------
    def corrupt(self, kind: str, stream: str, payload: bytes) -> Sequence[bytes] | None:
        """``crossed`` adds a bid above the best ask; ``bad_checksum`` changes the checksum; ``repeat_price``
        repeats a level, first with a wrong size."""
        if kind == "bad_checksum":
            return (_CHECKSUM.sub(lambda found: b'"checksum":%d' % (int(found[1]) ^ 1), payload),)
        if kind == "repeat_price":
            found = _LEVEL.search(payload)
            if found is None:
                return None
            first = b'{"price":%s,"qty":1%s},' % (found[1], found[2])
            return (payload[: found.start()] + first + payload[found.start() :],)
        if kind == "crossed":
            ask = self._hub.source.depth(parts(stream)[2], 1).asks[0][0]
            bid = b'{"price":1%s,"qty":1}' % ask.encode()
            comma = b"" if b'"bids":[]' in payload else b","
            return (payload.replace(b'"bids":[', b'"bids":[' + bid + comma, 1),)
        return None


def _answer(fields: dict[str, Any]) -> bytes:
    """An answer with its times; keys in alphabetical order, as recorded."""
    return msgspec.json.encode(dict(sorted({**fields, **payloads.times()}.items())))
