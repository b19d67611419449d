"""The native book against its plain-Python twin, and what the comparison is able to notice."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from workers.books.book import Book

Op = tuple[bool, int, int]  # ask, price, size


class Twin:
    """The same book as plainly as it can be written: a dict a side, sorted when asked."""

    def __init__(self) -> None:
        self.sides: tuple[dict[int, int], dict[int, int]] = ({}, {})

    def set(self, ask: bool, price: int, size: int) -> None:
        if size:
            self.sides[ask][price] = size
        else:
            self.sides[ask].pop(price, None)

    def window(self, ask: bool, depth: int) -> list[tuple[int, int]]:
        return sorted(self.sides[ask].items(), reverse=not ask)[:depth]

    def crossed(self) -> bool:
        return bool(self.sides[0] and self.sides[1]) and max(self.sides[0]) >= min(self.sides[1])


def assert_equal(book: Any, twin: Twin) -> None:
    for ask in (False, True):
        everything = twin.window(ask, 1_000_000)
        assert book.window(ask, 1_000_000) == everything
        assert book.window(ask, 20) == everything[:20]
        assert book.levels(ask) == len(everything)
        assert book.best(ask) == (everything[0] if everything else None)
    assert book.crossed() == twin.crossed()
    book.check()


def compare(make: Callable[[], Any], ops: Iterable[Op], every: int = 1) -> None:
    book, twin = make(), Twin()
    for n, op in enumerate(ops):
        book.set(*op)
        twin.set(*op)
        if n % every == 0:
            assert_equal(book, twin)
    assert_equal(book, twin)


def busy_day(seed: int, n: int) -> list[Op]:
    """Thousands of levels, mostly near a wandering middle, removals as often as in real traffic."""
    rng = random.Random(seed)
    middle, ops = 100_000, []
    for _ in range(n):
        middle += rng.randint(-3, 3)
        ask = rng.random() < 0.5
        away = int(rng.paretovariate(0.7))
        price = middle + away if ask else middle - away
        ops.append((ask, min(max(price, 1), 10**15), 0 if rng.random() < 0.45 else rng.randint(1, 10**12)))
    return ops


class BookMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.book, self.twin = Book(), Twin()

    @rule(ask=st.booleans(), price=st.integers(1, 300), size=st.integers(0, 3))
    def near(self, ask: bool, price: int, size: int) -> None:
        self.book.set(ask, price, size)
        self.twin.set(ask, price, size)

    @rule(ask=st.booleans(), price=st.integers(1, 2**62), size=st.integers(0, 2**62))
    def anywhere(self, ask: bool, price: int, size: int) -> None:
        self.book.set(ask, price, size)
        self.twin.set(ask, price, size)

    @rule(
        ask=st.booleans(),
        first=st.integers(1, 10**6),
        n=st.integers(1, 400),
        step=st.sampled_from([-7, 1, 3]),
    )
    def run(self, ask: bool, first: int, n: int, step: int) -> None:
        for price in range(first + 10**5, first + 10**5 + n * step, step):
            self.book.set(ask, price, n)
            self.twin.set(ask, price, n)

    @rule(ask=st.booleans(), start=st.integers(0, 50), n=st.integers(1, 300))
    def take_away(self, ask: bool, start: int, n: int) -> None:
        for price, _ in self.twin.window(ask, start + n)[start:]:
            self.book.set(ask, price, 0)
            self.twin.set(ask, price, 0)

    @rule()
    def clear(self) -> None:
        self.book.clear()
        self.twin = Twin()

    @invariant()
    def equal(self) -> None:
        assert_equal(self.book, self.twin)


TestBookMachine = BookMachine.TestCase
TestBookMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@pytest.mark.parametrize("seed", range(3))
def test_a_busy_day_equals_the_twin(seed: int) -> None:
    compare(Book, busy_day(seed, 20_000), every=997)


@pytest.mark.parametrize("descending", [False, True])
def test_a_sorted_load_fills_its_blocks(descending: bool) -> None:
    book = Book()
    prices = sorted(range(1, 5001), reverse=descending)
    for price in prices:
        book.set(False, price, 1)
    book.check()
    assert book.levels(False) == 5000
    # 16 bytes a level when blocks are full; a load that left them half empty would take twice as much.
    assert book.memory < 1.4 * 16 * 5000


def test_memory_comes_back_with_the_levels() -> None:
    book = Book()
    for price in range(1, 10_001):
        book.set(True, price, 1)
    full = book.memory
    for price in range(1, 10_001):
        if price % 64:
            book.set(True, price, 0)
    book.check()
    assert book.levels(True) == 156
    assert book.memory < full / 10


def test_the_bound_refuses_new_levels_and_nothing_else() -> None:
    book = Book(max_levels=3)
    for price in (1, 2, 3):
        book.set(False, price, 5)
    with pytest.raises(OverflowError, match="3 levels a side"):
        book.set(False, 4, 5)
    book.set(False, 2, 9)  # a level that is there
    book.set(False, 7, 0)  # a removal of one that is not
    book.set(True, 4, 5)  # the other side
    book.set(False, 1, 0)
    book.set(False, 4, 5)
    assert book.window(False, 9) == [(4, 5), (3, 5), (2, 9)]


def test_max_levels_must_be_positive() -> None:
    with pytest.raises(ValueError, match="max_levels"):
        Book(max_levels=0)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 50), st.integers(0, 2)), max_size=60))
def test_crossed_is_best_bid_at_or_above_best_ask(ops: list[Op]) -> None:
    compare(Book, ops)


def test_horizon_is_a_price_of_its_side() -> None:
    book = Book()
    assert book.get_horizon(False) is None
    book.set_horizon(False, 90)
    book.set_horizon(True, 110)
    assert (book.get_horizon(False), book.get_horizon(True)) == (90, 110)
    book.clear()
    assert (book.get_horizon(False), book.get_horizon(True)) == (None, None)


def test_repr_shows_the_state() -> None:
    book = Book()
    book.last_id = 7
    book.set(False, 5, 1)
    assert repr(book) == "Book(last_id=7, bids=1, asks=0, best_bid=(5, 1), best_ask=None)"


# -- negative controls: the mutants that pass every sequence check ------------------------------------------
class _Wrapped:
    def __init__(self) -> None:
        self.book = Book()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.book, name)


class KeepsZeroes(_Wrapped):
    """Quantity 0 is not a removal."""

    def set(self, ask: bool, price: int, size: int) -> None:
        if size:
            self.book.set(ask, price, size)


class SwapsSides(_Wrapped):
    def set(self, ask: bool, price: int, size: int) -> None:
        self.book.set(not ask, price, size)


class CannotRefill(_Wrapped):
    """Keeps only the best levels: what was beyond them is missing when they go."""

    def set(self, ask: bool, price: int, size: int) -> None:
        self.book.set(ask, price, size)
        for worse, _ in self.book.window(ask, 1000)[20:]:
            self.book.set(ask, worse, 0)


class FirstOfRepeated(_Wrapped):
    """Takes a level that is there already for known."""

    def set(self, ask: bool, price: int, size: int) -> None:
        if not size or price not in dict(self.book.window(ask, 100_000)):
            self.book.set(ask, price, size)


@pytest.mark.parametrize("mutant", [KeepsZeroes, SwapsSides, CannotRefill, FirstOfRepeated])
def test_the_comparison_notices(mutant: type[_Wrapped]) -> None:
    with pytest.raises(AssertionError):
        compare(mutant, busy_day(1, 1500), every=50)
