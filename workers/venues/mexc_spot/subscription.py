"""MEXC spot: SUBSCRIPTION and UNSUBSCRIPTION messages, and what their answers mean.

Rules (venue docs, "Websocket Market Streams", 2026-04, and what two open clients met in 2025/26):

1. ``{"method":"SUBSCRIPTION","params":[topic, ...]}`` is answered by
   ``{"id":0,"code":0,"msg":"<topic>"}``, with the id always 0. "If the msg in the response matches the
   corresponding request field, it indicates that the request was sent successfully": msg, and neither id nor
   code, says what was taken. Several topics are joined by commas.
2. Anything else is a refusal, also with code 0: "Not Subscribed successfully! [<topic>].  Reason: Blocked!".
   It is about the topics that it names; one that names none is about the oldest message that waits.
3. An answer that names only topics that were never asked for is not ours.
4. How a message of several topics is answered of which some are refused, nobody documents. So one message
   asks for one topic, unless `topics_per_message` says otherwise.
5. Symbols are in upper case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import product

import msgspec

from workers.contract.protocols import (
    Acknowledgement,
    PublicWebsocketChannelType,
    SubscriptionAction,
    SubscriptionMessage,
    SubscriptionStrategy,
)
from workers.venues.defaults import check_channels, venue_symbol
from workers.venues.mexc_spot import schema
from workers.venues.mexc_spot.parser import PONG

TOPICS: Mapping[str, str] = {
    PublicWebsocketChannelType.BOOK_TICKER: "spot@public.aggre.bookTicker.v3.api.pb@{interval}@{symbol}",
    PublicWebsocketChannelType.ORDERBOOK: "spot@public.aggre.depth.v3.api.pb@{interval}@{symbol}",
    PublicWebsocketChannelType.EXECUTION: "spot@public.aggre.deals.v3.api.pb@{interval}@{symbol}",
    PublicWebsocketChannelType.TICKER: "spot@public.miniTicker.v3.api.pb@{symbol}@{window}",
}
VERBS = {
    SubscriptionAction.SUBSCRIBE: "SUBSCRIPTION",
    SubscriptionAction.UNSUBSCRIBE: "UNSUBSCRIPTION",
}
ANSWER_BYTES = 16_384  # what is longer is no answer

_TOPIC = re.compile(r"spot@[^\s,\[\]]*[A-Za-z0-9]")  # what ends the sentence is none of it
_answer = msgspec.json.Decoder(schema.Response).decode


class MexcSpotSubscription(SubscriptionStrategy):
    """Args:
    venue_symbols: canonical symbol -> the venue's (``BTC/USDT`` -> ``BTCUSDT``); may grow.
    interval: ``100ms`` or ``10ms``, how often the venue sends what has changed.
    window: of the ticker's statistics, ``24H`` or one of the venue's time zones (``UTC+0``).
    topics_per_message: rule 4.
    """

    def __init__(
        self,
        venue_symbols: Mapping[str, str],
        *,
        interval: str = "100ms",
        window: str = "24H",
        topics_per_message: int = 1,
    ) -> None:
        if topics_per_message < 1:
            raise ValueError(f"topics_per_message must be at least 1, not {topics_per_message}")
        self._venue_symbols = venue_symbols
        self._interval = interval
        self._window = window
        self._batch = topics_per_message
        self._asked: dict[str, tuple[str, str]] = {}  # topic -> (symbol, channel)

    def create_subscription_messages(
        self,
        action: SubscriptionAction,
        symbols: Sequence[str],
        channels: Sequence[str],
        *,
        first_id: int = 1,
    ) -> list[SubscriptionMessage]:
        check_channels(channels, TOPICS)
        parts: list[tuple[tuple[str, ...], tuple[str, ...]]]
        if self._batch < len(channels):
            parts = [((symbol,), (channel,)) for symbol, channel in product(symbols, channels)]
        else:
            size = self._batch // max(1, len(channels))
            starts = range(0, len(symbols) if channels else 0, size)
            parts = [(tuple(symbols[at : at + size]), tuple(channels)) for at in starts]
        return [
            SubscriptionMessage(number, self._payload(action, *part), *part)
            for number, part in enumerate(parts, first_id)
        ]

    def _payload(
        self, action: SubscriptionAction, symbols: tuple[str, ...], channels: tuple[str, ...]
    ) -> bytes:
        topics = [self._topic(symbol, channel) for symbol, channel in product(symbols, channels)]
        return msgspec.json.encode({"method": VERBS[action], "params": topics})

    def _topic(self, symbol: str, channel: str) -> str:
        venue = venue_symbol(self._venue_symbols, symbol)
        topic = TOPICS[channel].format(interval=self._interval, symbol=venue, window=self._window)
        self._asked[topic] = (symbol, channel)
        return topic

    def match_acknowledgement(self, data: bytes) -> Acknowledgement | None:
        if not data.startswith(b"{") or len(data) > ANSWER_BYTES:
            return None
        try:
            answer = _answer(data)
        except (msgspec.MsgspecError, ValueError):
            return None
        if answer.msg == PONG:
            return None
        named = _TOPIC.findall(answer.msg)
        topics = tuple(self._asked[topic] for topic in named if topic in self._asked)
        if named and not topics:
            return None  # rule 3
        taken = answer.code == 0 and bool(named) and answer.msg.split(",") == named  # rule 1
        return Acknowledgement(
            None,
            taken,
            None if taken else answer.code,
            "" if taken else answer.msg or "refused without a word",
            topics,
        )

    def __repr__(self) -> str:
        return f"MexcSpotSubscription({self._interval}, {len(self._asked)} topics asked for)"
