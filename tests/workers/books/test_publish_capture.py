"""Real traffic through decoder, book and ring: the last window is the oracle's, the fold every cell."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shm import Flag, Kind, Scope, State
from workers.books.sync import Outcome, Snapshot
from workers.capture.reader import read
from workers.decode.decimals import to_mantissa

SHARED = Path(os.environ.get("TICKRING_SHARED") or Path(__file__).parents[3].parent / "shared")
CAPTURE = SHARED / "captures" / "binance_spot"
EXP = 8

pytestmark = pytest.mark.skipif(
    not CAPTURE.is_dir(), reason="the real captures (../shared/captures) are not on this machine"
)


@pytest.fixture(scope="module")
def rows() -> list[Any]:
    return list(read(CAPTURE / "session.jsonl.gz"))


@pytest.fixture(scope="module")
def oracle() -> dict[str, Any]:
    lines = (CAPTURE / "books.jsonl").read_text().splitlines()
    return {row["symbol"]: row for row in map(json.loads, lines)}


def play(
    lab: Any, rows: list[Any], after: Callable[[], None] = lambda: None, drop: int = -1
) -> dict[str, int]:
    """Feeds the capture in its order; `drop` leaves one incoming frame out."""
    indexes: dict[str, int] = {}
    n = 0
    for row in rows:
        if row.kind == "http" and "/depth" in row.url:
            symbol = row.url.split("symbol=")[1].split("&")[0]
            body = json.loads(row.payload())
            snapshot = Snapshot(body["lastUpdateId"], body["bids"], body["asks"])
            outcome = lab.publisher.apply_snapshot(indexes[symbol], snapshot, limit=1000)
            assert outcome in (Outcome.SYNCED, Outcome.REFETCH)
        elif row.kind == "ws" and row.dir == "open":
            for stream in row.url.split("streams=")[1].split("/"):
                symbol = stream.split("@")[0].upper()
                if symbol not in indexes:
                    indexes[symbol] = lab.add(symbol, EXP, EXP)
        elif row.kind == "ws" and row.dir == "in":
            n += 1
            if n - 1 != drop:
                lab.publisher.hot_path.frame(row.payload(), row.ts)
                lab.publisher.hot_path.batch_end()
        after()
    return indexes


def test_the_last_window_equals_the_oracle(
    make_lab: Callable[..., Any], rows: list[Any], oracle: dict[str, Any]
) -> None:
    lab = make_lab()
    indexes = play(lab, rows)
    assert indexes.keys() == oracle.keys()
    for symbol, index in indexes.items():
        row = oracle[symbol]
        book = lab.feed.book(lab.feed.slots[index].symbol)
        for side, name in zip(book.exact, ("bids", "asks"), strict=True):
            expected = [[to_mantissa(text, EXP)[1] for text in level] for level in row[name][:20]]
            assert side.tolist() == expected, (symbol, name)
        assert book.update_id == row["last_u"]
    assert lab.counter("gaps") == 0
    assert lab.publisher.errors == 0


@pytest.mark.parametrize("depth", [1, 5, 20])
def test_folding_gives_every_cell_exactly(make_lab: Callable[..., Any], rows: list[Any], depth: int) -> None:
    """I11: after each message, from the first record on."""
    lab = make_lab(depth=depth, slots=1024)
    checked = 0

    def after() -> None:
        nonlocal checked
        lab.poll()
        for index, fold in lab.folds.items():
            if fold.updates:
                lab.check(index)
                checked += 1

    play(lab, rows, after)
    assert checked > 500
    assert sum(fold.updates for fold in lab.folds.values()) > 150


@pytest.mark.parametrize("seed", range(8))
def test_a_fold_that_is_lapped_gives_every_cell_too(
    make_lab: Callable[..., Any], rows: list[Any], seed: int
) -> None:
    """I11 with laps injected: a reader that comes late to a ring of 64 records is exact when it comes."""
    lab = make_lab(depth=5, slots=64)
    fold = lab.feed.fold()
    chance = random.Random(seed)
    due = checked = 0

    def after() -> None:
        nonlocal due, checked
        due -= 1
        if due > 0:
            return
        due = chance.choice((1, 2, 5, 30, 90))
        while fold.poll(chance.choice((1, 7, 4096))) or fold.cursor.position <= fold.cursor.head_sequence:
            pass
        for index in lab.publisher.indexes:
            symbol = lab.feed.slots[index].symbol
            cell = lab.feed.book(symbol, allow_stale=True)
            bids, asks = fold.book(symbol)
            assert bids.tolist() == cell.exact[0].tolist(), symbol
            assert asks.tolist() == cell.exact[1].tolist(), symbol
            assert fold.update_id(symbol) == cell.update_id
            checked += 1

    play(lab, rows, after)
    assert fold.resyncs > 0, "no lap was injected"
    assert checked >= 12


def test_top_and_book_agree_where_their_ids_do(make_lab: Callable[..., Any], rows: list[Any]) -> None:
    """The venue's own cross-check: bookTicker u equal to a diff's u has the same top."""
    lab = make_lab()
    tops: dict[tuple[int, int], tuple[int, ...]] = {}
    bests: dict[tuple[int, int], tuple[int, ...]] = {}

    def after() -> None:
        for index in lab.publisher.indexes:
            symbol = lab.feed.slots[index].symbol
            if lab.state(index, Scope.TOP) is State.LIVE:
                top = lab.feed.top(symbol)
                tops[index, top.update_id] = top.exact
            if lab.state(index) is State.LIVE:
                book = lab.feed.book(symbol)
                bests[index, book.update_id] = (*book.exact[0][0].tolist(), *book.exact[1][0].tolist())

    play(lab, rows, after)
    common = tops.keys() & bests.keys()
    assert len(common) == 26
    assert all(tops[key] == bests[key] for key in common)


def test_a_lost_frame_is_a_gap_of_one_symbol(make_lab: Callable[..., Any], rows: list[Any]) -> None:
    """Negative control of the oracle: with one diff of NKNUSDT missing, that book alone is not LIVE."""
    frames = [row.payload() for row in rows if row.kind == "ws" and row.dir == "in"]
    drop = max(n for n, text in enumerate(frames[:-20]) if b'"s":"NKNUSDT","U"' in text)
    lab = make_lab()
    indexes = play(lab, rows, drop=drop)
    assert lab.counter("gaps") == 1
    states = {symbol: lab.state(index) for symbol, index in indexes.items()}
    assert states.pop("NKNUSDT") is State.RESYNC
    assert set(states.values()) == {State.LIVE}


def test_the_fold_notices_a_missing_record(make_lab: Callable[..., Any], rows: list[Any]) -> None:
    """Negative control of I11: without the records that leave the window, the fold differs from the cell."""
    lab = make_lab(depth=5)
    edges = Flag.FIRST | Flag.LAST

    def leaves(record: Any) -> bool:
        return (
            not int(record["flags"]) & edges and int(record["kind"]) == Kind.LEVEL and not record["words"][1]
        )

    def after() -> None:
        lab.poll()
        for index in lab.publisher.indexes:
            lab.check(index)

    lab.blind = leaves
    with pytest.raises(AssertionError):
        play(lab, rows, after)
