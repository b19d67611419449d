"""Has anything grown? Pure: samples in, findings out.

What a process needs of tasks, descriptors, sockets and threads goes up and down; what it leaks raises the
floor. So the smallest count of the last third of a run is compared with that of the first third. Memory is
judged by its slope (Theil-Sen: the median of the slopes of all pairs, which a single jump or spike does not
move) over what is left of the run after the warm-up.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

COUNTS = ("tasks", "fds", "sockets", "threads")
SLACK = {"tasks": 0, "fds": 1, "sockets": 1, "threads": 0}
"""A floor may differ by so much: an idle HTTP connection may be there or not."""
PAIRS = 400
"""Samples of memory beyond which they are thinned out before slopes are taken of all pairs."""
NOISE = 1 << 20
"""Bytes: an allocator's step. Growth below it is none, whatever its share of a small process."""


class Finding(NamedTuple):
    """One quantity: its level at the beginning and at the end, and whether that is growth."""

    name: str
    first: float
    last: float
    grown: bool
    words: str


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Theil-Sen slope of (x, y), 0 for fewer than two."""
    step = max(1, len(points) // PAIRS)
    thin = points[::step]
    slopes = [(y2 - y1) / (x2 - x1) for i, (x1, y1) in enumerate(thin) for x2, y2 in thin[i + 1 :] if x2 > x1]
    return statistics.median(slopes) if slopes else 0.0


def counts(name: str, values: Sequence[float]) -> Finding:
    """Of one of `COUNTS`, in the order of time, from the first fault on."""
    third = max(1, len(values) // 3)
    first, last = min(values[:third]), min(values[-third:])
    words = f"floor {first:g} -> {last:g}, max {max(values):g}"
    return Finding(name, first, last, last - first > SLACK[name], words)


def memory(samples: Sequence[tuple[float, float]], share: float = 0.01, warm_up: float = 0.2) -> Finding:
    """(seconds, bytes) over the whole run; growth beyond `share` of the level after the warm-up is a leak."""
    begin = samples[0][0] + warm_up * (samples[-1][0] - samples[0][0])
    rest = [point for point in samples if point[0] >= begin]
    rate = slope(rest)
    level = statistics.median(value for _, value in rest[: max(1, len(rest) // 5)])
    grown = rate * (rest[-1][0] - rest[0][0])
    part = grown / level
    words = f"{level / 1e6:.1f} MB, {grown / 1e6:+.2f} MB ({part:+.2%}) in {rest[-1][0] - rest[0][0]:.0f} s"
    return Finding("memory", level, level + grown, grown > max(share * level, NOISE), words)
