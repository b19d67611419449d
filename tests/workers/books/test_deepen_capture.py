"""Real traffic through a book that begins with a few levels and is deepened, beside one that begins with all.

Kind: a cheap start costs time at which a book is LIVE, or its truth. Its members here: the real streams of
spot and of the futures, whose ids count differently.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shm import State
from workers.books.sync import Outcome, Snapshot
from workers.capture.reader import read
from workers.venues.venue import load

SHARED = Path(os.environ.get("TICKRING_SHARED") or Path(__file__).parents[3].parent / "shared")
CAPTURES = SHARED / "captures"
EXP = 8
DEPTH, FIRST, DEEPER = 20, 22, 60

pytestmark = pytest.mark.skipif(
    not CAPTURES.is_dir(), reason="the real captures (../shared/captures) are not on this machine"
)


class Pair:
    """Two feeds of one stream: `whole` begins with the recorded snapshots, `cut` with their best `FIRST`.

    What the venue would answer to a later request is the whole book of that moment.
    """

    def __init__(self, make_lab: Callable[..., Any], feed: str) -> None:
        venue = load(feed)
        config: Any = None  # neither of these venues looks at it
        assert venue.data.decoder is not None
        self.whole, self.cut = (
            make_lab(
                depth=DEPTH, decoder=venue.data.decoder(), make_sync=lambda: venue.books.make_sync(config)
            )
            for _ in range(2)
        )
        self.indexes: dict[str, int] = {}
        self.deepened = self.compared = 0
        self.kept: set[int] = set()

    def begin(self, symbol: str, body: dict[str, Any]) -> None:
        index = self.indexes[symbol]
        for lab, limit in ((self.whole, 1000), (self.cut, FIRST)):
            snapshot = Snapshot(body["lastUpdateId"], body["bids"][:limit], body["asks"][:limit])
            outcome = lab.publisher.apply_snapshot(index, snapshot, limit=limit)
            assert outcome in (Outcome.SYNCED, Outcome.REFETCH)

    def frame(self, data: bytes, ts: int) -> None:
        for lab in (self.whole, self.cut):
            lab.publisher.hot_path.frame(data, ts)
            lab.publisher.hot_path.batch_end()

    def answer(self, index: int) -> Snapshot:
        """The venue's book now, at `DEEPER` levels a side."""

        def text(number: int) -> str:
            return f"{number // 10**EXP}.{number % 10**EXP:0{EXP}d}"

        book = self.whole.publisher.book(index)
        sides = ([(text(p), text(s)) for p, s in book.window(ask, DEEPER)] for ask in (False, True))
        return Snapshot(book.last_id, *sides)

    def deepen(self) -> None:
        publisher = self.cut.publisher
        for index in sorted(self.kept):
            if publisher.collected_diffs(index):
                assert publisher.deepen(index, self.answer(index), limit=DEEPER) == (Outcome.SYNCED, 0)
                publisher.stop_collecting(index)
                self.kept.discard(index)
                self.deepened += 1
        for index, known in publisher.known_levels():
            if known < FIRST and index not in self.kept:
                publisher.collect(index)
                self.kept.add(index)

    def compare(self) -> None:
        for index in self.indexes.values():
            if self.whole.state(index) is State.LIVE:
                symbol = self.whole.feed.slots[index].symbol
                ours, theirs = self.cut.feed.book(symbol), self.whole.feed.book(symbol)
                assert ours.update_id == theirs.update_id
                for mine, other in zip(ours.exact, theirs.exact, strict=True):
                    assert mine.tolist() == other.tolist()
                self.compared += 1


def play(pair: Pair, feed: str, deepened: bool) -> None:
    for row in read(CAPTURES / feed / "session.jsonl.gz"):
        if row.kind == "http" and "/depth" in row.url:
            pair.begin(row.url.split("symbol=")[1].split("&")[0], json.loads(row.payload()))
        elif row.kind == "ws" and row.dir == "open":
            for stream in row.url.split("streams=")[1].split("/"):
                symbol = stream.split("@")[0].upper()
                if symbol not in pair.indexes:
                    pair.indexes[symbol] = index = pair.whole.add(symbol, EXP, EXP)
                    assert pair.cut.add(symbol, EXP, EXP) == index
        elif row.kind == "ws" and row.dir == "in":
            pair.frame(row.payload(), row.ts)
            if deepened:
                pair.deepen()
            pair.compare()


@pytest.mark.parametrize("feed", ["binance_spot", "binance_futures"])
def test_it_is_live_as_long_and_shows_the_same(make_lab: Callable[..., Any], feed: str) -> None:
    pair = Pair(make_lab, feed)
    play(pair, feed, deepened=True)
    assert pair.deepened >= 2
    assert pair.compared > 200
    assert pair.cut.counter("resyncs") == 0


@pytest.mark.parametrize("feed", ["binance_spot", "binance_futures"])
def test_negative_control_without_a_deeper_snapshot_it_is_not(
    make_lab: Callable[..., Any], feed: str
) -> None:
    pair = Pair(make_lab, feed)
    with pytest.raises(Exception, match="RESYNC"):
        play(pair, feed, deepened=False)
    assert pair.cut.counter("resyncs") > 0
