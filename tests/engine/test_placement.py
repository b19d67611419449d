"""Which core each worker gets."""

from __future__ import annotations

import pytest

from engine.errors import SettingsError
from engine.placement import assign


@pytest.mark.parametrize(
    ("wishes", "allowed", "placed"),
    [
        ({"a": "auto"}, {0, 1, 2, 3}, {"a": 1}),  # the lowest is left to all else
        ({"a": "auto", "b": "auto"}, {4, 6, 7}, {"a": 6, "b": 7}),
        ({"a": "auto"}, {3}, {"a": 3}),
        ({"a": 1, "b": "auto"}, {0, 1, 2}, {"a": 1, "b": 2}),  # a named core is not given twice
        ({"a": "none", "b": "auto"}, {0, 1}, {"a": None, "b": 1}),
        ({"a": 0}, {0, 1}, {"a": 0}),
    ],
)
def test_cores(wishes: dict[str, int | str], allowed: set[int], placed: dict[str, int | None]) -> None:
    assert assign(wishes, allowed) == (placed, [])


def test_more_workers_than_cores_is_one_warning() -> None:
    placed, warnings = assign({"a": "auto", "b": "auto", "c": "auto"}, {0, 1, 2})
    assert placed == {"a": 1, "b": 2, "c": 1}
    assert warnings == ["3 pinned workers on 2 cores: some share one and will be slower"]


def test_a_core_that_may_not_be_used() -> None:
    with pytest.raises(SettingsError, match=r"venues\.a\.cpu = 9: this process may run on 0, 1 only"):
        assign({"a": 9}, {0, 1})
