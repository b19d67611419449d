"""What a venue's snapshots cost by their depth, and which are worth asking for.

Kind: more is asked of a venue than is needed. Its members here: a book's first snapshot, its deeper ones,
proofs, audits, and `PublicExchange.order_book`, each of which asks for the cheapest that serves.
"""

from __future__ import annotations

from importlib import import_module

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.books.tiers import SnapshotTiers, Tier, with_reserve
from workers.contract.rest import Priority
from workers.contract.types import HTTPMethod
from workers.venues.venue import load

SPOT = load("binance_spot").books.snapshot_tiers
FUTURES = load("binance_futures").books.snapshot_tiers
MEXC = load("mexc_spot").books.snapshot_tiers
OKX = load("okx").books.snapshot_tiers


@pytest.mark.parametrize(
    ("tiers", "depth", "most", "expected"),
    [
        (SPOT, 20, 1000, [(100, 5), (500, 25), (1000, 50)]),
        (SPOT, 20, 5000, [(100, 5), (500, 25), (1000, 50), (5000, 250)]),
        (SPOT, 20, 100, [(100, 5)]),
        (SPOT, 20, 20, [(20, 5)]),
        (SPOT, 20, 700, [(100, 5), (500, 25), (700, 50)]),
        (SPOT, 84, 1000, [(500, 25), (1000, 50)]),  # 101 with the reserve
        (SPOT, 1000, 1000, [(1000, 50)]),
        (FUTURES, 20, 1000, [(50, 2), (100, 5), (500, 10), (1000, 20)]),
        (FUTURES, 42, 1000, [(100, 5), (500, 10), (1000, 20)]),
        (FUTURES, 20, 5000, [(50, 2), (100, 5), (500, 10), (1000, 20)]),
        (FUTURES, 20, 700, [(50, 2), (100, 5), (500, 10)]),  # it takes no 700
        (FUTURES, 30, 30, [(50, 2)]),  # nor anything from 30 to 30
        (FUTURES, 20, 5, [(5, 2)]),  # which the configuration's check refuses
        (MEXC, 20, 5000, [(5000, 1)]),
        (MEXC, 20, 1000, [(1000, 1)]),
        (OKX, 20, 400, [(400, 1)]),
    ],
)
def test_the_useful_tiers(
    tiers: SnapshotTiers, depth: int, most: int, expected: list[tuple[int, int]]
) -> None:
    assert list(tiers.between(depth, most)) == [Tier(*each) for each in expected]


@given(st.sampled_from([SPOT, FUTURES, MEXC, OKX]), st.integers(1, 5000), st.integers(1, 5000))
def test_the_requested_levels_fill_the_window_and_are_allowed(
    tiers: SnapshotTiers, depth: int, most: int
) -> None:
    depth, most = sorted((min(depth, tiers.deepest), most))
    found = tiers.between(depth, most)
    levels, weights = [tier.levels for tier in found], [tier.weight for tier in found]
    assert (levels, weights) == (sorted(set(levels)), sorted(set(weights)))
    assert levels[0] >= min(with_reserve(depth), levels[-1])
    assert levels[-1] >= depth
    for tier in found:
        assert tiers.limit(tier.levels) == tier.levels, "the venue takes this limit as it stands"
        assert tiers.weight(tier.levels) == tier.weight
        assert tier.levels <= max(most, tiers.limit(depth))


@pytest.mark.parametrize("costs", [(), ((100, 5), (100, 6)), ((100, 5), (500, 5)), ((500, 5), (100, 9))])
def test_costs_ascend(costs: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(ValueError, match="ascend"):
        SnapshotTiers(costs)


@pytest.mark.parametrize("feed", ["binance_spot", "binance_futures"])
def test_deeper_snapshots_leave_the_weight_that_gaps_need(feed: str) -> None:
    """Whatever is spent on deeper ones, forty books that have a gap get theirs at once."""
    path = {"binance_spot": "/api/v3/depth", "binance_futures": "/fapi/v1/depth"}[feed]
    limiter = import_module(f"workers.venues.{feed}.limits").limits()
    tiers = load(feed).books.snapshot_tiers
    assert tiers is not None
    first, *_, deepest = tiers.between(20, 1000)

    def granted(tier: Tier, priority: Priority) -> int:
        count = 0
        while not limiter.acquire(HTTPMethod.GET, path, {"limit": tier.levels}, 0.0, priority):
            count += 1
        return count

    assert granted(deepest, Priority.BACKGROUND) >= 20
    assert granted(first, Priority.SNAPSHOT) >= 40
