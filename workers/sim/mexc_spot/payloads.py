"""Builds MEXC spot's binary frames, with a protobuf encoder of its own.

It shares nothing with the decoder that reads them (`workers/venues/mexc_spot`). Like the venue, it leaves out
empty and zero fields, and writes the wrapper's symbol and time before the body.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Level = tuple[str, str]  # price, quantity

LIMIT_DEPTHS, KLINE, MINI_TICKER, DEPTHS, DEALS, BOOK_TICKER = 303, 308, 309, 313, 314, 315


def varint(value: int) -> bytes:
    """A non-negative number in protobuf's variable length: seven bits per byte, lowest first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, value: str | bytes | int) -> bytes:
    """One field with its tag; written even when it is empty."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def message(*fields: tuple[int, str | bytes | int]) -> bytes:
    """Fields in the order given; texts that are empty and numbers that are zero are not written (proto3)."""
    return b"".join(field(number, value) for number, value in fields if value)


def wrapper(channel: str, symbol: str, sent: int, number: int = 0, body: bytes = b"") -> bytes:
    """A frame: `sent` in ms, `number` the field of the body; 0: it has no body."""
    outer = message((1, channel), (3, symbol), (6, sent))
    return outer + field(number, body) if number else outer


def level(pair: Level) -> bytes:
    """One price level."""
    return message((1, pair[0]), (2, pair[1]))


def _levels(number: int, levels: Iterable[Level]) -> list[tuple[int, str | bytes | int]]:
    return [(number, level(pair)) for pair in levels]


def book_ticker(bid: Level, ask: Level, version: int, ordered: int = 0) -> bytes:
    """``bookTicker``; an empty side is ``("", "")``. `ordered`: time of the last order in ms."""
    return message((1, bid[0]), (2, bid[1]), (3, ask[0]), (4, ask[1]), (5, str(version)), (6, ordered))


def depths(
    event: str, first: int, last: int, bids: Sequence[Level], asks: Sequence[Level], ordered: int = 0
) -> bytes:
    """``aggre.depth``, asks first. `event`: the topic without symbol; `first`, `last`: book versions."""
    return message(
        *_levels(1, asks), *_levels(2, bids), (3, event), (4, str(first)), (5, str(last)), (6, ordered)
    )


def limit_depths(event: str, version: int, bids: Sequence[Level], asks: Sequence[Level]) -> bytes:
    return message(*_levels(1, asks), *_levels(2, bids), (3, event), (4, str(version)))


def deal(price: str, quantity: str, sold: bool, time: int, number: str) -> bytes:
    """One trade. `sold`: the taker sold; `time` in ms; `number`: its id, a text."""
    return message((1, price), (2, quantity), (3, 2 if sold else 1), (4, time), (5, number))


def deals(event: str, each: Iterable[bytes]) -> bytes:
    return message(*((1, one) for one in each), (2, event))


def mini_ticker(symbol: str, last: str, rate: str, high: str, low: str, turnover: str, volume: str) -> bytes:
    """``miniTicker``; `turnover` in quote, `volume` in base units; `rate`: the change, in several fields."""
    texts = (symbol, last, rate, rate, high, low, turnover, volume, rate, rate, high, low)
    return message(*enumerate(texts, 1))
