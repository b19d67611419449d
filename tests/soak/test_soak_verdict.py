"""What is growth and what is not: drawn, not waited for."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.soak.verdict import counts, memory, slope

FAULTS = 60


def held(leak: float, seed: int = 1) -> list[float]:
    """A process with 20 descriptors, up to three more for a while, and a leak per fault."""
    chance = random.Random(seed)
    return [20 + chance.choice([0, 0, 1, 3]) + int(leak * n) for n in range(FAULTS)]


@pytest.mark.parametrize("name", ["tasks", "fds", "sockets", "threads"])
@given(st.integers(0, 1000))
def test_what_comes_and_goes_is_no_growth_and_a_leak_per_fault_is(name: str, seed: int) -> None:
    assert not counts(name, held(0.0, seed)).grown
    assert counts(name, held(1.0, seed)).grown
    assert counts(name, held(0.2, seed)).grown  # every fifth fault


def test_a_short_run_has_few_faults_and_still_shows_a_leak() -> None:
    assert not counts("tasks", [8, 8, 9, 8, 8, 8]).grown
    assert counts("tasks", [8, 9, 10, 11, 12, 13]).grown
    assert counts("fds", [20, 21, 22, 23, 24, 25]).grown
    assert not counts("tasks", [8]).grown


def run(slope_per_second: float, warm_up: float = 0.0, noise: float = 100_000.0, seed: int = 1) -> list[Any]:
    """Ten minutes, a sample a second, 40 MB."""
    chance = random.Random(seed)
    return [
        (
            float(t),
            40e6 + slope_per_second * t + min(warm_up, warm_up * t / 90) + chance.uniform(-noise, noise),
        )
        for t in range(600)
    ]


def test_memory_is_judged_after_the_warm_up_and_by_the_run_not_by_a_spike() -> None:
    assert not memory(run(0.0)).grown
    assert not memory(run(0.0, warm_up=20e6)).grown
    spiky = [(t, y + (30e6 if t % 97 == 0 else 0)) for t, y in run(0.0)]
    assert not memory(spiky).grown
    assert memory(run(5_000.0)).grown  # 5 kB a second: 2.4 MB in eight minutes
    assert not memory(run(300.0)).grown  # 0.14 MB in eight minutes is below one percent


def test_the_slope_is_the_median_of_all_pairs() -> None:
    points = [(float(x), 3.0 * x) for x in range(20)]
    points[7] = (7.0, 1e9)
    assert slope(points) == pytest.approx(3.0)
    assert slope(points[:1]) == 0.0
