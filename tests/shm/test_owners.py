"""Whose file is it? With real users: this test's own (root), `nobody`, and one for the engine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import shm
from shm import BadName, NotFound, NotOwner, State
from shm.files import trusted
from shm.names import SHM, Names

NOBODY, ENGINE = 65534, 2  # uids; none of them need have a name
ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as other users")

MAKE = """
import sys, time
from shm.instruments import Instrument
from shm.layout import Geometry, Reason, State
from shm.segment import open_writer
geometry = Geometry(slots=1024, instruments=4, depth=5)
writer = open_writer(sys.argv[1], "feed", geometry, heartbeat_limit=3600.0)
writer.add_instrument(Instrument(symbol="BTC/USDT", venue_symbol="BTCUSDT", price_exp=2, size_exp=3))
writer.set_state(State.LIVE, Reason.SYNCED)
writer.top(0, 100, 1, 102, 1, update_id=1)
writer.top_state(0, State.LIVE, Reason.SYNCED)
writer.commit()
writer.beat(time.monotonic_ns(), 0)
print("made", flush=True)
if len(sys.argv) > 2:
    sys.stdin.read()
"""
CLAIM = """
import sys
from engine.errors import EngineError
from engine.supervision.memory import SharedMemory
memory = SharedMemory(sys.argv[1])
try:
    print(memory.claim(["feed"]))
    memory.release(remove=True)
except EngineError as error:
    print(error)
"""


# Everything is imported before the user changes: the interpreter itself may lie where only root can read.
BECOME = """
import os, sys
import shm.fold, shm.reader, shm.segment, engine.errors, engine.supervision.memory
os.setgroups([])
os.setgid({uid})
os.setuid({uid})
"""


def act(uid: int, code: str, *arguments: str) -> str:
    """A program run as another user; what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", BECOME.format(uid=uid) + code, *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(autouse=True)
def tidy(instance: str) -> Iterator[None]:
    """The others' files; and nothing of an earlier run that would hide what is tried."""
    yield
    for path in SHM.glob(f"tickring.{instance}.*"):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


def test_others_segments_are_refused_by_name(instance: str) -> None:
    act(NOBODY, MAKE, instance)
    with pytest.raises(NotOwner, match=r"belongs to .*uid 65534.*TICKRING_OWNER=65534"):
        shm.attach("feed", instance)
    [info] = shm.feeds(instance)
    assert info.state is State.DOWN
    assert info.problem is not None
    assert "belongs to" in info.problem


def test_a_named_owner_is_trusted(instance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    act(NOBODY, MAKE, instance)
    for owner in (NOBODY, str(NOBODY), "nobody"):
        with shm.attach("feed", instance, owner=owner) as feed:
            assert feed.top("BTC/USDT").exact == (100, 1, 102, 1)
    monkeypatch.setenv("TICKRING_OWNER", str(NOBODY))
    with shm.attach("feed", instance) as feed:
        assert feed.state is State.LIVE
    assert [info.problem for info in shm.feeds(instance)] == [None]


def test_an_owner_that_does_not_exist_is_one_line(instance: str) -> None:
    with pytest.raises(BadName, match="owner 'no such' is no user of this system"):
        shm.attach("feed", instance, owner="no such")


def test_root_and_oneself_are_trusted() -> None:
    assert trusted() == {0}
    assert trusted(7) == {0, 7}
    assert act(NOBODY, "from shm.files import trusted; print(sorted(trusted()))") == f"[0, {NOBODY}]"


def test_without_the_group_there_is_nothing_to_read(instance: str) -> None:
    act(ENGINE, MAKE, instance)
    read = "import sys, shm\ntry: shm.attach('feed', sys.argv[1])\nexcept shm.ShmError as e: print(repr(e))"
    assert "may not be read by this user" in act(NOBODY, read, instance)


def squat(instance: str, what: str) -> None:
    """Names of feed `zz` and of the engine, in another's hands."""
    base = f"{SHM}/tickring.{instance}"
    act(NOBODY, f"import os\nbase = {base!r}\n{what}")


SQUATS = {
    "a file": "open(base + '.zz', 'w').write('x')",
    "a FIFO": "os.mkfifo(base + '.zz')",
    "a directory": "os.mkdir(base + '.zz')",
    "a link": "os.symlink('/etc/hostname', base + '.zz')",
    "a lock": "os.close(os.open(base + '.zz.lock', os.O_CREAT | os.O_RDWR, 0o666))",
    "a doorbell": "os.close(os.open(base + '.zz.doorbell', os.O_CREAT | os.O_RDWR, 0o666))",
    "a staging file": "os.close(os.open(base + '.zz.new', os.O_CREAT | os.O_RDWR, 0o600))",
}


@pytest.mark.parametrize("kind", SQUATS)
def test_a_squatted_name_stops_no_engine(instance: str, kind: str) -> None:
    """`up` failed for as long as another user's file lay under any name of the instance."""
    squat(instance, SQUATS[kind])
    assert act(ENGINE, CLAIM, instance) == "[]"
    act(ENGINE, MAKE, instance)
    seen = {info.name: info for info in shm.feeds(instance, owner=ENGINE)}
    assert seen["feed"].state is State.LIVE
    assert all(info.problem for name, info in seen.items() if name == "zz")
    assert list(SHM.glob(f"tickring.{instance}.zz*")), "it is not ours to remove"


@pytest.mark.parametrize("what", ["os.mkfifo(base + '.engine.lock')", "os.mkdir(base + '.engine.lock')"])
def test_a_squatted_engine_lock_is_one_clear_line(instance: str, what: str) -> None:
    squat(instance, what)
    line = act(ENGINE, CLAIM, instance)
    assert len(line.splitlines()) == 1
    assert f"tickring.{instance}.engine.lock" in line
    assert "remove it" in line


@pytest.mark.parametrize("suffix", ["", ".lock", ".doorbell", ".new"])
@pytest.mark.parametrize("make", ["open({}, 'w').write('x')", "os.mkfifo({})", "os.mkdir({})"])
def test_a_squatted_name_of_our_own_feed_is_one_clear_line(instance: str, suffix: str, make: str) -> None:
    squat(instance, make.format(f"base + '.feed{suffix}'"))
    code = MAKE.replace("print(", "(lambda *a, **k: None)(")
    line = act(
        ENGINE, f"from shm import ShmError\ntry:\n exec({code!r})\nexcept ShmError as e: print(e)", instance
    )
    assert len(line.splitlines()) == 1
    assert f"{Names(instance, 'feed').data}{suffix}" in line
    assert "belongs to another user" in line or "not a regular file" in line
    assert "remove it" in line
    act(
        ENGINE, CLAIM, instance
    )  # and the engine, which serves other feeds too, starts and stops all the same


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_modes_hold_under_every_umask(instance: str, umask: int) -> None:
    before = os.umask(umask)
    try:
        from shm.layout import Geometry
        from shm.segment import open_writer

        writer = open_writer(instance, "feed", Geometry(slots=1024, instruments=4, depth=5))
    finally:
        os.umask(before)
    names = Names(instance, "feed")
    modes = {path: path.stat().st_mode & 0o777 for path in (names.data, names.doorbell, names.lock)}
    writer.close()
    assert modes[names.data] == 0o640
    assert modes[names.doorbell] == 0o660
    assert modes[names.lock] & 0o077 == 0


def test_nothing_is_there_for_a_stranger(instance: str) -> None:
    with pytest.raises(NotFound):
        shm.attach("feed", instance, owner=NOBODY)


def test_the_doctor_lists_what_is_squatted(instance: str, capsys: pytest.CaptureFixture[str]) -> None:
    from engine import cli

    for what in SQUATS.values():
        squat(instance, what.replace(".zz", f".z{len(list(SHM.glob(f'tickring.{instance}.*')))}"))
    cli.run(["doctor"])
    printed = capsys.readouterr().out
    paths = sorted(SHM.glob(f"tickring.{instance}.*"))
    assert len(paths) == len(SQUATS)
    for path in paths:
        [line] = [line for line in printed.splitlines() if f"{path} " in line]
        assert "uid 65534" in line


@pytest.mark.parametrize("make", ["open({}, 'w').write('x' * 4096)", "os.mkfifo({}, 0o666)", "os.mkdir({})"])
def test_a_squatted_doorbell_is_not_rung(instance: str, make: str) -> None:
    """Whoever owns it could cut it short, and end every reader that sleeps on it: a reader naps instead."""
    act(ENGINE, MAKE, instance)
    names = Names(instance, "feed")
    names.doorbell.unlink()
    squat(instance, make.format("base + '.feed.doorbell'") + "\nos.chmod(base + '.feed.doorbell', 0o777)")
    with shm.attach("feed", instance, owner=ENGINE) as feed:
        cursor = feed.cursor()
        assert cursor.doorbell is None
        assert cursor.wait(0.01) is False


def test_the_engine_survives_another_s_file_under_its_feed(instance: str) -> None:
    """Its look at heartbeats and its DOWN for the dead meet that file; neither may end the engine."""
    act(NOBODY, MAKE, instance)
    code = """
from engine.supervision.memory import SharedMemory
memory = SharedMemory(sys.argv[1])
print(memory.heartbeat_age("feed", 1), memory.mark_down("feed"))
"""
    assert act(ENGINE, code, instance) == "None False"


def test_a_wrong_owner_in_the_environment_does_not_end_the_engine(instance: str) -> None:
    code = """
os.environ["TICKRING_OWNER"] = "no such"
from engine.supervision.memory import SharedMemory
print(SharedMemory(sys.argv[1]).heartbeat_age("feed", 1))
"""
    act(ENGINE, MAKE, instance)
    assert act(ENGINE, code, instance) == "None"


def test_a_command_says_whose_it_is_in_one_line(instance: str, capsys: pytest.CaptureFixture[str]) -> None:
    from engine import cli

    act(NOBODY, MAKE, instance)
    assert cli.run(["book", "feed", "BTC/USDT", "--instance", instance]) != 0
    [line] = capsys.readouterr().err.splitlines()
    assert "TICKRING_OWNER=65534" in line
    assert cli.run(["status", "--instance", instance]) in (0, 1, 4)
    assert "belongs to" in capsys.readouterr().out
