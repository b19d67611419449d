"""Which core each worker is pinned to. Pure: allowed cores and wishes in, cores and warnings out."""

from __future__ import annotations

from collections.abc import Mapping, Set
from itertools import cycle

from engine.errors import SettingsError


def assign(wishes: Mapping[str, int | str], allowed: Set[int]) -> tuple[dict[str, int | None], list[str]]:
    """Cores for workers.

    Args:
        wishes: feed -> ``"auto"``, ``"none"`` or a core number.
        allowed: the cores that this process may run on (`os.sched_getaffinity`).

    ``auto`` takes the cores in turn, first those that nobody named; the lowest core is left to all else
    (supervisor, HTTP face, interrupts) when there are others.

    Returns:
        feed -> core, or None for not pinned; and warnings, a line each.

    Raises:
        SettingsError: a named core is not one that may be used.
    """
    cores = sorted(allowed)
    problems = [
        f"venues.{feed}.cpu = {wish}: this process may run on {', '.join(map(str, cores))} only"
        for feed, wish in wishes.items()
        if isinstance(wish, int) and wish not in allowed
    ]
    if problems:
        raise SettingsError(problems)
    named = {wish for wish in wishes.values() if isinstance(wish, int)}
    spare = cores[1:] if len(cores) > 1 else cores
    turn = cycle([core for core in spare if core not in named] or spare)
    placed: dict[str, int | None] = {}
    for feed, wish in wishes.items():
        placed[feed] = wish if isinstance(wish, int) else next(turn) if wish == "auto" else None
    pinned = [core for core in placed.values() if core is not None]
    if len(pinned) <= len(set(pinned)):
        return placed, []
    used = len(set(pinned))
    return placed, [f"{len(pinned)} pinned workers on {used} cores: some share one and will be slower"]
