"""How many levels a venue's depth snapshot may be requested with, and their request weight. Pure."""

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
    """The documented levels and weights of a venue's depth request.

    Attributes:
        costs: (up to so many levels a side, weight), ascending in both; the last is the most that is sent.
        limits: the only values of the parameter that the venue takes, ascending; empty: any.

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
        """The most levels a side that a snapshot can have."""
        return self.costs[-1][0]

    def limit(self, levels: int) -> int:
        """The smallest value of the parameter that brings `levels` a side."""
        levels = min(levels, self.deepest)
        return next((limit for limit in self.limits if limit >= levels), levels)

    def weight(self, levels: int) -> int:
        """The request weight of a snapshot of so many levels."""
        limit = self.limit(levels)
        return next(weight for up_to, weight in self.costs if limit <= up_to)

    def between(self, depth: int, most: int) -> tuple[Tier, ...]:
        """The tiers that are useful where `depth` levels a side are published, cheapest first: for each
        weight the deepest that is at most `most`.

        The first has `with_reserve(depth)` levels, or as many as there can be. Where the venue takes no limit
        from `depth` to `most`, it is the next one above.
        """
        deepest = max((limit for limit in self.limits if limit <= most), default=self.limit(most))
        most = self.limit(depth) if deepest < depth <= most else deepest
        needed = min(with_reserve(depth), most)
        levels = sorted({min(up_to, most) for up_to, _ in self.costs})
        return tuple(Tier(each, self.weight(each)) for each in levels if each >= needed)
