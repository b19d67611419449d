"""MEXC spot's words on a connection: subscriptions, refusals that look like acceptances, pings.

Written from the venue's documentation ("Websocket Market Streams", 2026-04), from what open clients met, and
from recorded frames, and from no parser of this project.
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
"""A price twice in a book's change; a topic that is refused with code 0; a frame without any body."""


class MexcProtocol(WireProtocol):
    """See `hub.WireProtocol`. Topics are the streams' names."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def connect(self, peer: Peer, target: str) -> Sequence[str] | None:
        """``/ws`` alone."""
        return () if target.partition("?")[0] == "/ws" else None

    def handle_message(self, peer: Peer, text: bytes) -> Sequence[bytes]:
        """``SUBSCRIPTION``, ``UNSUBSCRIPTION``, ``PING``; the id of an answer is always 0."""
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
        """What is taken and what is not are answered apart, each topic by its name; both say code 0."""
        taken: list[str] = []
        refused: list[str] = []
        for name in dict.fromkeys(params):
            full = name not in peer.streams and len(peer.streams) + len(taken) >= self._hub.rules.max_streams
            (refused if full or self._blocked(name) else taken).append(name)
        self._hub.subscribe(peer, taken)
        out = [_answer(",".join(taken))] if taken else []
        if refused:
            out.append(_answer(f"Not Subscribed successfully! [{','.join(refused)}].  Reason： Blocked!"))
        return out

    def _blocked(self, name: str) -> bool:
        """What is no topic, of a symbol that is not listed, or ordered to be so."""
        kind, symbol = names.split(name)
        if not kind or symbol not in self._hub.source.symbols():
            return True
        faults = self._hub.faults
        return faults.active and faults.take(("blocked",), name, info=self.stream_info(name)) is not None

    def stream_info(self, stream: str) -> StreamInfo:
        """The symbol, and whether it is the stream of changes."""
        kind, symbol = names.split(stream)
        return StreamInfo(names.canonical(symbol), symbol, kind == "depth") if kind else StreamInfo()

    def corrupt(self, kind: str, stream: str, payload: bytes) -> Sequence[bytes] | None:
        """Cut within its body, without it, with a bid above the best ask, with a price twice."""
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
