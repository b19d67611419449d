"""MEXC spot: SUBSCRIPTION and UNSUBSCRIPTION messages, and their acknowledgements.

Rules (venue docs, "Websocket Market Streams", 2026-04, and reports of two open-source clients of 2025/26):

1. ``{"method":"SUBSCRIPTION","params":[topic, ...]}`` is answered by
   ``{"id":0,"code":0,"msg":"<topic>"}``, with the id always 0. "If the msg in the response matches the
   corresponding request field, it indicates that the request was sent successfully": only msg, neither id nor
   code, shows which topics were accepted. Several topics are joined by commas.
2. Anything else is a refusal, also with code 0: "Not Subscribed successfully! [<topic>].  Reason: Blocked!".
   It is about the topics that it names; one that names none is about the oldest message without an answer.
3. An answer that names only topics that were never requested is ignored.
4. How a message of several topics is answered of which some are refused is not documented. So one message has
   one topic, unless `topics_per_message` is more.
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
ANSWER_BYTES = 16_384  # a longer message is no answer

_TOPIC = re.compile(r"spot@[^\s,\[\]]*[A-Za-z0-9]")  # without the punctuation that follows
_answer = msgspec.json.Decoder(schema.Response).decode


class MexcSpotSubscription(SubscriptionStrategy):
    """Builds SUBSCRIPTION and UNSUBSCRIPTION messages and recognises their acknowledgements.

    Args:
        venue_symbols: canonical symbol -> the venue's (``BTC/USDT`` -> ``BTCUSDT``); may grow later.
        interval: ``100ms`` or ``10ms``, how often the venue sends changes.
        window: of the ticker's statistics, ``24H`` or one of the venue's time zones (``UTC+0``).
        topics_per_message: at most so many topics in one message (rule 4).
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
        self._requested: dict[str, tuple[str, str]] = {}  # topic -> (symbol, channel)

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
        self._requested[topic] = (symbol, channel)
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
        topics = tuple(self._requested[topic] for topic in named if topic in self._requested)
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
        return f"MexcSpotSubscription({self._interval}, {len(self._requested)} topics asked for)"
