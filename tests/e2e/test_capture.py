"""A real capture through simulated venue, worker and shared memory to the command line: exact books."""

from __future__ import annotations

import gzip
import json
import os
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import shm

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("TICKRING_SHARED", ROOT.parent / "shared")) / "captures" / "binance_spot"
OWN = ROOT / "tests" / "fixtures"
REAL = pytest.param(
    SHARED / "session.jsonl.gz",
    SHARED / "books.jsonl",
    {"NKNUSDT": "NKN/USDT", "BLZETH": "BLZ/ETH", "LRCBTC": "LRC/BTC", "RUNEEUR": "RUNE/EUR"},
    id="real",
    marks=pytest.mark.skipif(
        not SHARED.exists(), reason=f"no captures at {SHARED} (TICKRING_SHARED names them)"
    ),
)
SMALL = pytest.param(
    OWN / "binance_spot_small.jsonl.gz",
    OWN / "binance_spot_small_books.jsonl",
    {"BTCUSDT": "BTC/USDT", "ETHBTC": "ETH/BTC"},
    id="small",
)


def decimals(side: list[list[str]]) -> list[tuple[Decimal, Decimal]]:
    return [(Decimal(price), Decimal(size)) for price, size in side]


def book_tickers(capture: Path) -> dict[tuple[str, int], tuple[Decimal, ...]]:
    """(venue symbol, update id) -> (bid, bid size, ask, ask size), read here independently."""
    found = {}
    with gzip.open(capture, "rt") as lines:
        for line in lines:
            row = json.loads(line)
            if row.get("dir") == "in" and "@bookTicker" in row["text"][:80]:
                data = json.loads(row["text"])["data"]
                found[data["s"], data["u"]] = tuple(Decimal(data[key]) for key in "bBaA")
    return found


@pytest.mark.parametrize(("capture", "books", "symbols"), [REAL, SMALL])
def test_final_books_equal_the_oracle_and_tops_equal_the_books(
    stack: Any, capture: Path, books: Path, symbols: dict[str, str]
) -> None:
    urls = stack.sim("--capture", str(capture), "--speed", "20")
    wanted = {}
    for line in books.read_text().splitlines():
        row = json.loads(line)
        wanted[symbols.get(row["symbol"], row["symbol"])] = row
    stack.up(urls, symbols=list(symbols.values()), channels=["top", "book", "agg_trades"], depth=20)

    # Every change of the windows, folded from the ring, while the capture runs.
    feed = stack.attach()
    fold = feed.fold()
    tops: dict[tuple[str, int], tuple[Decimal, ...]] = {}
    finals = {symbol: row.get("last_u") or row.get("update_id") for symbol, row in wanted.items()}
    arrived: set[str] = set()

    def everything() -> bool:
        fold.cursor.wait(0.01)
        for symbol in fold.poll():
            if fold.state(symbol) is shm.State.LIVE:
                instrument = feed.instrument(symbol)
                bids, asks = fold.book(symbol)
                if len(bids) and len(asks):
                    tops[instrument.venue_symbol, fold.update_id(symbol)] = (
                        instrument.price(int(bids[0][0])),
                        instrument.size(int(bids[0][1])),
                        instrument.price(int(asks[0][0])),
                        instrument.size(int(asks[0][1])),
                    )
                if fold.update_id(symbol) == finals[symbol]:
                    arrived.add(symbol)
        return arrived == set(finals)

    deadline = time.monotonic() + 30
    while not everything():
        assert time.monotonic() < deadline, f"{arrived} of {finals}; {stack.log.read_text()}"

    for symbol, row in wanted.items():
        done = stack.tickring("book", "binance_spot", symbol, "--depth", "20", "--json")
        assert done.returncode == 0, done.stderr
        book = json.loads(done.stdout)
        assert set(book) >= {"feed", "symbol", "state", "update_id", "ts_event", "ts_recv", "bids", "asks"}
        assert book["update_id"] == finals[symbol]
        assert decimals(book["bids"]) == decimals(row["bids"][:20])
        assert decimals(book["asks"]) == decimals(row["asks"][:20])

    # The venue's own top-of-book stream is an oracle for the books.
    tickers = book_tickers(capture)
    both = tickers.keys() & tops.keys()
    assert len(both) >= 10, "too few update ids are common to bookTicker and depth to prove anything"
    assert {key: tickers[key] for key in both} == {key: tops[key] for key in both}
    assert fold.resyncs == 0
