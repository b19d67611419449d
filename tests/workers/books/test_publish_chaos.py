"""A venue that misbehaves, through the publisher: whatever is LIVE is true, and the fold is every cell."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from shm import State
from workers.books.snapshot_sync import SnapshotSync
from workers.books.sync import Snapshot


class Venue:
    """One symbol's true book, all that it ever was, and the events as they should come."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.last_id = 100
        self.sides: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self.history: dict[int, tuple[dict[int, int], dict[int, int]]] = {100: ({}, {})}

    def step(self) -> tuple[int, int, list[tuple[int, int]], list[tuple[int, int]]]:
        first = self.last_id + 1
        self.last_id += self.chance.randint(1, 3)
        changes: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
        for _ in range(self.chance.randint(0, 6)):
            ask = self.chance.random() < 0.5
            price = self.chance.randint(51, 90) if ask else self.chance.randint(10, 50)
            size = self.chance.choice([0, 0, 1, 2, 300])
            changes[ask].append((price, size))
            if size:
                self.sides[ask][price] = size
            else:
                self.sides[ask].pop(price, None)
        self.history[self.last_id] = (dict(self.sides[0]), dict(self.sides[1]))
        return first, self.last_id, *changes

    def snapshot(self) -> Snapshot:
        """Now, or of an event some time ago."""
        known = sorted(self.history)
        at = known[max(0, len(known) - 1 - self.chance.choice([0, 0, 1, 2, 8]))]
        texts = [
            [(f"{price / 100:.8f}", f"{size / 100:.8f}") for price, size in side.items()]
            for side in self.history[at]
        ]
        return Snapshot(at, *texts)


def storm(lab: Any, seed: int, steps: int = 400) -> int:
    """How often the book was LIVE and compared."""
    venue = Venue(seed)
    chance = venue.chance
    index = lab.add()
    late: list[Any] = []
    live = 0
    for _ in range(steps):
        event = venue.step()
        fate = chance.random()
        if fate < 0.85:
            lab.depth(index, *event)
        elif fate < 0.90:
            lab.depth(index, *event)
            lab.depth(index, *event)
        elif fate < 0.95:
            late.append(event)
        if late and chance.random() < 0.3:
            lab.depth(index, *late.pop())
        if not lab.publisher.synced(index) and chance.random() < 0.4:
            lab.publisher.apply_snapshot(index, venue.snapshot(), recv_ns=lab.now)
        lab.check(index)
        if lab.state(index) is State.LIVE:
            live += 1
            cell = lab.feed.book("AAA/BBB")
            bids, asks = venue.history[cell.update_id]
            assert [tuple(level) for level in cell.exact[0].tolist()] == sorted(bids.items(), reverse=True)[
                :5
            ]
            assert [tuple(level) for level in cell.exact[1].tolist()] == sorted(asks.items())[:5]
            lab.publisher.book(index).check()
    assert lab.publisher.errors == 0
    return live


@pytest.mark.parametrize("seed", range(6))
def test_whatever_is_live_is_true(make_lab: Callable[..., Any], seed: int) -> None:
    assert storm(make_lab(depth=5), seed) > 50


class NoChain(SnapshotSync):
    """Takes every event for the next one."""

    def _follows(self, diff: Any) -> bool:
        return True


def test_the_storm_notices_a_missing_rule(make_lab: Callable[..., Any], monkeypatch: Any) -> None:
    monkeypatch.setattr(SnapshotSync, "_follows", NoChain._follows)
    with pytest.raises(AssertionError):
        storm(make_lab(depth=5), 1)
