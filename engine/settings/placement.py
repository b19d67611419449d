"""Which core each worker is pinned to. Pure: allowed and requested cores in, cores and warnings out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Set

from engine.settings.problems import SettingsError


def assign(requested: Mapping[str, int | str], allowed: Set[int]) -> tuple[dict[str, int | None], list[str]]:
    """Cores for workers.

    Args:
        requested: feed -> ``"auto"``, ``"none"`` or a core number.
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
        f"venues.{feed}.cpu = {cpu}: this process may run on {', '.join(map(str, cores))} only"
        for feed, cpu in requested.items()
        if isinstance(cpu, int) and cpu not in allowed
    ]
    if problems:
        raise SettingsError(problems)
    workers = Counter(cpu for cpu in requested.values() if isinstance(cpu, int))
    lowest, *others = cores
    free = [core for core in others if core not in workers]
    short = sum(cpu == "auto" for cpu in requested.values()) > len(free)
    candidates = [*others, lowest] if short else free
    placed: dict[str, int | None] = {}
    for feed, cpu in requested.items():
        core = min(candidates, key=workers.__getitem__) if cpu == "auto" else None
        if core is not None:
            workers[core] += 1
        placed[feed] = cpu if isinstance(cpu, int) else core
    pinned, used = workers.total(), len(workers)
    placement = f"{pinned} pinned workers on {used} core{'s' if used > 1 else ''}"
    if pinned > used:
        return placed, [f"{placement}: some share one and will be slower"]
    if short and others:
        return placed, [f"{placement}: no core is left to all else, which makes them slower at times"]
    return placed, []
