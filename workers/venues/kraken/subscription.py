"""Kraken spot: subscribe and unsubscribe messages, and their acknowledgements.

1. Our top and our book are one stream of the venue, `book`: one subscription for both, of one depth, for the
   top is the best of the book (rule 7 of sync.py). Our ticker is the venue's with the trigger `trades`: last
   price, volume, high and low change with trades, and `bbo` would leave out those that move no best price.
2. Who unsubscribes one of the two while the other stays must not end the stream. What is sent then is a
   `ping` with the message's number: the venue answers it, and nothing changes. A book that is subscribed anew
   for its snapshot is therefore named with its top, in one message.
3. Subscribing the second of the two repeats a subscription. Should the venue refuse that as one that there is
   already, it is as good as taken.
4. The venue answers once a symbol, each time with the message's `req_id`. A refusal names the symbol when it
   is at fault; one of the depth names none and is of the whole message.
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

# Venue docs, "Spot WebSocket v2", channels book, ticker, trade: what is said beside the symbols. Each of it
# is said when unsubscribing, too: without a depth, 10 would be unsubscribed.
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
    """Args:
    venue_symbols: canonical symbol -> the venue's; looked at again whenever one is met for the first time, so
        a growing mapping may be given.
    depth: levels a side of the book.
    symbols_per_message: how many symbols one message names.
    """

    def __init__(
        self, venue_symbols: Mapping[str, str], depth: int, *, symbols_per_message: int = 50
    ) -> None:
        self._venue_symbols = venue_symbols
        self._canonical: dict[str, str] = {}
        self._batch = symbols_per_message
        self._parameters: dict[str, dict[str, Any]] = {
            "ticker": {"event_trigger": "trades", "snapshot": True},
            "book": {"depth": depth, "snapshot": True},
            "trade": {"snapshot": False},  # the last 50 trades are no news after a reconnect
        }
        # symbol -> which of top and book (rule 2). What is given up while there is no connection is not
        # heard of here: then the stream of the other one may outlive it until the next connection.
        self._asked: dict[str, set[str]] = {}

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
        """Rule 2: the symbols whose stream stays, because the other channel is asked for."""
        kept = []
        for symbol in symbols:
            asked = self._asked.setdefault(symbol, set())
            if action is SubscriptionAction.SUBSCRIBE:
                asked.update(channels)
                continue
            asked.difference_update(channels)
            if asked:
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
        if answer.method == "pong":  # without a number: to a ping that was only one
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
        """All that an answer may be about; those that its message does not ask for are passed over."""
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
