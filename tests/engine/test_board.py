"""The demo's board: what it reads, what it compares, and that it fits the terminal whatever its size."""

from __future__ import annotations

import time
from collections.abc import Iterator
from decimal import Decimal

import pytest

import shm
from engine.views.board import Best, Board, FeedLine, Line, Quote, best, board_lines, plain_lines, take
from shm.instruments import Instrument
from shm.layout import Flag, Geometry, Reason, State
from shm.segment import open_writer
from shm.writer import Writer
from tests.instances import mine

INSTANCE = mine("board")
FEEDS = ("binance_futures", "binance_spot", "kraken", "mexc_spot", "okx")
HINTS = [f"hint {number}" for number in range(6)]


@pytest.fixture
def writer() -> Iterator[Writer]:
    made = open_writer(INSTANCE, "venue", Geometry(slots=256, instruments=4), heartbeat_limit=60.0)
    for symbol in ("BTC/USDT:USDT", "ETH/USDT:USDT"):
        made.add_instrument(
            Instrument(symbol=symbol, venue_symbol=symbol.replace("/", ""), price_exp=2, size_exp=5)
        )
    made.set_state(State.LIVE, Reason.SYNCED)
    made.top(0, 12345, 100000, 12350, 5, ts_recv=time.monotonic_ns())
    made.top(1, 700, 1, 0, 0, flags=Flag.NO_ASK, ts_recv=time.monotonic_ns())
    made.book_cell(0, [(12345, 100000)], [(12350, 5), (12360, 7)])
    made.heartbeat()
    made.commit()
    yield made
    made.close(unlink=True)


def quote(feed: str, bid: str, ask: str, state: State = State.LIVE, symbol: str = "BTC/USDT") -> Quote:
    return Quote(feed, symbol, state, Decimal(bid), Decimal(1), Decimal(ask), Decimal(2))


def board(bases: int = 3, feeds: tuple[str, ...] = FEEDS) -> Board:
    quotes = [
        quote(feed, f"{100 + place}.10", f"{100 + place}.20", symbol=f"B{base}/USDT:USDT")
        for place, feed in enumerate(feeds)
        for base in range(bases)
    ]
    return Board([FeedLine(feed, State.LIVE, 10, (bases, bases)) for feed in feeds], quotes)


def texts(lines: list[Line]) -> list[str]:
    return ["".join(text for text, _ in line) for line in lines]


def test_what_is_read_is_exact(writer: Writer) -> None:
    with shm.attach("venue", INSTANCE) as feed:
        seen = take({"venue": feed, "other": None})
    assert [(line.name, line.state, line.books) for line in seen.feeds] == [
        ("venue", State.LIVE, (1, 2)),
        ("other", State.DOWN, (0, 0)),
    ]
    btc, eth = seen.quotes
    assert btc == Quote(
        "venue",
        "BTC/USDT:USDT",
        State.LIVE,
        Decimal("123.45"),
        Decimal("1.00000"),
        Decimal("123.50"),
        Decimal("0.00005"),
    )
    assert (eth.bid, eth.ask, eth.ask_size) == (Decimal("7.00"), None, None)


def test_a_feed_that_was_closed_is_down(writer: Writer) -> None:
    feed = shm.attach("venue", INSTANCE)
    feed.close()
    assert take({"venue": feed}) == Board([FeedLine("venue", State.DOWN)], [])


def test_the_best_is_the_lowest_ask_and_the_highest_bid_of_what_is_live() -> None:
    quotes = [
        quote("a", "100.0", "100.2"),
        quote("b", "100.3", "100.4"),
        quote("c", "99.9", "100.1"),
        quote("d", "500", "1", State.STALE),
    ]
    found = best(quotes)
    assert found == Best(quotes[2], quotes[1])
    assert str(found) == "buy 100.1 c, sell 100.3 b: +19.98 bp"
    assert best([quote("d", "1", "2", State.DOWN)]) is None
    assert best([Quote("a", "X/Y", State.LIVE)]) is None


def test_of_equals_the_first() -> None:
    quotes = [quote("a", "1", "2"), quote("b", "1", "2")]
    assert best(quotes) == Best(quotes[0], quotes[0])


def test_markets_of_one_base_stand_side_by_side() -> None:
    quotes = [quote("a", "1", "2", symbol=symbol) for symbol in ("BTC/USD", "ETH/USDT", "BTC/USDT:USDT")]
    assert {base: len(found) for base, found in Board([], quotes).groups.items()} == {"BTC": 2, "ETH": 1}


def test_plain_lines() -> None:
    quotes = [quote("okx", "1.5", "1.6", symbol="BTC/USDT:USDT"), Quote("kraken", "BTC/USD", State.RESYNC)]
    assert plain_lines(Board([], quotes)) == [
        "okx             BTC/USDT:USDT  LIVE   bid 1 @ 1.5  ask 1.6 @ 2",
        "kraken          BTC/USD        RESYNC no bid  no ask",
        "BTC             best: buy 1.6 okx, sell 1.5 okx: -625.00 bp",
    ]


def test_five_feeds_three_symbols_and_hints_fit_80_by_24() -> None:
    lines = texts(board_lines(board(), {}, HINTS, [], 80, 23))
    assert len(lines) == 23
    assert max(map(len, lines)) <= 80
    for feed in FEEDS:
        assert all(part in lines[0] + lines[1] for part in feed.split("_"))
    assert [line for line in lines if "buy 100.20 binance_futures, sell 104.10 okx: +389.22 bp" in line]
    assert lines[-6:] == HINTS


@pytest.mark.parametrize("width", [10, 40, 79, 80, 200])
@pytest.mark.parametrize("height", [1, 6, 10, 15, 23, 50])
@pytest.mark.parametrize("bases", [0, 1, 3, 12])
def test_it_never_overflows(width: int, height: int, bases: int) -> None:
    lines = texts(board_lines(board(bases), {"okx": 1234.0}, HINTS, ["a log line " * 20], width, height))
    assert len(lines) <= height
    assert max(map(len, lines), default=0) <= width


def test_a_warning_is_never_hidden_hints_are() -> None:
    warning = "12:00:00.000 warning okx: killed by signal 9 (SIGKILL); restarted"
    lines = texts(board_lines(board(), {}, HINTS, [warning], 80, 23))
    assert lines[-1] == warning
    assert len(lines) == 23
    lines = texts(board_lines(board(12), {}, HINTS, ["first", "second", warning], 80, 23))
    assert lines[-3:] == ["first", "second", warning]
    assert texts(board_lines(board(), {}, HINTS, ["first", warning], 80, 8))[-1] == warning


def test_what_is_left_out_is_reported() -> None:
    lines = texts(board_lines(board(12), {}, HINTS, [], 80, 23))
    assert "... 8 more symbols" in lines
    assert lines[-1] == "... 6 more lines"
    lines = texts(board_lines(board(1), {}, [], [], 40, 23))
    assert "... 3 more feeds: the terminal is too n" in "\n".join(lines)


def test_what_is_not_live_says_so_instead_of_a_price() -> None:
    quotes = [quote("okx", "1.5", "1.6", State.RESYNC), quote("kraken", "9.5", "9.6")]
    feeds = [FeedLine(name, State.LIVE) for name in ("okx", "kraken", "third")]
    shown = texts(board_lines(Board(feeds, quotes), {"okx": 1234.5}, [], [], 80, 23))
    assert "1.5" not in "\n".join(shown)
    assert any("RESYNC" in line and "9.5" in line for line in shown)
    assert any(line.startswith("msg/s") and "1,234" in line for line in shown)
