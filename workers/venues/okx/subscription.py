"""OKX: subscribe and unsubscribe messages, and their acknowledgements.

One of our channels is one or several of the venue's, and some of the venue's are shared:

1. ``mark`` of a perpetual is `mark-price`, `funding-rate` and the `index-tickers` of its index; of a dated
   future it is without funding. Several instruments may have one index.
2. ``liquidations`` is `liquidation-orders`, which is subscribed by instrument type: it brings all instruments
   of that type, and the decoders leave out those that are not subscribed.
3. A shared channel is never unsubscribed: another symbol may need it. Where a message would be empty without
   it, it is subscribed once more, which the venue acknowledges as it does the first time.
4. Every entry is answered by itself, with the id of the message. ``mark`` counts as subscribed when
   `mark-price` is, and as refused when any of its parts is; so `mark-price` is the last of them in the
   message, and its answer the last to come.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from workers.contract.protocols import (
    Acknowledgement,
    PublicWebsocketChannelType,
    SubscriptionAction,
    SubscriptionMessage,
    SubscriptionStrategy,
)
from workers.venues.defaults import check_channels, venue_symbol
from workers.venues.okx import schema
from workers.venues.okx.names import index_of, type_of

TOP = PublicWebsocketChannelType.BOOK_TICKER.value
BOOK = PublicWebsocketChannelType.ORDERBOOK.value
TRADES = PublicWebsocketChannelType.EXECUTION.value
TICKER = PublicWebsocketChannelType.TICKER.value
MARK = PublicWebsocketChannelType.MARK_PRICE.value
LIQUIDATIONS = PublicWebsocketChannelType.LIQUIDATION.value
CHANNELS = frozenset({TOP, BOOK, TRADES, TICKER, MARK, LIQUIDATIONS})
PLAIN = {TOP: "bbo-tbt", TRADES: "trades", TICKER: "tickers"}
# Venue docs, "Subscribe": at most 64 KB a message; an entry is below 100 bytes.
ENTRIES_PER_MESSAGE = 100

# {"event":"error","code":"60018","msg":"Wrong URL or channel:books,instId:BTC-USDX doesn't exist. ..."}
_REFUSED = re.compile(r"channel:(?P<channel>[\w-]+),inst(?P<by>Id|Type):(?P<name>[\w-]+)")
_event = msgspec.json.Decoder(schema.Event).decode
_ANSWERS = {"subscribe", "unsubscribe", "error"}


class _ByInstrument(msgspec.Struct):
    channel: str
    instId: str


class _ByType(msgspec.Struct):
    channel: str
    instType: str


_Entry = _ByInstrument | _ByType


class _Operation(msgspec.Struct):
    id: str
    op: str
    args: list[_Entry]


_encode = msgspec.json.Encoder().encode


class OkxSubscription(SubscriptionStrategy):
    """Builds subscribe and unsubscribe messages and recognises their acknowledgements.

    Args:
        venue_symbols: canonical symbol -> the venue's (``BTC/USDT:USDT`` -> ``BTC-USDT-SWAP``); may grow
            later.
        book_channel: the venue's channel of books, ``books`` or ``books5``.
        entries_per_message: at most so many of the venue's channels in one message.
    """

    def __init__(
        self,
        venue_symbols: Mapping[str, str],
        *,
        book_channel: str = "books",
        entries_per_message: int = ENTRIES_PER_MESSAGE,
    ) -> None:
        if entries_per_message < 1:
            raise ValueError(f"entries_per_message must be at least 1, not {entries_per_message}")
        self._venue_symbols = venue_symbols
        self._plain = {**PLAIN, BOOK: book_channel}
        self._ours = {theirs: ours for ours, theirs in self._plain.items()}
        self._batch = entries_per_message
        self._canonical: dict[str, str] = {}

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
        check_channels(channels, sorted(CHANNELS))
        messages: list[SubscriptionMessage] = []
        for asked in self._apart(action, tuple(channels)):
            size = max(1, self._batch // sum(3 if channel == MARK else 1 for channel in asked))
            for start in range(0, len(symbols), size):
                part, number = tuple(symbols[start : start + size]), first_id + len(messages)
                payload = self._payload(number, action, part, asked)
                messages.append(SubscriptionMessage(number, payload, part, asked))
        return messages

    def _apart(self, action: SubscriptionAction, channels: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        """The channels of each message; one whose acknowledgement differs from the others' has its own."""
        if action is SubscriptionAction.SUBSCRIBE or LIQUIDATIONS not in channels or len(channels) == 1:
            yield channels
        else:  # rule 3
            yield tuple(channel for channel in channels if channel != LIQUIDATIONS)
            yield (LIQUIDATIONS,)

    def _payload(
        self, number: int, action: SubscriptionAction, symbols: Sequence[str], channels: Sequence[str]
    ) -> bytes:
        own: list[_Entry] = []
        shared: list[_Entry] = []
        for symbol in symbols:
            venue = venue_symbol(self._venue_symbols, symbol)
            for channel in channels:
                own += self._own(venue, channel)
                shared += (entry for entry in self._shared(venue, channel) if entry not in shared)
        if action is SubscriptionAction.SUBSCRIBE:
            return _encode(_Operation(str(number), "subscribe", shared + own))  # rule 4
        if own:
            return _encode(_Operation(str(number), "unsubscribe", own))
        return _encode(_Operation(str(number), "subscribe", shared))  # rule 3

    def _own(self, venue: str, channel: str) -> Iterator[_Entry]:
        """The venue's channels that belong to one instrument alone."""
        if channel in self._plain:
            yield _ByInstrument(self._plain[channel], venue)
        elif channel == MARK:  # rule 1
            if type_of(venue) == "SWAP":
                yield _ByInstrument("funding-rate", venue)
            yield _ByInstrument("mark-price", venue)  # rule 4

    def _shared(self, venue: str, channel: str) -> Iterator[_Entry]:
        if channel == MARK:
            yield _ByInstrument("index-tickers", index_of(venue))
        elif channel == LIQUIDATIONS:
            yield _ByType("liquidation-orders", type_of(venue))  # rule 2

    def match_acknowledgement(self, data: bytes) -> Acknowledgement | None:
        # Market data starts with its subscription (`arg`); an answer is short, its keys in any order.
        if len(data) > 4096 or data.startswith(b'{"arg"') or b'"event"' not in data:
            return None
        try:
            event = _event(data)
        except (msgspec.MsgspecError, ValueError):
            return None
        if event.event not in _ANSWERS:
            return None
        number = int(event.id) if event.id.isascii() and event.id.isdigit() and len(event.id) < 18 else None
        if event.event == "error":
            return self._refusal(event, number)
        # Rule 4: the parts of `mark` beside the mark price do not count.
        topics = self._topics(event.arg.channel, event.arg.instrument, event.arg.type, refused=False)
        if not topics:
            return None
        # Rule 3: a shared channel is subscribed, whichever action was requested.
        action = None if event.arg.type else SubscriptionAction(event.event)
        return Acknowledgement(number, True, topics=topics, action=action)

    def _refusal(self, event: schema.Event, number: int | None) -> Acknowledgement:
        """The acknowledgement of an error, with the topics that it names; where it names none, it is about
        all of its message, or of the oldest one."""
        topics: tuple[tuple[str, str], ...] = ()
        if event.arg.channel:
            topics = self._topics(event.arg.channel, event.arg.instrument, event.arg.type, refused=True)
        elif refused := _REFUSED.search(event.message):
            by_type = refused["by"] == "Type"
            name = refused["name"]
            topics = self._topics(
                refused["channel"], "" if by_type else name, name if by_type else "", refused=True
            )
        return Acknowledgement(number, False, event.code or None, event.message, topics)

    def _topics(
        self, channel: str, instrument: str, type_: str, *, refused: bool
    ) -> tuple[tuple[str, str], ...]:
        """The canonical (symbol, channel) pairs that one of the venue's channels belongs to."""
        if len(self._canonical) != len(self._venue_symbols):
            self._canonical = {venue: canonical for canonical, venue in self._venue_symbols.items()}
        if channel == "liquidation-orders":
            venues = [venue for venue in self._canonical if type_of(venue) == type_]
            return tuple((self._canonical[venue], LIQUIDATIONS) for venue in venues)
        if channel == "index-tickers":
            venues = [v for v in self._canonical if type_of(v) != "SPOT" and index_of(v) == instrument]
            return tuple((self._canonical[venue], MARK) for venue in venues) if refused else ()
        canonical = self._canonical.get(instrument)
        if canonical is None:
            return ()
        if channel == "mark-price" or (channel == "funding-rate" and refused):
            return ((canonical, MARK),)
        ours = self._ours.get(channel)
        return () if ours is None else ((canonical, ours),)
