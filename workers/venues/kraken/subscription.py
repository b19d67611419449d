"""Kraken spot: subscribe and unsubscribe messages, and their acknowledgements.

1. The channels top and book are one stream of the venue, `book`: one subscription for both, of one depth,
   since the top is the best of the book (rule 7 of sync.py). The channel ticker is the venue's with the
   trigger `trades`: last price, volume, high and low change with trades, and `bbo` would leave out trades
   that do not move a best price.
2. Unsubscribing one of the two while the other stays must not end the stream. A `ping` with the message's
   number is sent instead: the venue answers it, and nothing changes. A book that is subscribed anew for its
   snapshot must therefore be in one message with its top.
3. Subscribing the second of the two repeats a subscription. An error that there is one already counts as
   success.
4. The venue answers once for each symbol, each time with the message's `req_id`. An error names the symbol if
   it is about one; an error about the depth names none and is about the whole message.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from workers.contract.protocols import (
    Acknowledgement,
    PublicWebsocketChannelType,
    SubscriptionAction,
    SubscriptionMessage,
    SubscriptionStrategy,
)
from workers.venues.defaults import check_channels, venue_symbol
from workers.venues.kraken import schema

STREAMS: Mapping[str, str] = {
    PublicWebsocketChannelType.BOOK_TICKER: "book",
    PublicWebsocketChannelType.ORDERBOOK: "book",
    PublicWebsocketChannelType.TICKER: "ticker",
    PublicWebsocketChannelType.EXECUTION: "trade",
}
SHARED = "book"  # of two of our channels (rule 1)
_OURS = {
    stream: tuple(channel for channel, its in STREAMS.items() if its == stream) for stream in STREAMS.values()
}
_ALREADY = "already subscribed"
_ACTIONS = {action.value: action for action in SubscriptionAction}

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(schema.Response).decode


class KrakenSubscription(SubscriptionStrategy):
    """Builds subscribe and unsubscribe messages and recognises their acknowledgements.

    Args:
        venue_symbols: canonical symbol -> the venue's; may grow later.
        depth: levels a side of the book.
        symbols_per_message: at most so many symbols in one message.
    """

    def __init__(
        self, venue_symbols: Mapping[str, str], depth: int, *, symbols_per_message: int = 50
    ) -> None:
        self._venue_symbols = venue_symbols
        self._canonical: dict[str, str] = {}
        self._batch = symbols_per_message
        # Venue docs, "Spot WebSocket v2", channels book, ticker, trade: the parameters beside the symbols.
        # They are needed for unsubscribing too: without a depth, 10 would be unsubscribed.
        self._parameters: dict[str, dict[str, Any]] = {
            "ticker": {"event_trigger": "trades", "snapshot": True},
            "book": {"depth": depth, "snapshot": True},
            "trade": {"snapshot": False},  # the last 50 trades were published before a reconnect
        }
        # symbol -> which of top and book are subscribed (rule 2). What is unsubscribed without a connection
        # makes no message: then the stream may go on, unused, until the next connection.
        self._subscribed: dict[str, set[str]] = {}

    def create_subscription_messages(
        self,
        action: SubscriptionAction,
        symbols: Sequence[str],
        channels: Sequence[str],
        *,
        first_id: int = 1,
    ) -> list[SubscriptionMessage]:
        check_channels(channels, STREAMS)
        wanted: dict[str, list[str]] = {}
        for channel in channels:
            wanted.setdefault(STREAMS[channel], []).append(channel)
        known = {symbol: venue_symbol(self._venue_symbols, symbol) for symbol in symbols}
        messages: list[SubscriptionMessage] = []
        for stream, ours in wanted.items():
            kept = self._note(action, known, ours) if stream == SHARED else set()
            for part in _parts([symbol for symbol in known if symbol not in kept], self._batch):
                number = first_id + len(messages)
                params = {
                    "channel": stream,
                    "symbol": [known[each] for each in part],
                    **self._parameters[stream],
                }
                payload = _encode({"method": str(action), "params": params, "req_id": number})
                messages.append(SubscriptionMessage(number, payload, part, tuple(ours)))
            if kept:
                number = first_id + len(messages)
                payload = _encode({"method": "ping", "req_id": number})
                messages.append(SubscriptionMessage(number, payload, tuple(kept), tuple(ours)))
        return messages

    def _note(self, action: SubscriptionAction, symbols: Iterable[str], channels: Sequence[str]) -> list[str]:
        """Rule 2: the symbols whose stream stays, because the other channel is still subscribed."""
        kept = []
        for symbol in symbols:
            subscribed = self._subscribed.setdefault(symbol, set())
            if action is SubscriptionAction.SUBSCRIBE:
                subscribed.update(channels)
                continue
            subscribed.difference_update(channels)
            if subscribed:
                kept.append(symbol)
        return kept

    def match_acknowledgement(self, data: bytes) -> Acknowledgement | None:
        # Market data starts with its channel; an answer is short.
        if len(data) > 4096 or data.startswith(b'{"channel"'):
            return None
        try:
            answer = _decode(data)
        except (msgspec.MsgspecError, ValueError):
            return None
        if answer.method == "pong":  # without a number: of a connection's ping
            return None if answer.req_id is None else Acknowledgement(answer.req_id, True)
        if answer.success and answer.method not in _ACTIONS:
            return None
        named = answer.result or schema.Acknowledged(symbol=answer.symbol)
        ok = answer.success or _ALREADY in answer.error.lower()
        return Acknowledgement(
            answer.req_id,
            ok,
            message="" if ok else answer.error,
            topics=self._topics(named),
            action=_ACTIONS.get(answer.method),
        )

    def _topics(self, named: schema.Acknowledged) -> tuple[tuple[str, str], ...]:
        """All topics that an answer may be about; those that are not in its message are ignored."""
        symbol = self._canonical.get(named.symbol)
        if symbol is None:
            self._canonical = {venue: canonical for canonical, venue in self._venue_symbols.items()}
            symbol = self._canonical.get(named.symbol)
        if symbol is None:
            return ()
        return tuple((symbol, channel) for channel in _OURS.get(named.channel, STREAMS))


def _parts(symbols: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    for start in range(0, len(symbols), size):
        yield tuple(symbols[start : start + size])
