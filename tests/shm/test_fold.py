"""I11: folding the ring from any cell gives the next cell exactly, through laps, restarts and half updates.

The writer's side here is a small reference model of its own: full books of a few prices, the window of the
best `DEPTH` levels, and the LEVEL records that lead from one window to the next.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import shm
from shm.fold import Fold, _Window
from shm.instruments import Instrument
from shm.layout import Flag, Geometry, Kind, Reason, Region, Scope, State
from shm.segment import open_writer
from shm.writer import Writer
from tests.instances import mine

DEPTH = 3
GEOMETRY = Geometry(slots=32, instruments=2, depth=DEPTH, events=8)
Levels = list[tuple[int, int]]
Window = tuple[Levels, Levels]


class Model:
    """One feed of two books, and what each book's window was after every record that completed it."""

    def __init__(self, name: str, dice: random.Random) -> None:
        self.name, self.dice = name, dice
        self.writer = open_writer(name, "feed", GEOMETRY, 3600.0)
        self.full: list[tuple[dict[int, int], dict[int, int]]] = [({}, {}), ({}, {})]
        self.shown: list[Window] = [([], []), ([], [])]
        self.live = [False, False]
        self.history: dict[tuple[int, int], Window] = {}
        for symbol in ("A/B", "C/D"):
            self.writer.add_instrument(
                Instrument(symbol=symbol, venue_symbol=symbol, price_exp=0, size_exp=0)
            )
        self.update_id = 0

    def window(self, index: int) -> Window:
        bids, asks = self.full[index]
        return sorted(bids.items(), reverse=True)[:DEPTH], sorted(asks.items())[:DEPTH]

    def change(self, index: int) -> None:
        for _ in range(self.dice.randint(1, 4)):
            side = self.dice.randrange(2)
            price = self.dice.randint(1, 8) + 10 * side
            size = self.dice.choice([0, 0, 1, 2, 3])
            if size:
                self.full[index][side][price] = size
            else:
                self.full[index][side].pop(price, None)

    def update(self, index: int, dies_after: int | None = None) -> None:
        """One update: its records, its cell. `dies_after` records the writer is killed instead."""
        self.change(index)
        old, new = self.shown[index], self.window(index)
        records: list[tuple[Kind, int, int, int]] = []
        if self.live[index]:
            for side in range(2):
                before, after = dict(old[side]), dict(new[side])
                records += [(Kind.LEVEL, 4 * side, p, 0) for p in before if p not in after]
                records += [(Kind.LEVEL, 4 * side, p, s) for p, s in after.items() if before.get(p) != s]
            if not records:
                return
        else:
            records.append((Kind.CLEAR, 0, 0, 0))
            records += [(Kind.LEVEL, 4 * side, p, s) for side in range(2) for p, s in new[side]]
        self.update_id += 1
        for i, (kind, ask, price, size) in enumerate(records):
            if i == dies_after:
                self.restart()
                return
            flags = ask | (Flag.FIRST if i == 0 else 0) | (Flag.LAST if i == len(records) - 1 else 0)
            if kind is Kind.CLEAR:
                self.writer.clear(index, self.update_id, flags=flags)
            else:
                self.writer.level(index, price, size, self.update_id, flags=flags)
        self.history[index, self.writer.next_sequence - 1] = new
        if dies_after == len(records):  # all records, not the cell
            self.restart()
            return
        if not self.live[index]:
            self.writer.status(index, Scope.BOOK, State.LIVE, Reason.SYNCED)
            self.history[index, self.writer.next_sequence - 1] = new
        self.writer.book_cell(index, *new, update_id=self.update_id)
        self.shown[index], self.live[index] = new, True

    def gap(self, index: int) -> None:
        self.writer.book_state(index, State.RESYNC, Reason.GAP)
        self.live[index] = False

    def restart(self) -> None:
        assert self.writer._lock is not None
        self.writer._lock.release()
        self.writer._lock = self.writer._names = None
        self.writer = open_writer(self.name, "feed", GEOMETRY, 3600.0)
        assert self.writer.adopted
        self.live = [False, False]


def check(model: Model, fold: Fold) -> None:
    """What the fold shows is what the window was at that very record."""
    for index, symbol in enumerate(("A/B", "C/D")):
        at = fold._window(symbol).ring_seq
        if fold.state(symbol) is State.LIVE:
            bids, asks = fold.book(symbol)
            assert (list(map(tuple, bids.tolist())), list(map(tuple, asks.tolist()))) == model.history[
                index, at
            ]


def compare(feed: shm.Feed, fold: Fold) -> None:
    """All is drained and committed: the fold is the cell."""
    for symbol in ("A/B", "C/D"):
        cell = feed.book(symbol, allow_stale=True)
        assert (fold.state(symbol) is State.LIVE) == (cell.state is State.LIVE)
        if cell.state is State.LIVE:
            assert fold._window(symbol).ring_seq == cell.ring_seq
            assert fold.update_id(symbol) == cell.update_id
            for side, exact in zip(fold.book(symbol), cell.exact, strict=True):
                assert side.tolist() == exact.tolist()


def play(seed: int, kind: type[Fold] = Fold, steps: int = 120) -> int:
    """A random day; returns how often the fold started again."""
    dice = random.Random(seed)
    model = Model(mine("fold"), dice)
    try:
        feed = shm.attach("feed", model.name)
        folds = [kind(feed)]
        for _ in range(steps):
            what = dice.random()
            index = dice.randrange(2)
            if what < 0.5:
                model.update(index)
                if dice.random() < 0.7:
                    model.writer.commit()
                model.writer.commit() if model.writer.next_sequence - model.writer.head > 8 else None
            elif what < 0.53:
                model.gap(index)
            elif what < 0.57:
                model.update(index, dies_after=dice.randint(0, 7))
                model.writer.commit()
            elif what < 0.60:
                for _ in range(40):  # laps whoever does not poll
                    model.update(index)
                    model.writer.commit()
            elif what < 0.65:
                folds = [*folds[-2:], kind(feed)]  # joins late, perhaps between cells and head
            elif what < 0.95:
                for fold in folds:
                    fold.poll(dice.randint(1, 20))
                    check(model, fold)
            else:
                model.writer.commit()
                for fold in folds:
                    while fold.cursor.position <= model.writer.head:
                        fold.poll()
                    fold.poll()
                    compare(feed, fold)
        return sum(fold.resyncs for fold in folds)
    finally:
        model.writer.close()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_fold_gives_the_next_cell(seed: int) -> None:
    play(seed)


def test_the_days_have_laps_in_them() -> None:
    assert sum(play(seed) for seed in range(10)) > 5


# -- mutants: each takes one rule away --
class IgnoresRingSeq(Fold):
    """Without rule 2: a record that the cell has already is applied once more."""

    @staticmethod
    def _take(window: _Window, book: shm.Book | None) -> None:
        Fold._take(window, book)
        window.ring_seq = 0


class IgnoresLoss(Fold):
    """Without rule 6."""

    def poll(self, limit: int = 4096) -> set[str]:
        start, self._start = self._start, lambda: None  # type: ignore[method-assign]
        try:
            return super().poll(limit)
        finally:
            self._start = start  # type: ignore[method-assign]


class ShowsHalfUpdates(Fold):
    """Without rule 4: each record is applied as it comes."""

    def _level(self, window: _Window, seq: int, kind: int, flags: int, words: list[int]) -> bool:
        return super()._level(window, seq, kind, flags | Flag.FIRST | Flag.LAST, words)


class ClearIsNothing(Fold):
    """CLEAR opens an update and empties nothing."""

    def _level(self, window: _Window, seq: int, kind: int, flags: int, words: list[int]) -> bool:
        window.known = True
        return super()._level(window, seq, Kind.LEVEL, flags, words)


@pytest.mark.parametrize("mutant", [IgnoresRingSeq, IgnoresLoss, ShowsHalfUpdates, ClearIsNothing])
def test_mutant_is_noticed(mutant: type[Fold]) -> None:
    def days() -> None:
        for seed in range(40):
            play(seed, mutant)

    with pytest.raises((AssertionError, KeyError)):
        days()


# -- the rules one by one --
FIRST, LAST = Flag.FIRST, Flag.LAST


def bids(fold: Fold) -> list[list[int]]:
    rows: list[list[int]] = fold.book("BTC/USDT")[0].tolist()
    return rows


@pytest.fixture
def fold(instance: str, writer: Writer) -> Fold:
    """A fold over a book whose best bid is 100 x 5."""
    writer.book_cell(0, [(100, 5)], [], update_id=1)
    writer.commit()
    return shm.attach("feed", instance).fold()


def status(writer: Writer) -> None:
    writer.status(0, Scope.BOOK, State.STALE, Reason.SILENT)


def new_epoch(writer: Writer) -> None:
    writer.take_over()
    writer.set_state(State.RESYNC, Reason.START)


def nothing(writer: Writer) -> None:
    """The negative control: an update that nothing interrupts is applied."""


@pytest.mark.parametrize(("between", "applied"), [(status, False), (new_epoch, False), (nothing, True)])
def test_rule_5_open_update_is_dropped(
    writer: Writer, fold: Fold, between: Callable[[Writer], None], applied: bool
) -> None:
    writer.level(0, 100, 0, 2, flags=FIRST)
    between(writer)
    writer.level(0, 90, 7, 2, flags=LAST)
    writer.commit()
    fold.poll()
    assert bids(fold) == ([[90, 7]] if applied else [[100, 5]])
    assert fold.update_id("BTC/USDT") == (2 if applied else 1)


def test_rule_5_clear_in_the_middle_drops(writer: Writer, fold: Fold) -> None:
    writer.level(0, 100, 0, 2, flags=FIRST)
    writer.clear(0, 3)
    writer.level(0, 90, 7, 3, flags=LAST)
    writer.commit()
    fold.poll()
    assert bids(fold) == [[100, 5]]


def test_rule_7_a_new_epoch_waits_for_clear(writer: Writer, fold: Fold) -> None:
    # The dead writer's last update is in the ring and not in its cell: only CLEAR makes the two one again.
    new_epoch(writer)
    assert fold.poll() == {"BTC/USDT", "ETH/USDT"}
    assert fold.state("BTC/USDT") is State.RESYNC
    writer.clear(0, 3, flags=FIRST)
    writer.level(0, 80, 1, 3, flags=LAST)
    writer.status(0, Scope.BOOK, State.LIVE, Reason.SYNCED)
    writer.commit()
    assert fold.poll() == {"BTC/USDT"}
    assert bids(fold) == [[80, 1]]
    assert fold.state("BTC/USDT") is State.LIVE


def test_rule_7_half_written_cell_is_not_an_empty_book(instance: str, writer: Writer) -> None:
    writer.book_cell(0, [(100, 5)], [], update_id=1)
    writer.commit()
    at = writer.geometry.regions()[Region.BOOKS][0]
    lock = writer.mapping.load(at)
    writer.mapping.store(at, lock + 1)  # the writer stands inside the cell
    fold = shm.attach("feed", instance).fold()
    writer.level(0, 110, 7, 2, flags=FIRST | LAST)
    writer.commit()
    fold.poll()
    assert bids(fold) == []  # unknown, not [[110, 7]]
    assert fold.state("BTC/USDT") is State.DOWN
    writer.mapping.store(at, lock)
    writer.book_cell(0, [(110, 7)], [], update_id=2)
    writer.level(0, 110, 8, 3, flags=FIRST | LAST)
    writer.commit()
    fold.poll()
    assert bids(fold) == [[110, 8]]  # the cell, read as soon as it could be, and what came after it
    assert fold.state("BTC/USDT") is State.LIVE


def test_down_of_the_feed_is_down_of_all_and_ends(writer: Writer, fold: Fold) -> None:
    assert fold.state("BTC/USDT") is State.LIVE
    writer.set_state(State.DOWN, Reason.DISCONNECTED)
    fold.poll()
    assert fold.state("BTC/USDT") is State.DOWN
    writer.set_state(State.LIVE, Reason.SYNCED)
    fold.poll()
    assert fold.state("BTC/USDT") is State.LIVE  # as the cell: its writer and its state are the same


def test_tops_do_not_touch_books(writer: Writer, fold: Fold) -> None:
    writer.top(0, 1, 1, 2, 1)
    writer.top_state(0, State.STALE, Reason.SILENT)
    writer.commit()
    assert fold.poll() == set()
    assert fold.state("BTC/USDT") is State.LIVE


def test_instrument_that_comes_later(
    writer: Writer, fold: Fold, instrument: Callable[..., Instrument]
) -> None:
    index = writer.add_instrument(instrument("NEW/USDT"))
    writer.clear(index, 1, flags=FIRST)
    writer.level(index, 7, 7, 1, flags=LAST)
    writer.commit()
    assert fold.poll() == {"NEW/USDT"}
    assert fold.book("NEW/USDT")[0].tolist() == [[7, 7]]
    with pytest.raises(shm.Stale):  # the feed is starting: its slot may still come
        fold.book("NONE/USDT")
    writer.set_state(State.LIVE, Reason.SYNCED)
    with pytest.raises(shm.UnknownSymbol):
        fold.book("NONE/USDT")
    assert "3 books" in repr(fold)


def test_new_generation_starts_again(
    instance: str,
    writer: Writer,
    fold: Fold,
    make: Callable[..., Writer],
    instrument: Callable[..., Instrument],
) -> None:
    assert writer._lock is not None
    writer._lock.release()
    writer._lock = writer._names = None
    heir = make(geometry=GEOMETRY)
    # Slot 0 is another instrument now.
    heir.add_instrument(instrument("ETH/USDT"))
    heir.book_cell(0, [(55, 5)], [], update_id=9)
    heir.commit()
    fold.feed._looked = 0  # it may look for a successor again
    while fold.cursor.position <= heir.head:
        fold.poll()
    assert fold.feed.symbols == ["ETH/USDT"]
    assert fold.book("ETH/USDT")[0].tolist() == [[55, 5]]
    assert fold.resyncs == 1
