"""OKX's WebSocket protocol: the public path, subscriptions with one answer for each entry, pings.

Written from the venue's documentation ("WebSocket", 2026-07) and from recorded traffic, not from a parser of
this project, so that it can be used to test one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from workers.sim.faults import StreamInfo
from workers.sim.hub import Hub, WireProtocol
from workers.sim.okx.names import (
    DERIVATIVES,
    LEGACY,
    OF_INSTRUMENT,
    PATH,
    index_of,
    is_derivative,
    type_of,
)
from workers.sim.transport import Peer

OPERATIONS = 480
"""Subscribe and unsubscribe requests allowed per connection; the venue counts them per hour."""
_NO_SUCH = (
    "Wrong URL or channel:{channel},{key}:{name} doesn't exist. Please use the correct URL, channel and "
    "parameters referring to API document."
)


class OkxProtocol(WireProtocol):
    """See `hub.WireProtocol`.

    Args:
        hub: the connections.
        symbols: from a venue symbol to (canonical, venue symbol).

    Attributes:
        offsets: by venue symbol, what is added to the market's update ids since they were reset.
    """

    def __init__(self, hub: Hub, symbols: Callable[[str], tuple[str, str]]) -> None:
        self._hub = hub
        self._symbols = symbols
        self._connections = 0
        self.offsets: dict[str, int] = {}

    def connect(self, peer: Peer, target: str) -> Sequence[str] | None:
        """``/ws/v5/public``; with ``?wire=2022`` books have a checksum and no ids, as in 2022."""
        url = urlsplit(target)
        if url.path.rstrip("/") != PATH:
            return None
        self._connections += 1
        peer.notes["id"] = f"{self._connections:08x}"
        peer.notes["legacy"] = parse_qs(url.query).get("wire") == ["2022"]
        peer.notes["operations"] = 0
        return ()

    # -- answering ------------------------------------------------------------------------------------

    def handle_message(self, peer: Peer, text: bytes) -> Sequence[bytes]:
        """Answer the text ``ping`` or an operation."""
        if text == b"ping":
            return (b"pong",)
        try:
            message = msgspec.json.decode(text)
        except msgspec.DecodeError:
            message = None
        if not isinstance(message, dict) or not _is_operation(message):
            return (self._error(peer, "60012", f"Invalid request: {text.decode('utf-8', 'replace')}", None),)
        number = message.get("id")
        peer.notes["operations"] += 1
        if peer.notes["operations"] > OPERATIONS:
            return (self._error(peer, "60014", "Requests too frequent", number),)
        known = set(self._hub.source.symbols())
        if message["op"] == "unsubscribe":  # also from symbols that have been delisted
            known |= {self._hub.stream_info(stream).venue_symbol for stream in peer.streams}
        return [
            self._operate(peer, message["op"], arg, known, number)
            for arg in message["args"]
            if isinstance(arg, dict)
        ]

    def _operate(
        self, peer: Peer, operation: str, arg: dict[str, Any], known: set[str], number: object
    ) -> bytes:
        """Carry out one entry of an operation; its answer."""
        found = list(self._named(peer, arg, known))
        if not found:
            key = "instType" if "instType" in arg else "instId"
            text = _NO_SUCH.format(channel=arg.get("channel", ""), key=key, name=arg.get(key, ""))
            return self._error(peer, "60018", text, number)
        if operation == "subscribe":
            # A repeated subscription is acknowledged again and has no other effect, as recorded.
            self._hub.subscribe(peer, found)
        else:
            self._hub.unsubscribe(peer, found)
        # The answer does not repeat an instrument or family: the whole type has been subscribed to.
        kept = ("channel", "instType") if arg["channel"] == "liquidation-orders" else ("channel", "instId")
        message = {"event": operation, "arg": {name: arg[name] for name in kept}, "connId": peer.notes["id"]}
        return _message(message, number)

    def _named(self, peer: Peer, arg: dict[str, Any], known: set[str]) -> Iterator[str]:
        """The streams that an entry names; none when there is no such channel or instrument."""
        channel, name = arg.get("channel"), arg.get("instId")
        if channel == "liquidation-orders":
            if arg.get("instType") in ("SWAP", "FUTURES"):
                of_type = [symbol for symbol in sorted(known) if type_of(symbol) == arg["instType"]]
                yield from (f"{channel}/{symbol}" for symbol in of_type or [f"none-none-{arg['instType']}"])
        elif channel == "index-tickers":
            if any(is_derivative(symbol) and index_of(symbol) == name for symbol in known):
                yield f"{channel}/{name}"
        elif channel in OF_INSTRUMENT and name in known:
            fits = is_derivative(name) or channel not in DERIVATIVES
            if fits and not (channel == "funding-rate" and type_of(name) != "SWAP"):
                yield f"{LEGACY if channel == 'books' and peer.notes['legacy'] else channel}/{name}"

    def _error(self, peer: Peer, code: str, text: str, number: object) -> bytes:
        return _message({"event": "error", "msg": text, "code": code, "connId": peer.notes["id"]}, number)

    # -- streams --------------------------------------------------------------------------------------

    def stream_info(self, stream: str) -> StreamInfo:
        """Symbol of a name like ``books/BTC-USDT``; an index counts as its perpetual swap's."""
        channel, _, name = stream.partition("/")
        if not name or (channel not in OF_INSTRUMENT and channel not in (LEGACY, *DERIVATIVES)):
            return StreamInfo()
        symbol = f"{name}-SWAP" if channel == "index-tickers" else name
        return StreamInfo(*self._symbols(symbol), book=channel in ("books", LEGACY))

    def shutdown_notice(self, peer: Peer) -> Sequence[bytes]:
        """The notice of a service upgrade."""
        return (
            _message(
                {
                    "event": "notice", "code": "64008",
                    "msg": "The connection will soon be closed for a service upgrade. Please reconnect.",
                    "connId": peer.notes["id"],
                },
                None,
            ),
        )  # fmt: skip

    def corrupt(self, kind: str, stream: str, payload: bytes) -> Sequence[bytes] | None:
        """``crossed`` adds a bid above the best ask; ``repeat_price`` repeats a level, first with a wrong
        size; ``bad_checksum`` changes the checksum, or adds one to today's format, which has none."""
        if kind not in ("crossed", "repeat_price", "bad_checksum"):
            return None
        message: dict[str, Any] = msgspec.json.decode(payload)
        if message.get("action") != "update":
            return None
        [entry] = message["data"]
        if kind == "bad_checksum":
            entry["checksum"] = entry.get("checksum", 0) ^ 0x5A5A5A
        elif kind == "crossed":
            symbol = message["arg"]["instId"]
            ask = self._hub.source.depth(symbol, 1).asks[0][0]
            places = max(0, -int(Decimal(ask).as_tuple().exponent))
            entry["bids"] = [[f"{Decimal(ask) * 2:.{places}f}", "1", "0", "1"], *entry["bids"]]
        else:
            side = entry["bids"] or entry["asks"]
            if not side:
                return None
            price, size, *rest = side[0]
            side.insert(0, [price, str(Decimal(size) + 1), *rest])
        return (msgspec.json.encode(message),)


def _is_operation(message: dict[str, Any]) -> bool:
    args = message.get("args")
    return message.get("op") in ("subscribe", "unsubscribe") and isinstance(args, list) and bool(args)


def _message(message: dict[str, Any], number: object) -> bytes:
    """A message, with the id of the request if it had one."""
    return msgspec.json.encode(message if number is None else {"id": number, **message})
