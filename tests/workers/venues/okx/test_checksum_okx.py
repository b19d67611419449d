"""OKX's checksum: native == plain, on the real capture (290 of 290) and on anything."""

from __future__ import annotations

import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from okx_kit import CAPTURED_SCALES, captured

from workers.books.book import Book
from workers.venues.okx._checksum import Checksum
from workers.venues.okx.checksum import DEPTH, checksum, text_of

LEVELS = st.dictionaries(st.integers(1, 2**62), st.integers(1, 2**63 - 1), max_size=40)


def plain(book: Book, price_exp: int, size_exp: int) -> int:
    bids, asks = (
        [(text_of(price, price_exp), text_of(size, size_exp)) for price, size in book.window(ask, DEPTH)]
        for ask in (False, True)
    )
    return checksum(bids, asks)


def test_all_of_the_captures_checksums() -> None:
    books = {symbol: Book() for symbol in CAPTURED_SCALES}
    native = {symbol: Checksum(s.price_exp, s.size_exp) for symbol, s in CAPTURED_SCALES.items()}
    matched = 0
    for frame in captured():
        if b'"action"' not in frame:
            continue
        message = json.loads(frame)
        symbol = message["arg"]["instId"]
        book, scale = books[symbol], CAPTURED_SCALES[symbol]
        if message["action"] == "snapshot":
            book.clear()
        [data] = message["data"]
        for ask, side in ((False, data["bids"]), (True, data["asks"])):
            for price, size, *_ in side:
                price_units = round(float(price) * 10**scale.price_exp)
                book.set(ask, price_units, round(float(size) * 10**scale.size_exp))
        assert (
            native[symbol].compute(book) == plain(book, scale.price_exp, scale.size_exp) == data["checksum"]
        )
        matched += 1
    assert matched == 290


def test_missing_levels_of_a_side_are_skipped() -> None:
    book = Book()
    for price, size in ((33661, 7), (33660, 6), (33650, 30)):
        book.set(False, price, size)
    book.set(True, 33668, 9)
    text = b"3366.1:0.7:3366.8:0.9:3366:0.6:3365:3"
    assert Checksum(1, 1).compute(book) == plain(book, 1, 1) == zlib.crc32(text) - 2**32


def test_an_empty_book() -> None:
    assert Checksum(1, 8).compute(Book()) == 0 == checksum([], [])


@given(LEVELS, LEVELS, st.integers(0, 18), st.integers(0, 18))
def test_the_native_checksum_equals_the_python_one(
    bids: dict[int, int], asks: dict[int, int], price_exp: int, size_exp: int
) -> None:
    book, native = Book(), Checksum(price_exp, size_exp)
    for ask, side in ((False, bids), (True, asks)):
        for price, size in side.items():
            book.set(ask, price, size)
    assert native.compute(book) == plain(book, price_exp, size_exp)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 60), st.integers(0, 3)), max_size=200))
def test_kept_subscription_messages_never_change_the_next_ones(changes: list[tuple[bool, int, int]]) -> None:
    book, native = Book(), Checksum(1, 2)
    for ask, price, size in changes:
        book.set(ask, price, size)
        assert native.compute(book) == plain(book, 1, 2)


@pytest.mark.parametrize("exponent", range(19))
@pytest.mark.parametrize(
    "mantissa", [0, 1, 9, 10, 99_999_999, 100_000_000, 10**15, 2**62, 2**63 - 1, 120_000_000]
)
def test_texts(mantissa: int, exponent: int) -> None:
    """A one-level book shows one number: the size of the only bid."""
    if not mantissa:
        return
    book = Book()
    book.set(False, mantissa, mantissa)
    assert Checksum(exponent, exponent).compute(book) == plain(book, exponent, exponent)
