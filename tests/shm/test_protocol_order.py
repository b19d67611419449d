"""The order of the C writer's stores, store by store, against the plain-Python twin; and the reader's answer
for any memory that a writer can leave."""

from __future__ import annotations

import ctypes

import pytest
import stress_suite as suite
from hypothesis import given, settings
from hypothesis import strategies as st
from twin import DOWN, GOT, LIVE, RESYNC, Cell, Ring, effective

from shm import layout

SLOTS = 8
WORD = st.integers(0, 2**64 - 1)
RECORD = st.lists(WORD, min_size=7, max_size=7)
CELL_WORDS = 14
Hook = ctypes.CFUNCTYPE(None, ctypes.c_char_p)


@pytest.fixture(scope="module")
def native() -> ctypes.CDLL:
    library = ctypes.CDLL(str(suite.compiled("order", flags=("-shared", "-fPIC"))))
    library.order_recover.restype = library.order_skip.restype = ctypes.c_uint64
    return library


class Recorder:
    """Runs a C writer and keeps (label, memory) after each of its stores."""

    def __init__(self, native: ctypes.CDLL, words: int) -> None:
        self.native = native
        self.memory = (ctypes.c_uint64 * words)()
        self.steps: list[tuple[str, list[int]]] = []
        self._hook = Hook(lambda label: self.steps.append((label.decode(), list(self.memory))))

    def __enter__(self) -> Recorder:
        self.native.order_trace(self._hook)
        return self

    def __exit__(self, *_: object) -> None:
        self.native.order_trace(Hook())


def words(values: list[int]) -> ctypes.Array[ctypes.c_uint64]:
    return (ctypes.c_uint64 * len(values))(*values)


def u64(value: int) -> ctypes.c_uint64:
    return ctypes.c_uint64(value)


@settings(max_examples=30, deadline=None)
@given(updates=st.lists(st.lists(RECORD, min_size=1, max_size=SLOTS // 2), max_size=8))
def test_ring_stores_in_the_twins_order(native: ctypes.CDLL, updates: list[list[list[int]]]) -> None:
    twin = Ring(SLOTS)
    expected = []
    with Recorder(native, len(twin.memory)) as recorder:
        for update in updates:
            for record in update:
                native.order_put(recorder.memory, u64(SLOTS), u64(twin.next), words(record))
                expected += [(label, list(twin.memory)) for label in twin.put(record)]
            native.order_publish(recorder.memory, u64(SLOTS), u64(twin.next))
            expected += [(label, list(twin.memory)) for label in twin.publish()]
    assert recorder.steps == expected


@settings(max_examples=30, deadline=None)
@given(
    contents=st.lists(st.lists(WORD, min_size=CELL_WORDS - 1, max_size=CELL_WORDS - 1), max_size=5),
    left=st.integers(0, 9),
)
def test_cell_stores_in_the_twins_order(native: ctypes.CDLL, contents: list[list[int]], left: int) -> None:
    """Also from a cell that a dead writer left odd: it is odd until its last store."""
    twin = Cell(CELL_WORDS)
    twin.words[0] = left
    expected = []
    with Recorder(native, CELL_WORDS) as recorder:
        recorder.memory[0] = left
        for content in contents:
            native.order_cell(recorder.memory, ctypes.c_size_t(CELL_WORDS), words(content))
            expected += [(label, list(twin.words)) for label in twin.write(content)]
    assert recorder.steps == expected
    assert all(memory[0] & 1 for label, memory in expected if label != "C4")


def test_the_recorder_notices_another_order(native: ctypes.CDLL) -> None:
    """Negative control: the writer without its pre-invalidation does not follow the twin."""
    mutant = ctypes.CDLL(str(suite.compiled("order", "NO_PRE_INVALIDATE", ("-shared", "-fPIC"))))
    twin = Ring(SLOTS)
    with Recorder(mutant, len(twin.memory)) as recorder:
        mutant.order_put(recorder.memory, u64(SLOTS), u64(1), words([1] * 7))
    assert recorder.steps != [(label, list(twin.memory)) for label in twin.put([1] * 7)]


@settings(max_examples=150, deadline=None)
@given(
    records=st.integers(0, 40),
    update=st.integers(1, SLOTS // 2),
    died_after=st.integers(0, 12),
    expected=st.integers(1, 60),
)
def test_reader_answers_as_the_twin(
    native: ctypes.CDLL, records: int, update: int, died_after: int, expected: int
) -> None:
    """For every memory that a writer leaves when it dies between two stores."""
    twin = Ring(SLOTS)
    for n in range(1, records + 1):
        list(twin.put([n] * 7))
        if n % update == 0:
            list(twin.publish())
    for step, _ in enumerate(twin.put([records + 1] * 7)):
        if step == died_after:
            break
    memory, out = words(twin.memory), (ctypes.c_uint64 * 8)()
    answer, record = twin.read(expected)
    assert native.order_read(memory, u64(SLOTS), u64(expected), out) == answer
    if answer == GOT:
        assert list(out) == record
    assert native.order_recover(memory, u64(SLOTS)) == twin.recover()
    assert native.order_skip(memory, u64(SLOTS), u64(expected)) == twin.skip(expected)


@pytest.mark.parametrize(("sequence", "readable"), [(0, True), (1, False), (2, True), (7, False)])
def test_odd_cell_is_not_read(native: ctypes.CDLL, sequence: int, readable: bool) -> None:
    cell, out = words([sequence] + [5] * 13), (ctypes.c_uint64 * CELL_WORDS)()
    assert bool(native.order_cell_read(cell, ctypes.c_size_t(CELL_WORDS), out)) is readable
    twin = Cell(CELL_WORDS)
    twin.words = list(cell)
    assert (twin.read() is not None) is readable


@settings(max_examples=150, deadline=None)
@given(
    cell_state=st.integers(0, 3),
    cell_epoch=st.integers(1, 3),
    epoch=st.integers(1, 3),
    state=st.integers(0, 3),
    age=st.integers(-5, 15),
)
def test_effective_state_is_the_twins(
    native: ctypes.CDLL, cell_state: int, cell_epoch: int, epoch: int, state: int, age: int
) -> None:
    header = ctypes.create_string_buffer(layout.PAGE)
    hot = ctypes.cast(header, ctypes.POINTER(ctypes.c_uint64))
    hot[layout.H_EPOCH // 8], hot[layout.H_STATE // 8] = epoch, state
    hot[layout.H_HEARTBEAT // 8], hot[layout.H_HEARTBEAT_LIMIT // 8] = 100, 10
    now = ctypes.c_int64(100 + age)
    expected = effective(
        cell_state, cell_epoch, state=state, epoch=epoch, heartbeat=100, limit=10, now=100 + age
    )
    assert native.order_effective(header, cell_state, u64(cell_epoch), now) == expected
    if age > 10 or state == DOWN:
        assert expected == DOWN
    elif epoch != cell_epoch:
        assert expected != LIVE


def test_take_over_stores_the_epoch_before_the_state(native: ctypes.CDLL) -> None:
    """T1 before T2: whoever sees the feed leave DOWN sees that the old cells have lapsed."""
    header = (ctypes.c_uint64 * (layout.PAGE // 8))()
    seen: list[tuple[str, int, int]] = []

    def after(label: bytes) -> None:
        seen.append((label.decode(), header[layout.H_EPOCH // 8], header[layout.H_STATE // 8]))

    hook = Hook(after)
    native.order_trace(hook)
    native.order_take_over(header, u64(7), u64(1))
    native.order_trace(Hook())
    assert seen == [("T1", 7, DOWN), ("T2", 7, RESYNC)]
