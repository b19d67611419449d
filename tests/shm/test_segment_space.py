"""A full /dev/shm is one clear error, and nothing is left behind: in a mount namespace with a small tmpfs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import shm

ROOT = Path(shm.__file__).resolve().parent.parent
TRY = """
import os, sys
from shm.errors import NoSpace
from shm.layout import Geometry
from shm.segment import open_writer, remove_stale
import shm
big, small = Geometry(), Geometry(slots=16, instruments=1, depth=1, events=8)
mode = sys.argv[1]
if mode != "empty":
    first = open_writer("full", "feed", small, 3600.0)
    feed, cursor = shm.attach("feed", "full"), None
if mode == "dead":
    first._lock.release()
try:
    open_writer("full", "other" if mode != "dead" else "feed", big, 3600.0)
except NoSpace as error:
    print(error)
if mode == "living":
    first.status(0xFFFFFFFF, 0, 1, 0); first.commit()
    print(feed.state.name)
print(sorted(os.listdir("/dev/shm")))
"""


def run(mode: str, size: str) -> list[str]:
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here")
    mount = f'mount -t tmpfs -o size={size} tmpfs /dev/shm && exec {sys.executable} -c "$CODE" {mode}'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mount],
        cwd=ROOT,
        env={"CODE": TRY, "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if "unshare failed" in done.stderr or "permission denied" in done.stderr.lower():
        pytest.skip(f"no mount namespace without privileges: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_first_segment_does_not_fit() -> None:
    error, files = run("empty", "512k")
    assert "tickring.full.other needs 4." in error
    assert "MiB free: enlarge it (docker: shm_size" in error
    assert "lower ring_slots" in error
    assert files == "[]"


def test_a_living_neighbour_is_not_harmed() -> None:
    error, state, files = run("living", "1m")
    assert "MiB free" in error
    assert state == "RESYNC"
    assert files == "['tickring.full.feed', 'tickring.full.feed.doorbell', 'tickring.full.feed.lock']"


def test_no_room_for_a_new_generation_keeps_the_old() -> None:
    error, files = run("dead", "1m")
    assert "MiB free" in error
    assert files == "['tickring.full.feed', 'tickring.full.feed.doorbell', 'tickring.full.feed.lock']"


@pytest.mark.parametrize("size", ["4k", "8k"])
def test_no_room_even_for_the_doorbell(size: str) -> None:
    *errors, files = run("empty", size)
    assert len(errors) == 1
    assert files == "[]"


def test_negative_control_there_is_room() -> None:
    (files,) = run("empty", "64m")
    assert "tickring.full.other" in files
