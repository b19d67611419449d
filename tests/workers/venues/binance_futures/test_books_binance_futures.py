"""Sessions through decoder, state machine, book and segment: books, tops and chains equal an oracle's."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import shm
from shm import Flag, Geometry, Kind, Scope, State
from shm.segment import open_writer
from tests.instances import mine
from workers.books.publish import Publisher
from workers.books.sync import Outcome, Snapshot
from workers.decode.decimals import to_mantissa
from workers.venues.binance_futures import schema
from workers.venues.binance_futures._decode import Decoder
from workers.venues.binance_futures.instruments import instruments, symbol_of
from workers.venues.binance_futures.sync import BookSync
from workers.venues.entries import Entries

ROOT = Path(__file__).resolve().parents[4]
SHARED = Path(os.environ.get("TICKRING_SHARED") or ROOT.parent / "shared") / "captures/binance_futures"
FIXTURES = ROOT / "tests/fixtures"
SESSIONS = {
    "captured": (SHARED / "session.jsonl.gz", SHARED / "books.jsonl"),
    "small": (FIXTURES / "binance_futures_small.jsonl.gz", FIXTURES / "binance_futures_small_books.jsonl"),
}
_count = itertools.count()


class Play:
    """One session, played through a publisher into a segment of its own."""

    def __init__(
        self,
        name: str,
        drop: int = -1,
        sync: type[BookSync] = BookSync,
        finer: tuple[int, str] = (-1, ""),  # the frame, and the number that gets nine decimals
    ) -> None:
        path, oracle = SESSIONS[name]
        if not path.exists():
            pytest.skip(f"{path} is not here")
        with gzip.open(path, "rt") as lines:
            self.rows = [json.loads(line) for line in lines]
        self.oracle = {row["symbol"]: row for row in map(json.loads, oracle.read_text().splitlines())}
        instance = mine(f"futures-{next(_count)}")
        geometry = Geometry(slots=65_536, instruments=8, depth=20)
        self.writer = open_writer(instance, "lab", geometry, heartbeat_limit=60.0)
        self.writer.set_state(State.LIVE, shm.Reason.SYNCED)
        self.decoder = Decoder()
        self.publisher = Publisher(self.writer, self.decoder, sync)
        self.feed = shm.attach("lab", instance)
        self.cursor = self.feed.cursor(from_oldest=True)
        self.symbols: dict[str, str] = {}  # venue's -> canonical
        self.exponents: dict[str, tuple[int, int, int]] = {}  # venue's -> slot, exponents
        self.tops: dict[tuple[str, int], tuple[int, ...]] = {}
        self.bests: dict[tuple[str, int], tuple[int, ...]] = {}
        self.snapshots: list[Outcome] = []
        self.drop = drop
        self.finer = finer

    def run(self) -> Play:
        incoming = 0
        for row in self.rows:
            if row["kind"] == "http" and row["url"].endswith("exchangeInfo"):
                self._listed(schema.read_listing(row["text"]))
            elif row["kind"] == "http":
                symbol = row["url"].split("symbol=")[1].split("&")[0]
                body = schema.decode_depth(row["text"])
                snapshot = Snapshot(body.last_id, body.bids, body.asks)
                slot = self.exponents[symbol][0]
                self.snapshots.append(self.publisher.apply_snapshot(slot, snapshot, limit=1000))
            elif row["dir"] == "in":
                incoming += 1
                if incoming - 1 != self.drop:
                    text = row["text"]
                    if incoming - 1 == self.finer[0]:
                        text = re.sub(rf'"{self.finer[1]}":"[^"]*"', f'"{self.finer[1]}":"1.123456789"', text)
                    self.publisher.hot_path.frame(text.encode(), row["ts"])
                    self.publisher.hot_path.batch_end()
                    self._note()
        return self

    def _listed(self, info: Entries[schema.SymbolInfo]) -> None:
        wanted = [symbol_of(entry) for entry in info.entries if entry.symbol in self.oracle]
        for spec in instruments(info, wanted).instruments:
            index = self.writer.add_instrument(spec)
            self.publisher.add_instrument(index, spec.price_exp, spec.size_exp)
            self.decoder.add_symbol(spec.venue_symbol, index, spec.price_exp, spec.size_exp)
            self.symbols[spec.venue_symbol] = spec.symbol
            self.exponents[spec.venue_symbol] = (index, spec.price_exp, spec.size_exp)

    def _note(self) -> None:
        for venue, symbol in self.symbols.items():
            lent = self.publisher.top_filled(self.exponents[venue][0])  # no proof of the stream of tops
            if self.feed.cell_state(symbol, Scope.TOP) is State.LIVE and not lent:
                top = self.feed.top(symbol)
                self.tops[venue, top.update_id] = top.exact
            if self.state(venue) is State.LIVE:
                book = self.feed.book(symbol)
                best = (*book.exact[0][0].tolist(), *book.exact[1][0].tolist())
                self.bests[venue, book.update_id] = best

    def state(self, venue: str) -> State:
        return self.feed.cell_state(self.symbols[venue], Scope.BOOK)

    def differences(self) -> list[str]:
        """Symbols whose published window is not the oracle's."""
        found = []
        for venue, row in self.oracle.items():
            book = self.feed.book(self.symbols[venue], allow_stale=True)
            _, *exponents = self.exponents[venue]
            for side, name in zip(book.exact, ("bids", "asks"), strict=True):
                expected = [
                    [to_mantissa(word, exp)[1] for word, exp in zip(level, exponents, strict=True)]
                    for level in row[name][:20]
                ]
                if side.tolist() != expected or book.update_id != row["last_u"]:
                    found.append(f"{venue} {name}")
        return found

    def counter(self, name: str) -> int:
        return self.feed.counters().feed[name]

    def records(self) -> dict[int, int]:
        """How many records of each kind."""
        found: dict[int, int] = {}
        while len(batch := self.cursor.poll()):
            assert batch.lost == 0
            for record in batch:
                found[int(record["kind"])] = found.get(int(record["kind"]), 0) + 1
        return found

    def close(self) -> None:
        self.feed.close()
        self.writer.close()


@pytest.fixture
def plays() -> Iterator[Any]:
    made: list[Play] = []

    def play(*args: Any, **kwargs: Any) -> Play:
        made.append(Play(*args, **kwargs))
        return made[-1].run()

    yield play
    for each in made:
        each.close()


@pytest.mark.parametrize(("name", "common"), [("captured", 50), ("small", 110)])
def test_books_tops_and_chains_are_the_oracles(plays: Any, name: str, common: int) -> None:
    play = plays(name)
    assert set(play.symbols) == set(play.oracle)
    assert play.differences() == []
    assert play.snapshots == [Outcome.SYNCED] * len(play.oracle)
    assert (play.counter("gaps"), play.publisher.errors) == (0, 0)
    assert {play.state(venue) for venue in play.oracle} == {State.LIVE}
    # The venue's own cross-check: a bookTicker with a diff's u has that diff's best of both sides.
    both = play.tops.keys() & play.bests.keys()
    assert len(both) >= common
    assert all(play.tops[key] == play.bests[key] for key in both)


def test_the_capture_has_fifty_such_tops(plays: Any) -> None:
    play = plays("captured")
    assert len(play.tops.keys() & play.bests.keys()) == 50


def test_every_kind_of_message_is_published(plays: Any) -> None:
    records = plays("small").records()
    assert records.keys() >= {Kind.TOP, Kind.TRADE, Kind.LEVEL, Kind.TICKER, Kind.MARK, Kind.LIQUIDATION}
    assert records[Kind.MARK] == 24
    assert records[Kind.LIQUIDATION] == 8
    assert records[Kind.TICKER] == 16


def test_a_mark_that_does_not_fit_costs_only_itself(plays: Any) -> None:
    probe = plays("small")
    incoming = [row["text"] for row in probe.rows if row.get("dir") == "in"]
    victim = next(iter(probe.oracle))
    wanted = f'"s":"{victim}"'

    def altered(event: str, key: str) -> Play:
        """The session with more decimals in one event's number."""
        at = next(n for n, text in enumerate(incoming) if f'"{event}"' in text and wanted in text)
        return plays("small", finer=(at, key))

    play = altered("markPriceUpdate", "i")
    assert play.differences() == []
    assert {play.state(venue) for venue in play.oracle} == {State.LIVE}
    assert play.counter("precision") == 1
    records = play.records()
    assert (records[Kind.MARK], records[Kind.LIQUIDATION]) == (23, 8)
    # So does a trade.
    play = altered("aggTrade", "p")
    assert (play.state(victim), play.counter("precision")) == (State.LIVE, 1)
    assert play.differences() == []


def test_quote_volumes_have_room_and_marks_their_own_exponent(plays: Any) -> None:
    play = plays("small")
    seen = []
    while len(batch := play.cursor.poll()):
        seen += list(batch)
    volumes = [r for r in seen if int(r["kind"]) == Kind.TICKER and int(r["aux"]) == 1]
    assert volumes
    assert not any(Flag(int(r["flags"])).lacks(word) for r in volumes for word in range(4))
    exponents = {int(r["aux"]) for r in seen if int(r["kind"]) in (Kind.MARK, Kind.LIQUIDATION)}
    assert exponents == {8}
    assert all(price_exp < 8 for _, price_exp, _ in play.exponents.values())


@pytest.mark.parametrize("name", SESSIONS)
def test_a_lost_frame_is_a_gap_of_one_symbol(plays: Any, name: str) -> None:
    """Negative control: with one diff missing, that book alone is not LIVE."""
    probe = plays(name)
    incoming = [row["text"] for row in probe.rows if row.get("dir") == "in"]
    victim = next(iter(probe.oracle))
    wanted = f'"s":"{victim}"'
    at = [n for n, text in enumerate(incoming) if '"depthUpdate"' in text and wanted in text]
    play = plays(name, drop=at[-3])
    assert play.counter("gaps") == 1
    assert play.state(victim) is State.RESYNC
    assert {play.state(venue) for venue in play.oracle if venue != victim} == {State.LIVE}


class Letter(BookSync):
    """A mutant that takes every event for the next one."""

    def _follows(self, diff: Any) -> bool:
        return True


def test_the_oracle_notices_an_unchecked_chain(plays: Any) -> None:
    probe = plays("small")
    incoming = [row["text"] for row in probe.rows if row.get("dir") == "in"]
    at = [n for n, text in enumerate(incoming) if '"depthUpdate"' in text and '"s":"BTCUSDT"' in text]

    def wrong(play: Play) -> bool:
        both = play.tops.keys() & play.bests.keys()
        return any(play.tops[key] != play.bests[key] for key in both)

    assert any(wrong(plays("small", drop=n, sync=Letter)) for n in at[20:60:2])


def test_the_small_session_is_what_its_script_makes() -> None:
    made, books = runpy.run_path(str(FIXTURES / "make_binance_futures_small.py"))["make"]()
    with gzip.open(SESSIONS["small"][0], "rt") as lines:
        assert [json.loads(line) for line in lines] == made
    assert [json.loads(line) for line in SESSIONS["small"][1].read_text().splitlines()] == books


def test_a_server_that_lags_does_not_publish_an_older_top(plays: Any) -> None:
    """It sends an old top now: the time of sending (E) is newer, the time of the change (T) is not."""
    play = plays("small")
    venue = next(iter(play.symbols))
    now = 1_800_000_000_000

    def top_id_after(update: int, changed: int, sent: int) -> int:
        """The update id that is published after this top."""
        frame = (
            f'{{"e":"bookTicker","u":{update},"s":"{venue}","b":"8.5","B":"2","a":"9.0","A":"3",'
            f'"T":{changed},"E":{sent}}}'
        )
        play.publisher.hot_path.frame(frame.encode(), 1)
        play.publisher.hot_path.batch_end()
        return int(play.feed.top(play.symbols[venue]).update_id)

    newest, before = 10**15, play.counter("outdated")
    assert top_id_after(newest, now, now + 5) == newest
    assert top_id_after(newest - 7, now - 900, now + 60) == newest
    assert play.counter("outdated") == before + 1
    assert top_id_after(5, now + 100, now + 101) == 5  # ids that begin anew, after a change that is later
