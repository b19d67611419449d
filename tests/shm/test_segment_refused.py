"""What is not ours to read or to write is refused by name, on both sides."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import shm
from shm import layout
from shm.layout import Geometry, Region, State
from shm.names import Names
from shm.segment import exclusive_instance, mark_down, open_writer, remove_stale
from shm.writer import Writer

Make = Callable[..., Writer]
ROOT = Path(shm.__file__).resolve().parent.parent
FOREIGN = 12_345
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


def left(writer: Writer) -> Writer:
    """A segment as its dead writer leaves it."""
    assert writer._lock is not None
    writer._lock.release()
    writer._lock = writer._names = None
    return writer


def magic(path: Path, writer: Writer) -> None:
    writer.mapping.store(layout.H_MAGIC, 1)


def major(path: Path, writer: Writer) -> None:
    writer.mapping.store(layout.H_VERSION, layout.MAJOR + 1 << 32 | 7)


def older(path: Path, writer: Writer) -> None:
    writer.mapping.store(layout.H_VERSION, 0)


def truncated(path: Path, writer: Writer) -> None:
    os.truncate(path, 8192)


def stump(path: Path, writer: Writer) -> None:
    os.truncate(path, 100)


def empty(path: Path, writer: Writer) -> None:
    os.truncate(path, 0)


def slots(path: Path, writer: Writer) -> None:
    writer.mapping.store(layout.H_SLOTS, 100)


def huge(path: Path, writer: Writer) -> None:
    writer.mapping.store(layout.H_SLOTS, 1 << 62)


def regions(path: Path, writer: Writer) -> None:
    writer.mapping.store(layout.H_REGIONS + 32 * Region.RING, 1 << 40)


BROKEN = [
    (magic, "wrong magic"),
    (major, "has layout 2.7, this program reads 1.x"),
    (older, "has layout 0.0"),
    (truncated, "is truncated: 8192 bytes of"),
    (stump, "is truncated: 100 bytes"),
    (empty, "is truncated: 0 bytes"),
    (slots, "impossible geometry: slots"),
    (huge, "regions that its geometry does not give"),
    (regions, "regions that its geometry does not give"),
]


@pytest.mark.parametrize(("breaks", "says"), BROKEN, ids=[breaks.__name__ for breaks, _ in BROKEN])
def test_broken_segment(instance: str, make: Make, breaks: Callable[[Path, Writer], None], says: str) -> None:
    writer = left(make())
    path = Names(instance, "feed").data
    breaks(path, writer)
    # A reader: a named reason, at once even when it would wait for one that is absent.
    with pytest.raises(shm.Incompatible, match=says):
        shm.attach("feed", instance, wait=60.0)
    (found,) = shm.feeds(instance)
    assert says in str(found.problem)
    assert (found.state, found.name) == (State.DOWN, "feed")
    # The supervisor: nothing to mark. A writer: ours by name and owner, so it is replaced.
    assert mark_down(instance, "feed") is False
    heir = make()
    assert not heir.adopted
    assert shm.attach("feed", instance).state is State.RESYNC


def test_newer_major_is_replaced_without_a_word_stored(instance: str, make: Make) -> None:
    writer = left(make())
    major(Path(), writer)
    before = writer.mapping.read(0, layout.PAGE)
    make()
    assert writer.mapping.read(0, layout.PAGE) == before


def test_superseded_mark_of_our_own_layout_is_stored(instance: str, make: Make) -> None:
    writer = left(make())  # the negative control of the test above
    slots(Path(), writer)
    make()
    assert writer.mapping.load(layout.H_SUPERSEDED) == 1


def test_newer_minor_is_read(instance: str, writer: Writer) -> None:
    writer.top(0, 100, 1, 101, 1)
    writer.mapping.store(layout.H_VERSION, layout.MAJOR << 32 | layout.MINOR + 5)
    assert shm.attach("feed", instance).top("BTC/USDT").bid == 1.0


def test_segment_that_is_longer_than_its_geometry_is_read(instance: str, writer: Writer) -> None:
    # A newer minor may append a region.
    size = writer.geometry.size + layout.PAGE
    os.truncate(Names(instance, "feed").data, size)
    writer.mapping.store(layout.H_SEGMENT_SIZE, size)
    assert shm.attach("feed", instance).symbols == ["BTC/USDT", "ETH/USDT"]


def test_not_ready(instance: str, make: Make) -> None:
    writer = left(make())
    writer.mapping.store(layout.H_READY, 0)
    with pytest.raises(shm.NotFound, match="not ready"):
        shm.attach("feed", instance)
    writer.mapping.store(layout.H_MAGIC, 77)
    with pytest.raises(shm.Incompatible, match="magic"):
        shm.attach("feed", instance)
    assert not make().adopted


def test_absent(instance: str) -> None:
    with pytest.raises(shm.NotFound, match="does the engine run, with this instance and feed"):
        shm.attach("feed", instance, wait=0.02)
    assert shm.feeds(instance) == []


def test_link_is_never_followed(instance: str, make: Make, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_bytes(b"x" * 10_000)
    data = Names(instance, "feed").data
    data.symlink_to(target)
    with pytest.raises(shm.Incompatible, match="not a regular file"):
        shm.attach("feed", instance)
    make()  # replaces the link, not what it points at
    assert not data.is_symlink()
    assert target.read_bytes() == b"x" * 10_000


def test_lock_that_is_a_link(instance: str, tmp_path: Path) -> None:
    Names(instance, "feed").lock.symlink_to(tmp_path / "precious")
    with pytest.raises(shm.Incompatible, match="not a regular file"):
        open_writer(instance, "feed", Geometry())
    assert not (tmp_path / "precious").exists()


def test_a_directory_under_the_name(instance: str) -> None:
    path = Names(instance, "feed").data
    path.mkdir()
    try:
        with pytest.raises(shm.Incompatible, match="not a regular file; remove it"):
            open_writer(instance, "feed", Geometry())
        assert remove_stale(instance) == []
    finally:
        path.rmdir()


# -- another owner --
@needs_root
@pytest.mark.parametrize("which", ["data", "lock", "doorbell"])
def test_writer_never_touches_what_another_user_owns(instance: str, make: Make, which: str) -> None:
    writer = left(make())
    path: Path = getattr(Names(instance, "feed"), which)
    os.chown(path, FOREIGN, FOREIGN)
    before = writer.mapping.read(0, layout.PAGE)
    with pytest.raises(shm.NotOwner, match="belongs to another user; remove it or run as its owner"):
        open_writer(instance, "feed", writer.geometry)
    assert path.stat().st_uid == FOREIGN
    assert writer.mapping.read(0, layout.PAGE) == before
    if which != "doorbell":
        with pytest.raises(shm.NotOwner):
            mark_down(instance, "feed")
        assert remove_stale(instance) == [], "it is not ours to remove, and stops nothing else"
        assert path.exists()


@needs_root
@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("open_writer({instance!r}, 'feed', Geometry())", "NotOwner"),
        ("mark_down({instance!r}, 'feed')", "NotOwner"),
        ("print(remove_stale({instance!r}))", r"\[\]"),
        ("exclusive_instance({instance!r})", "NotOwner"),
        ("shm.attach('feed', {instance!r})", "NotFound: .*join its group"),
    ],
)
def test_unprivileged_user_gets_a_named_refusal(instance: str, make: Make, call: str, says: str) -> None:
    # In a child, as nobody: here the kernel says EACCES before any owner can be looked at.
    left(make())
    engine = exclusive_instance(instance)
    code = (
        "import os, sys, shm, shm.reader\n"
        "from shm.layout import Geometry\n"
        "from shm.segment import exclusive_instance, mark_down, open_writer, remove_stale\n"
        f"os.setgroups([]); os.setgid({FOREIGN}); os.setuid({FOREIGN})\n"
        "try:\n"
        f"    {call.format(instance=instance)}\n"
        "except shm.ShmError as error:\n"
        "    print(type(error).__name__ + ':', error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=30
    )
    engine.release(unlink=True)
    assert done.returncode == 0, done.stderr
    import re

    assert re.match(says, done.stdout), done.stdout


@needs_root
def test_foreign_leftover_of_a_builder(instance: str) -> None:
    code = (
        "import os, shm\n"
        "from shm.layout import Geometry\n"
        "from shm.segment import open_writer\n"
        f"os.setgroups([]); os.setgid({FOREIGN}); os.setuid({FOREIGN})\n"
        "try:\n"
        f"    open_writer({instance!r}, 'feed', Geometry())\n"
        "except shm.NotOwner as error:\n"
        "    print(error)\n"
    )
    staging = Names(instance, "feed").staging
    staging.touch()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "belongs to another user" in done.stdout, done.stderr
    assert staging.exists()
    assert not Names(instance, "feed").lock.exists()
