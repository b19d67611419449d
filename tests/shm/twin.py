"""The protocol of `shm/atomics.h` in plain Python: the order of the writer's stores as a list of steps, and
what a reader must answer for any state of the memory. The oracle of `test_protocol_order.py`.

Ring memory is a list of words: word 0 is the head, slot s begins at 8 + 8 * s with its sequence. A cell is a
list of words whose first is its sequence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

EMPTY, GOT, LAPPED = 0, 1, 2
DOWN, RESYNC, STALE, LIVE = 0, 1, 2, 3
TRIES = 64


class Ring:
    """Head and slots. Each store is one step: a writer's generator yields its label after it."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.memory = [0] * (8 + 8 * slots)
        self.next = 1

    def at(self, sequence: int) -> int:
        """Index of the slot that carries `sequence`."""
        return 8 + 8 * (sequence % self.slots)

    def put(self, words: Sequence[int]) -> Iterator[str]:
        """W1 the old sequence goes, W3 seven words, W4 the new sequence comes."""
        slot = self.at(self.next)
        self.memory[slot] = 0
        yield "W1"
        for index, word in enumerate(words):
            self.memory[slot + 1 + index] = word
            yield "W3"
        self.memory[slot] = self.next
        yield "W4"
        self.next += 1

    def publish(self) -> Iterator[str]:
        """W5: the head, after the slots and the cells."""
        self.memory[0] = self.next - 1
        yield "W5"

    def recover(self) -> int:
        """The last whole record, head or no head (T3)."""
        last = self.memory[0]
        while self.memory[self.at(last + 1)] == last + 1:
            last += 1
        return last

    def read(self, expected: int) -> tuple[int, list[int]]:
        """What a reader that expects `expected` finds: the answer, and the words if it got the record."""
        slot = self.at(expected)
        sequence = self.memory[slot]
        if sequence == expected:
            return GOT, self.memory[slot : slot + 8]
        if sequence == 0:
            return (LAPPED if self.memory[0] >= expected else EMPTY), []
        return (LAPPED if sequence > expected else EMPTY), []

    def skip(self, expected: int) -> int:
        """Where a lapped cursor goes on: half a ring behind the head, always forward."""
        return max(self.memory[0] - self.slots // 2, expected + 1)


class Cell:
    """A seqlock: odd while being written; left odd by a writer that died, until it is written whole."""

    def __init__(self, count: int) -> None:
        self.words = [0] * count

    def write(self, values: Sequence[int]) -> Iterator[str]:
        """C1 odd, C3 the content, C4 even."""
        begin = (self.words[0] + 1) | 1
        self.words[0] = begin
        yield "C1"
        for index, value in enumerate(values):
            self.words[1 + index] = value
            yield "C3"
        self.words[0] = begin + 1
        yield "C4"

    def read(self) -> list[int] | None:
        """The words, or None when it is being written."""
        return None if self.words[0] & 1 else list(self.words)


def effective(
    cell_state: int, cell_epoch: int, *, state: int, epoch: int, heartbeat: int, limit: int, now: int
) -> int:
    """The state that a reader reports for a cell."""
    if now - heartbeat > limit or state == DOWN:
        return DOWN
    return min(cell_state, RESYNC) if epoch != cell_epoch else cell_state
