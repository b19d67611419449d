"""What is rebuilt and subscribed again when data may be missing, and nothing else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from shm import Scope
from shm.instruments import Instrument
from workers.worker.recovery import Recovery
from workers.worker.symbols import Symbols


class Feed:
    """A writer, publisher and connections that remember."""

    manager = object()

    def __init__(self) -> None:
        self.void: list[list[int]] = []
        self.refreshed: list[tuple[str, list[str]]] = []

    def instrument(self, index: int) -> Any:
        return {3: SimpleNamespace(symbol="BTC/USDT")}[index]

    def invalidate_without_ids(self, indexes: list[int]) -> None:
        self.void.append(indexes)

    def top_from_book(self, index: int) -> bool:
        return False

    def refresh(self, symbol: str, channels: Any) -> None:
        self.refreshed.append((symbol, list(channels)))


def recovery(feed: Any) -> Recovery:
    symbols = Symbols(None)
    for index, symbol in ((3, "BTC/USDT"), (4, "ETH/USDT")):
        venue_symbol = symbol.replace("/", "")
        symbols.register(
            Instrument(symbol=symbol, venue_symbol=venue_symbol, price_exp=2, size_exp=5, index=index)
        )
    return Recovery(feed, feed, feed, symbols)


def test_only_the_books_of_what_is_missed_are_void() -> None:
    feed = Feed()
    made = recovery(feed)
    made.missed([("BTC/USDT", "book"), ("ETH/USDT", "trades"), ("NO/SUCH", "book")])
    assert feed.void == [[3]]
    made.missed([("ETH/USDT", "top")])
    assert feed.void == [[3]]


def test_only_the_silent_stream_is_refreshed() -> None:
    """The trades of a symbol whose top is silent are healthy: a new subscription would be a hole in them."""
    feed = Feed()
    made = recovery(feed)
    made.silent(3, Scope.TOP)
    assert (feed.void, feed.refreshed) == ([], [("BTC/USDT", ["top"])])
    made.silent(3, Scope.BOOK)
    assert (feed.void, feed.refreshed[1:]) == ([[3]], [("BTC/USDT", ["book"])])


def test_what_is_late_is_subscribed_again() -> None:
    feed = Feed()
    recovery(feed).late("ETH/USDT", "mark")
    assert (feed.void, feed.refreshed) == ([], [("ETH/USDT", ["mark"])])


def test_without_a_connection_nothing_is_void() -> None:
    """There is no stream whose silence would say anything of the book."""
    feed = Feed()
    feed.manager = None  # type: ignore[assignment]
    recovery(feed).silent(3, Scope.BOOK)
    assert (feed.void, feed.refreshed) == ([], [])
