"""What a user would write first: msgspec and a dict, one function a venue and kind; the numbers as floats.

Each takes a frame and changes `books` (by venue symbol: bids, asks as dicts) or gives the top. The type of
the message is known in advance, which spares them the dispatch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from bench.decode import TYPED
from workers.decode.normal import MessageKind

Books = dict[str, tuple[dict[float, float], dict[float, float]]]
Plain = Callable[[bytes, Books], object]
Texts = Sequence[tuple[float, float]]


def _apply(books: Books, symbol: str, bids: Texts, asks: Texts) -> None:
    book = books.setdefault(symbol, ({}, {}))
    for side, levels in zip(book, (bids, asks), strict=True):
        for price, size in levels:
            if size:
                side[price] = size
            else:
                side.pop(price, None)


# -- Binance: the spot's and the futures' messages have the same names ------------------------------
def _binance_depth(frame: bytes, books: Books) -> None:
    data = TYPED["depth"](frame).data
    _apply(books, data.s, data.b, data.a)


def _binance_top(frame: bytes, books: Books) -> tuple[float, float, float, float]:
    data = TYPED["bookTicker"](frame).data
    return data.b, data.B, data.a, data.A


# -- OKX --------------------------------------------------------------------------------------------
class _OkxArg(msgspec.Struct):
    instId: str


class _OkxBook(msgspec.Struct):
    bids: list[tuple[float, float, str, str]]
    asks: list[tuple[float, float, str, str]]


class _OkxFrame(msgspec.Struct):
    arg: _OkxArg
    data: list[_OkxBook]


_okx = msgspec.json.Decoder(_OkxFrame, strict=False).decode


def _okx_depth(frame: bytes, books: Books) -> None:
    message = _okx(frame)
    for data in message.data:
        book = books.setdefault(message.arg.instId, ({}, {}))
        for side, levels in zip(book, (data.bids, data.asks), strict=True):
            for price, size, _, _ in levels:
                if size:
                    side[price] = size
                else:
                    side.pop(price, None)


def _okx_top(frame: bytes, books: Books) -> tuple[float, float, float, float]:
    [data] = _okx(frame).data
    return (*data.bids[0][:2], *data.asks[0][:2])


# -- Kraken -----------------------------------------------------------------------------------------
class _KrakenLevel(msgspec.Struct):
    price: float
    qty: float


class _KrakenBook(msgspec.Struct):
    symbol: str
    bids: list[_KrakenLevel]
    asks: list[_KrakenLevel]


class _KrakenFrame(msgspec.Struct):
    data: list[_KrakenBook]


_kraken = msgspec.json.Decoder(_KrakenFrame).decode


def _kraken_depth(frame: bytes, books: Books) -> None:
    for data in _kraken(frame).data:
        book = books.setdefault(data.symbol, ({}, {}))
        for side, levels in zip(book, (data.bids, data.asks), strict=True):
            for level in levels:
                if level.qty:
                    side[level.price] = level.qty
                else:
                    side.pop(level.price, None)


PLAIN: dict[tuple[str, MessageKind], Plain] = {
    ("binance_spot", MessageKind.TOP): _binance_top,
    ("binance_spot", MessageKind.DEPTH): _binance_depth,
    ("binance_futures", MessageKind.TOP): _binance_top,
    ("binance_futures", MessageKind.DEPTH): _binance_depth,
    ("okx", MessageKind.TOP): _okx_top,
    ("okx", MessageKind.DEPTH): _okx_depth,
    ("kraken", MessageKind.DEPTH): _kraken_depth,
}
"""A venue that is not here speaks protobuf, which msgspec does not read."""
