"""Which core each worker gets."""

from __future__ import annotations

import pytest

from engine.settings.placement import assign
from engine.settings.problems import SettingsError


@pytest.mark.parametrize(
    ("requested", "allowed", "placed"),
    [
        ({"a": "auto"}, {0, 1, 2, 3}, {"a": 1}),  # the lowest is left to all else
        ({"a": "auto", "b": "auto"}, {4, 6, 7}, {"a": 6, "b": 7}),
        ({"a": "auto"}, {3}, {"a": 3}),
        ({"a": 1, "b": "auto"}, {0, 1, 2}, {"a": 1, "b": 2}),  # a named core is not given twice
        ({"a": "none", "b": "auto"}, {0, 1}, {"a": None, "b": 1}),
        ({"a": 0}, {0, 1}, {"a": 0}),
    ],
)
def test_cores(requested: dict[str, int | str], allowed: set[int], placed: dict[str, int | None]) -> None:
    assert assign(requested, allowed) == (placed, [])


@pytest.mark.parametrize(
    ("requested", "allowed", "placed", "warning"),
    [
        ("auto auto auto auto auto", {0, 1}, [1, 0, 1, 0, 1], "5 pinned workers on 2 cores: some share one"),
        ("auto auto auto auto", {0, 1, 2}, [1, 2, 0, 1], "4 pinned workers on 3 cores: some share one"),
        ("auto auto", {5}, [5, 5], "2 pinned workers on 1 core: some share one"),
        (  # a named worker counts
            "1 auto auto", {0, 1}, [1, 0, 1], "3 pinned workers on 2 cores: some share one",
        ),
        ("0 auto auto", {0, 1}, [0, 1, 1], "3 pinned workers on 2 cores: some share one"),
        ("1 1 none", {0, 1}, [1, 1, None], "2 pinned workers on 1 core: some share one"),
        (  # one each, the lowest with all else
            "auto auto auto", {0, 1, 2}, [1, 2, 0], "3 pinned workers on 3 cores: no core is left",
        ),
        ("1 auto", {0, 1}, [1, 0], "2 pinned workers on 2 cores: no core is left"),
    ],
)  # fmt: skip
def test_more_workers_than_spare_cores(
    requested: str, allowed: set[int], placed: list[int | None], warning: str
) -> None:
    """Every core is used, the lowest last, and one warning says so."""
    asked: dict[str, int | str] = {
        f"feed{place}": int(cpu) if cpu.isdigit() else cpu for place, cpu in enumerate(requested.split())
    }
    got, warnings = assign(asked, allowed)
    assert list(got.values()) == placed
    assert len(warnings) == 1
    assert warnings[0].startswith(warning)


def test_a_core_that_may_not_be_used() -> None:
    with pytest.raises(SettingsError, match=r"venues\.a\.cpu = 9: this process may run on 0, 1 only"):
        assign({"a": 9}, {0, 1})
