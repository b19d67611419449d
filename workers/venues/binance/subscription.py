"""Binance: SUBSCRIBE and UNSUBSCRIBE messages, and their acknowledgements, the same in every market."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from workers.contract.protocols import (
    Acknowledgement,
    SubscriptionAction,
    SubscriptionMessage,
    SubscriptionStrategy,
)
from workers.venues.defaults import check_channels, venue_symbol

STREAMS_PER_MESSAGE = 100
REMEMBERED = 64  # subscription requests whose messages are kept for the next time

_HEAD = {
    SubscriptionAction.SUBSCRIBE: b'{"method":"SUBSCRIBE","params":[',
    SubscriptionAction.UNSUBSCRIBE: b'{"method":"UNSUBSCRIBE","params":[',
}


class _Error(msgspec.Struct):
    code: int | None = None
    msg: str = ""


class _Ack(msgspec.Struct):
    """`{"result":null,"id":1}` or `{"error":{"code":2,"msg":"..."},"id":1}`."""

    id: int | str | None = None
    error: _Error | None = None
    code: int | None = None
    msg: str = ""


class _Prepared(NamedTuple):
    """A subscription request that was built before: its symbols and channels, and for each action its
    messages as (symbols of the message, payload up to the id)."""

    symbols: Sequence[str]
    channels: tuple[str, ...]
    batches: Mapping[SubscriptionAction, list[tuple[tuple[str, ...], bytes]]]


class BinanceSubscription(SubscriptionStrategy):
    """Builds SUBSCRIBE and UNSUBSCRIBE messages and recognises their acknowledgements.

    Args:
        streams: channel -> the venue's stream, as in ``<symbol>@<stream>``.
        venue_symbols: canonical symbol -> the venue's (``BTC/USDT`` -> ``BTCUSDT``); may grow later.
        streams_per_message: at most so many streams in one message.
    """

    def __init__(
        self,
        streams: Mapping[str, str],
        venue_symbols: Mapping[str, str],
        *,
        streams_per_message: int = STREAMS_PER_MESSAGE,
    ) -> None:
        if streams_per_message < 1:
            raise ValueError(f"streams_per_message must be at least 1, not {streams_per_message}")
        self._streams = streams
        self._venue_symbols = venue_symbols
        self._batch = streams_per_message
        # channels -> symbol -> its streams, quoted and joined
        self._maps: dict[tuple[str, ...], _StreamMap] = {}
        self._prepared: dict[tuple[object, ...], _Prepared] = {}
        self._decoder = msgspec.json.Decoder(_Ack)

    def create_subscription_messages(
        self,
        action: SubscriptionAction,
        symbols: Sequence[str],
        channels: Sequence[str],
        *,
        first_id: int = 1,
    ) -> list[SubscriptionMessage]:
        if not symbols or not channels:
            return []
        # A reconnect subscribes to the same again. Hashing hundreds of symbols, or copying them to a tuple,
        # takes longer than building the messages; comparing them does not, since they are the same objects.
        mark = (len(symbols), symbols[0], *channels)
        prepared = self._prepared.get(mark)
        if prepared is None or prepared.symbols != symbols:
            prepared = self._remember(mark, symbols, tuple(channels))
        asked = prepared.channels
        return [
            SubscriptionMessage(number, head + b"%d}" % number, part, asked)
            for number, (part, head) in enumerate(prepared.batches[action], first_id)
        ]

    def _remember(
        self, mark: tuple[object, ...], symbols: Sequence[str], channels: tuple[str, ...]
    ) -> _Prepared:
        streams = self._maps.get(channels)
        if streams is None:
            streams = self._maps[channels] = _StreamMap(self._streams, self._venue_symbols, channels)
        size = self._batch // len(channels) or 1
        parts = [tuple(symbols[start : start + size]) for start in range(0, len(symbols), size)]
        bodies = [b",".join(map(streams.__getitem__, part)) for part in parts]
        batches = {
            action: [(part, head + body + b'],"id":') for part, body in zip(parts, bodies, strict=True)]
            for action, head in _HEAD.items()
        }
        if len(self._prepared) >= REMEMBERED:
            self._prepared.clear()
        prepared = self._prepared[mark] = _Prepared(symbols[:], channels, batches)
        return prepared

    def match_acknowledgement(self, data: bytes) -> Acknowledgement | None:
        # Market data of the combined endpoint starts with its stream; an acknowledgement is short.
        if len(data) > 4096 or data.startswith(b'{"stream"') or b'"id"' not in data:
            return None
        try:
            ack = self._decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        if not isinstance(ack.id, int):
            return None
        if ack.error is not None:
            return Acknowledgement(ack.id, False, ack.error.code, ack.error.msg)
        if ack.code is not None:
            return Acknowledgement(ack.id, False, ack.code, ack.msg)
        return Acknowledgement(ack.id, True)


class _StreamMap(dict[str, bytes]):
    """symbol -> b'"btcusdt@bookTicker","btcusdt@trade"' for one set of channels; filled on first use."""

    def __init__(
        self, streams: Mapping[str, str], venue_symbols: Mapping[str, str], channels: tuple[str, ...]
    ) -> None:
        super().__init__()
        check_channels(channels, streams)
        self._venue_symbols = venue_symbols
        self._suffixes = [streams[channel] for channel in channels]

    def __missing__(self, symbol: str) -> bytes:
        venue = venue_symbol(self._venue_symbols, symbol)
        # Venue docs, "WebSocket Streams": stream names carry the symbol in lower case.
        quoted = [msgspec.json.encode(f"{venue.lower()}@{suffix}") for suffix in self._suffixes]
        self[symbol] = b",".join(quoted)
        return self[symbol]
