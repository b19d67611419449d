"""Which core each worker is pinned to. Pure: allowed cores and wishes in, cores and warnings out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Set

from engine.settings.problems import SettingsError


def assign(wishes: Mapping[str, int | str], allowed: Set[int]) -> tuple[dict[str, int | None], list[str]]:
    """Cores for workers.

    Args:
        wishes: feed -> ``"auto"``, ``"none"`` or a core number.
        allowed: the cores that this process may run on (`os.sched_getaffinity`).

    ``auto`` takes a core that nobody named. The lowest core is left to all else (supervisor, HTTP server,
    interrupts) while there is another for each ``auto``; when there is not, every core is used, each ``auto``
    on the one with the fewest workers, the lowest last: five on two cores are 3 and 2.

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
    workers = Counter(wish for wish in wishes.values() if isinstance(wish, int))
    lowest, *others = cores
    free = [core for core in others if core not in workers]
    short = sum(wish == "auto" for wish in wishes.values()) > len(free)
    candidates = [*others, lowest] if short else free
    placed: dict[str, int | None] = {}
    for feed, wish in wishes.items():
        core = min(candidates, key=workers.__getitem__) if wish == "auto" else None
        if core is not None:
            workers[core] += 1
        placed[feed] = wish if isinstance(wish, int) else core
    pinned, used = workers.total(), len(workers)
    placement = f"{pinned} pinned workers on {used} core{'s' if used > 1 else ''}"
    if pinned > used:
        return placed, [f"{placement}: some share one and will be slower"]
    if short and others:
        return placed, [f"{placement}: no core is left to all else, which makes them slower at times"]
    return placed, []
