"""Names of segments, and the list of what is there."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from shm.errors import BadName

SHM = Path("/dev/shm")
PREFIX = "tickring"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,47}")
# Suffixes and segments of the engine's own; no feed may be called so.
RESERVED = frozenset({"control", "engine"})
_SUFFIXES = ("", "new", "lock", "doorbell")


def default_instance() -> str:
    """The instance that readers attach to: ``TICKRING_INSTANCE`` or ``default``."""
    return os.environ.get("TICKRING_INSTANCE") or "default"


def check_name(name: str, what: str) -> str:
    """A feed's or an instance's name, or BadName saying what is allowed."""
    if not _NAME.fullmatch(name) or name in RESERVED:
        raise BadName(
            f"{what} {name!r} is not allowed: 1 to 48 of a-z, 0-9, _ and -, "
            f"starting with a letter or digit, and none of {', '.join(sorted(RESERVED))}"
        )
    return name


@dataclass(frozen=True)
class Names:
    """The files of one feed of one instance, all in /dev/shm."""

    instance: str
    feed: str

    def __post_init__(self) -> None:
        check_name(self.instance, "instance")
        check_name(self.feed, "feed")

    @property
    def data(self) -> Path:
        return SHM / f"{PREFIX}.{self.instance}.{self.feed}"

    @property
    def staging(self) -> Path:
        """Where a new generation is built before it is renamed over the name."""
        return SHM / f"{PREFIX}.{self.instance}.{self.feed}.new"

    @property
    def lock(self) -> Path:
        return SHM / f"{PREFIX}.{self.instance}.{self.feed}.lock"

    @property
    def doorbell(self) -> Path:
        return SHM / f"{PREFIX}.{self.instance}.{self.feed}.doorbell"


def engine_lock(instance: str) -> Path:
    """The lock that one engine an instance holds."""
    return SHM / f"{PREFIX}.{check_name(instance, 'instance')}.engine.lock"


def listed(instance: str | None = None) -> list[Names]:
    """The data segments that exist, of one instance or of all."""
    if instance is not None:
        check_name(instance, "instance")
    return [Names(*parts) for *parts, suffix in _files(instance or "*") if not suffix]


def owned(instance: str) -> list[Names]:
    """Every feed of one instance of which any file exists, with or without its data segment."""
    check_name(instance, "instance")
    return [Names(*key) for key in dict.fromkeys((a, b) for a, b, _ in _files(instance))]


def _files(instance: str) -> list[tuple[str, str, str]]:
    """(instance, feed, suffix) of what lies in /dev/shm under our prefix; suffix "" is the data segment."""
    found = []
    for path in sorted(SHM.glob(f"{PREFIX}.{instance}.*")):
        _, *parts = path.name.split(".")
        owner, feed, suffix = [*parts, ""][:3]
        if (
            len(parts) <= 3
            and not {owner, feed} & RESERVED
            and all(map(_NAME.fullmatch, (owner, feed)))
            and suffix in _SUFFIXES
        ):
            found.append((owner, feed, suffix))
    return found
