"""MEXC spot's WebSocket protocol: subscriptions, refusals that have the code of success, pings.

Written from the venue's documentation ("Websocket Market Streams", 2026-04), from what open-source clients
report, and from recorded frames, not from a parser of this project.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from workers.sim.faults import StreamInfo
from workers.sim.hub import Hub, WireProtocol
from workers.sim.mexc_spot import decoder, names, payloads
from workers.sim.transport import Binary, Peer

FAULTS = ("repeat_price", "blocked", "bodyless")
"""A price twice in a book update; a topic refused with code 0; a frame without a body."""


class MexcProtocol(WireProtocol):
    """See `hub.WireProtocol`. Streams have the topics' names."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def connect(self, peer: Peer, target: str) -> Sequence[str] | None:
        """``/ws``; the path names no streams."""
        return () if target.partition("?")[0] == "/ws" else None

    def handle_message(self, peer: Peer, text: bytes) -> Sequence[bytes]:
        """Answer ``SUBSCRIPTION``, ``UNSUBSCRIPTION`` or ``PING``; the id of an answer is always 0."""
        try:
            message: Any = msgspec.json.decode(text)
            method, params = message.get("method"), message.get("params", [])
        except (msgspec.DecodeError, AttributeError):
            return (_answer("msg format invalid", 1),)
        if method == "PING":
            return (_answer("PONG"),)
        listed = isinstance(params, list) and all(isinstance(name, str) for name in params)
        if method not in ("SUBSCRIPTION", "UNSUBSCRIPTION") or not listed or not params:
            return (_answer("msg format invalid", 1),)
        if method == "UNSUBSCRIPTION":
            self._hub.unsubscribe(peer, params)
            return (_answer(",".join(params)),)
        return self._subscribe(peer, params)

    def _subscribe(self, peer: Peer, params: list[str]) -> list[bytes]:
        """One answer names the accepted topics, another the refused ones; both have code 0."""
        accepted: list[str] = []
        refused: list[str] = []
        for name in dict.fromkeys(params):
            full = (
                name not in peer.streams and len(peer.streams) + len(accepted) >= self._hub.rules.max_streams
            )
            (refused if full or self._blocked(name) else accepted).append(name)
        self._hub.subscribe(peer, accepted)
        out = [_answer(",".join(accepted))] if accepted else []
        if refused:
            out.append(_answer(f"Not Subscribed successfully! [{','.join(refused)}].  Reason： Blocked!"))
        return out

    def _blocked(self, name: str) -> bool:
        """Whether a topic is refused: it does not exist, its symbol is not listed, or a fault says so."""
        kind, symbol = names.split(name)
        if not kind or symbol not in self._hub.source.symbols():
            return True
        faults = self._hub.faults
        return faults.active and faults.take(("blocked",), name, info=self.stream_info(name)) is not None

    def stream_info(self, stream: str) -> StreamInfo:
        """The symbol of a topic, and whether it is ``aggre.depth``."""
        kind, symbol = names.split(stream)
        return StreamInfo(names.canonical(symbol), symbol, kind == "depth") if kind else StreamInfo()

    def corrupt(self, kind: str, stream: str, payload: bytes) -> Sequence[bytes] | None:
        """``malformed`` cuts off the last byte, ``bodyless`` leaves out the body; ``crossed`` adds a bid
        above the best ask; ``repeat_price`` repeats a level, first with a wrong size."""
        if kind == "malformed":
            return (Binary(payload[:-1]),)
        outer = dict(decoder.fields(payload))
        channel, symbol = str(outer[1], "utf-8"), str(outer[3], "utf-8")
        if kind == "bodyless":
            return (Binary(payloads.wrapper(channel, symbol, outer[6])),)
        if kind not in ("crossed", "repeat_price") or payloads.DEPTHS not in outer:
            return None
        diff = decoder.diff(outer[payloads.DEPTHS])
        bids, asks = list(diff.bids), list(diff.asks)
        if kind == "crossed":
            bids.insert(0, (f"{Decimal(self._hub.source.depth(symbol, 1).asks[0][0]) * 2}", "1"))
        elif side := bids or asks:
            price, size = side[0]
            side.insert(0, (price, str(Decimal(size) + 1)))
        else:
            return None
        body = payloads.depths(names.event(stream), diff.first_id, diff.last_id, bids, asks)
        return (Binary(payloads.wrapper(channel, symbol, outer[6], payloads.DEPTHS, body)),)


def _answer(text: str, code: int = 0) -> bytes:
    return msgspec.json.encode({"id": 0, "code": code, "msg": text})
