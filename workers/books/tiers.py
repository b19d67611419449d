"""How many levels a venue's depth snapshot may be asked for, and what that costs. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


def with_reserve(depth: int) -> int:
    """Levels a side that have to be known for a window of `depth`: 20 % more, so that it may move."""
    return depth + -(-depth // 5)


class Tier(NamedTuple):
    """A snapshot of `levels` a side costs `weight` of the venue's request weight."""

    levels: int
    weight: int


@dataclass(frozen=True)
class SnapshotTiers:
    """What a venue documents of its depth request.

    Attributes:
        costs: (up to so many levels a side, weight), ascending in both; the last is the most that is sent.
        limits: the only limits that the venue takes, ascending; empty: any.

    Raises:
        ValueError: no costs, or costs that do not ascend.
    """

    costs: Sequence[tuple[int, int]]
    limits: Sequence[int] = ()

    def __post_init__(self) -> None:
        levels, weights = [cost[0] for cost in self.costs], [cost[1] for cost in self.costs]
        if not levels or levels != sorted(set(levels)) or weights != sorted(set(weights)):
            raise ValueError(f"tiers need levels and weights that ascend, not {self.costs!r}")

    @property
    def deepest(self) -> int:
        """The most levels a side of a snapshot, however many are asked for."""
        return self.costs[-1][0]

    def limit(self, levels: int) -> int:
        """What to ask for so that `levels` a side come: the next limit that the venue takes."""
        levels = min(levels, self.deepest)
        return next((limit for limit in self.limits if limit >= levels), levels)

    def weight(self, levels: int) -> int:
        """What a snapshot of so many levels costs."""
        limit = self.limit(levels)
        return next(weight for up_to, weight in self.costs if limit <= up_to)

    def between(self, depth: int, most: int) -> tuple[Tier, ...]:
        """The tiers worth asking for where `depth` levels a side are published, cheapest first: of each price
        the deepest that is at most `most`.

        The first has `with_reserve(depth)` levels, or as many as there can be. Where the venue takes no limit
        from `depth` to `most`, it is the next one above.
        """
        deepest = max((limit for limit in self.limits if limit <= most), default=self.limit(most))
        most = self.limit(depth) if deepest < depth <= most else deepest
        needed = min(with_reserve(depth), most)
        levels = sorted({min(up_to, most) for up_to, _ in self.costs})
        return tuple(Tier(each, self.weight(each)) for each in levels if each >= needed)
