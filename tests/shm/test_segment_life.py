"""The life of a segment: create, lock, adopt, replace, mark down, remove."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import shm
from shm import Locked, layout
from shm.layout import Geometry, Reason, Region, State
from shm.names import Names
from shm.segment import exclusive_instance, mark_down, open_mapping, open_writer, remove_stale
from shm.writer import Writer

Make = Callable[..., Writer]
WIDER = Geometry(slots=32, instruments=4, depth=2, events=8)


def files(instance: str) -> set[str]:
    return {path.name.split(".", 2)[2] for path in Path("/dev/shm").glob(f"tickring.{instance}.*")}


def die(writer: Writer) -> None:
    """Lets go of the lock as the kernel does when a writer is killed; the memory stays as it was."""
    assert writer._lock is not None
    writer._lock.release()
    writer._lock = writer._names = None


# -- create --
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_modes_under_any_umask(instance: str, make: Make, umask: int) -> None:
    before = os.umask(umask)
    try:
        make()
    finally:
        os.umask(before)
    names = Names(instance, "feed")
    assert stat.S_IMODE(names.data.stat().st_mode) == 0o640
    assert stat.S_IMODE(names.doorbell.stat().st_mode) == 0o660
    assert stat.S_IMODE(names.lock.stat().st_mode) & ~0o600 == 0


def test_space_is_reserved(instance: str, make: Make) -> None:
    writer = make(geometry=Geometry(slots=1024, depth=20))
    found = Names(instance, "feed").data.stat()
    assert found.st_size == writer.geometry.size
    assert found.st_blocks * 512 >= found.st_size  # no hole: never SIGBUS


def test_clean_close_leaves_nothing(instance: str, make: Make) -> None:
    writer = make()
    assert files(instance) == {"feed", "feed.lock", "feed.doorbell"}
    writer.close()
    assert files(instance) == set()
    writer.close()  # twice is once


def test_clean_close_tells_readers(instance: str, writer: Writer) -> None:
    feed = shm.attach("feed", instance)
    cursor = feed.cursor()
    writer.top(0, 1, 1, 2, 1)
    writer.commit()
    writer.close()
    assert feed.state is State.DOWN
    with pytest.raises(shm.Stale) as caught:
        feed.top("BTC/USDT")
    assert caught.value.state is State.DOWN
    records = cursor.poll()
    assert [int(kind) for kind in records["kind"]] == [layout.Kind.TOP, layout.Kind.STATUS]
    assert records["words"][-1, :2].tolist() == [State.DOWN, Reason.STOP]


def test_close_without_unlink_can_be_adopted(instance: str, make: Make) -> None:
    first = make()
    first.close(unlink=False)
    assert "feed" in files(instance)
    assert make().adopted


@pytest.mark.parametrize("bad", ["", "a.b", "../x", "Upper", "a/b", "x" * 49, "control", "engine", "-a", "ä"])
def test_names_are_checked(bad: str) -> None:
    for call in (lambda: Names("ok", bad), lambda: Names(bad, "ok")):
        with pytest.raises(ValueError, match="is not allowed: 1 to 48 of a-z"):
            call()
    with pytest.raises(ValueError, match="feed"):
        shm.attach(bad, "ok")


@pytest.mark.parametrize("call", [shm.feeds, remove_stale, exclusive_instance])
def test_instance_is_never_a_pattern(make: Make, call: Callable[[str], object]) -> None:
    make()
    with pytest.raises(ValueError, match="instance"):
        call("test-*")


# -- one writer (I8) --
def test_second_writer_is_refused_at_once(instance: str, make: Make) -> None:
    writer = make()
    epoch = writer.epoch
    began = time.monotonic()
    with pytest.raises(shm.Locked, match=f"feed feed of instance {instance} has a writer already"):
        open_writer(instance, "feed", WIDER)
    assert time.monotonic() - began < 1
    assert shm.attach("feed", instance).epoch == epoch
    assert files(instance) == {"feed", "feed.lock", "feed.doorbell"}


def test_second_engine_is_refused(instance: str) -> None:
    lock = exclusive_instance(instance)
    with pytest.raises(shm.Locked, match="runs already"):
        exclusive_instance(instance)
    lock.release(unlink=True)
    exclusive_instance(instance).release(unlink=True)


def test_lock_is_not_inherited_through_exec(instance: str, make: Make) -> None:
    writer = make()
    child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        die(writer)
        assert make().adopted  # the child lives, and has no part in the lock
    finally:
        child.kill()
        child.wait()


def test_lock_belongs_to_the_open_file_of_a_fork_too(instance: str, make: Make) -> None:
    # An OFD lock lasts until the last copy of its descriptor: a child that did not exec still writes.
    writer = make()
    gate, release = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(release)
        os.read(gate, 1)
        os._exit(0)
    os.close(gate)
    die(writer)
    with pytest.raises(shm.Locked):
        open_writer(instance, "feed", writer.geometry)
    os.close(release)
    os.waitpid(child, 0)
    assert make().adopted


def test_closing_another_descriptor_of_the_lock_file_does_not_unlock(instance: str, make: Make) -> None:
    # The trap of classic POSIX locks; an OFD lock does not have it.
    make()
    os.close(os.open(Names(instance, "feed").lock, os.O_RDWR))
    with pytest.raises(shm.Locked):
        open_writer(instance, "feed", WIDER)


# -- take-over in place (I5, I6) --
def test_adopted_in_place(instance: str, writer: Writer, make: Make) -> None:
    feed = shm.attach("feed", instance)
    mapping, generation, epoch = feed.mapping, feed.generation, feed.epoch
    cursor = feed.cursor()
    writer.top(0, 100, 1, 101, 1)
    writer.commit()
    assert feed.top("BTC/USDT").state is State.LIVE
    die(writer)
    heir = make()
    assert heir.adopted
    assert (feed.epoch, feed.generation) == (epoch + 1, generation)
    assert feed.mapping is mapping
    assert feed.state is State.RESYNC
    with pytest.raises(shm.Stale) as caught:
        feed.top("BTC/USDT")
    assert caught.value.state is State.RESYNC
    kinds = [(int(r["kind"]), r["words"].tolist()[:3]) for r in cursor.poll()]
    assert kinds[0][0] == layout.Kind.TOP
    assert kinds[1] == (layout.Kind.STATUS, [State.RESYNC, Reason.START, epoch + 1])
    assert [slot.symbol for slot in heir.instruments()] == ["BTC/USDT", "ETH/USDT"]
    heir.top(0, 102, 1, 103, 1)
    assert feed.top("BTC/USDT").exact[0] == 102
    assert feed.counters().feed["restarts"] == 1


def test_state_alone_never_revives_prices_of_a_dead_epoch(instance: str, writer: Writer, make: Make) -> None:
    feed = shm.attach("feed", instance)
    writer.top(0, 100, 1, 101, 1)
    writer.book_cell(0, [(100, 1)], [(101, 1)])
    die(writer)
    heir = make()
    heir.top_state(0, State.LIVE)
    heir.book_state(0, State.LIVE)
    for call in (feed.top, feed.book):
        with pytest.raises(shm.Stale):
            call("BTC/USDT")


def test_records_behind_the_head_survive_their_writer(instance: str, writer: Writer, make: Make) -> None:
    cursor = shm.attach("feed", instance).cursor()
    for i in range(5):
        writer.trade(0, i, 1)  # never committed
    die(writer)
    make()
    batch = cursor.poll()
    assert batch.lost == 0
    assert batch["words"][:5, 0].tolist() == [0, 1, 2, 3, 4]
    assert batch["kind"][5] == layout.Kind.STATUS


# -- another geometry (I7) --
def test_new_geometry_is_a_new_generation(
    instance: str, writer: Writer, make: Make, instrument: Callable[..., object]
) -> None:
    feed = shm.attach("feed", instance)
    cursor = feed.cursor()
    generation, epoch, start = feed.generation, feed.epoch, cursor.position
    for i in range(3):
        writer.trade(0, i, 1)
    writer.commit()
    die(writer)
    heir = make(geometry=WIDER)
    assert not heir.adopted
    index = heir.add_instrument(instrument("BTC/USDT"))
    heir.top(index, 7, 1, 8, 1)
    heir.commit()
    time.sleep(0.011)  # a reader looks for a successor at most every 10 ms
    assert feed.top("BTC/USDT").exact[0] == 7
    assert feed.generation > generation
    assert feed.epoch > epoch
    got = []
    while len(batch := cursor.poll()):
        got += batch["seq"].tolist()
    assert got == list(range(start, heir.next_sequence))
    assert cursor.lost == 0
    assert cursor.generation == feed.generation


def test_reader_that_missed_a_whole_generation_counts_it(instance: str, writer: Writer, make: Make) -> None:
    cursor = shm.attach("feed", instance).cursor()
    start = cursor.position
    writer.trade(0, 1, 1)
    die(writer)
    middle = make(geometry=WIDER)
    middle.commit()
    unseen = middle.next_sequence - 2 - start + 1
    die(middle)
    last = make()
    got = [*cursor.poll()["seq"].tolist()]
    while len(batch := cursor.poll()):
        lost = batch.lost
        got += batch["seq"].tolist()
    assert got[0] == start
    assert lost > 0
    assert len(got) + cursor.lost == last.next_sequence - start
    assert got == sorted(set(got))
    assert unseen > 0


def test_records_between_the_last_look_and_the_end_are_not_skipped(
    instance: str, writer: Writer, make: Make
) -> None:
    # The cursor has drained the ring; then come one record and the end, before it looks again.
    cursor = shm.attach("feed", instance).cursor()
    assert len(cursor.poll()) == 0
    writer.trade(0, 5, 1)
    writer.close()
    make()
    first = cursor.poll()
    assert first["kind"].tolist() == [layout.Kind.TRADE, layout.Kind.STATUS]
    assert first.lost == 0


def test_reader_follows_a_clean_stop_and_start(instance: str, writer: Writer, make: Make) -> None:
    feed = shm.attach("feed", instance)
    cursor = feed.cursor()
    writer.close()
    assert feed.state is State.DOWN
    heir = make()
    time.sleep(0.011)
    assert feed.state is State.RESYNC
    while len(batch := cursor.poll()):
        last = int(batch["seq"][-1])
    assert cursor.generation == feed.generation
    assert last == heir.head


def test_newer_or_older_minor_is_replaced_by_a_writer(instance: str, writer: Writer, make: Make) -> None:
    # In place, the words that only the other minor knows would stay as the dead writer left them.
    writer.mapping.store(layout.H_VERSION, layout.MAJOR << 32 | layout.MINOR + 1)
    die(writer)
    assert not make().adopted


def test_segment_left_superseded_by_a_half_done_stop_is_replaced(
    instance: str, writer: Writer, make: Make
) -> None:
    feed = shm.attach("feed", instance)
    writer.mapping.store(layout.H_SUPERSEDED, 1)  # killed between the mark and the unlink
    die(writer)
    heir = make()
    assert not heir.adopted
    time.sleep(0.011)
    assert feed.state is State.RESYNC
    assert feed.mapping.load(layout.H_SUPERSEDED) == 0


def test_leftover_of_a_killed_builder_goes(instance: str, writer: Writer, make: Make) -> None:
    staging = Names(instance, "feed").staging
    staging.write_bytes(b"half built")
    die(writer)
    make()  # adopts: nothing is built
    assert not staging.exists()
    staging.write_bytes(b"half built")
    with pytest.raises(shm.NotFound):
        open_mapping(Names(instance, "other").data)
    assert shm.feeds(instance)[0].problem is None


# -- mark down, remove --
def test_mark_down_ends_every_live_price(instance: str, writer: Writer) -> None:
    feed = shm.attach("feed", instance)
    writer.top(0, 1, 1, 2, 1)
    assert mark_down(instance, "feed") is False  # the writer lives
    assert feed.top("BTC/USDT").state is State.LIVE
    die(writer)
    assert feed.top("BTC/USDT").state is State.LIVE  # negative control: within the heartbeat limit
    assert mark_down(instance, "feed") is True
    with pytest.raises(shm.Stale) as caught:
        feed.top("BTC/USDT")
    assert caught.value.state is State.DOWN
    assert (feed.state, feed.reason) == (State.DOWN, Reason.WRITER_DIED)


def test_mark_down_without_a_segment(instance: str) -> None:
    assert mark_down(instance, "feed") is False
    assert files(instance) == set()


def test_remove_stale_takes_only_dead_ones_of_its_instance(instance: str, make: Make) -> None:
    living, dead, kept = make("living"), make("dead"), make("kept")
    other_instance = instance + "-other"
    other = open_writer(other_instance, "dead", dead.geometry)
    die(other)
    feed = shm.attach("dead", instance)
    die(dead)
    die(kept)
    try:
        assert remove_stale(instance, frozenset({"kept"})) == [f"tickring.{instance}.dead"]
        assert files(other_instance) >= {"dead"}
        assert files(instance) == {f"{n}{s}" for n in ("living", "kept") for s in ("", ".lock", ".doorbell")}
        assert feed.state is State.DOWN
        assert feed.mapping.load(layout.H_SUPERSEDED) == 1
        assert shm.attach("living", instance).epoch == living.epoch
    finally:
        remove_stale(other_instance)
    assert files(other_instance) == set()


def test_remove_stale_takes_what_has_no_segment(instance: str, make: Make) -> None:
    names = Names(instance, "gone")
    for path in (names.staging, names.lock, names.doorbell):
        path.touch()
    engine = exclusive_instance(instance)
    living = make("living")
    assert remove_stale(instance) == [f"tickring.{instance}.gone"]
    assert files(instance) == {"living", "living.lock", "living.doorbell", "engine.lock"}
    living.close()
    engine.release(unlink=True)


def test_segment_of_another_boot(instance: str, writer: Writer, make: Make) -> None:
    writer.top(0, 1, 1, 2, 1)
    writer.mapping.write(layout.H_BOOT_ID, b"another boot ...")
    # Its heartbeat lies ahead of a clock that began again: it must not pass for fresh.
    writer.beat(10**18, 0)
    die(writer)
    with pytest.raises(shm.NotFound, match="earlier boot"):
        shm.attach("feed", instance)
    assert "earlier boot" in str(shm.feeds(instance)[0].problem)
    assert not make().adopted
    assert shm.attach("feed", instance).state is State.RESYNC
    assert shm.attach("feed", instance).symbols == []


def test_stale_of_another_boot_goes_even_when_kept(instance: str, writer: Writer) -> None:
    writer.mapping.write(layout.H_BOOT_ID, b"another boot ...")
    die(writer)
    assert remove_stale(instance, frozenset({"feed"})) == [f"tickring.{instance}.feed"]


def test_cell_left_odd_stays_odd_until_it_is_whole(instance: str, writer: Writer, make: Make) -> None:
    writer.top(0, 100, 1, 101, 1)
    at = writer.geometry.regions()[Region.TOPS][0]
    writer.mapping.store(at, writer.mapping.load(at) + 1)  # killed inside the cell
    die(writer)
    heir = make()
    feed = shm.attach("feed", instance)
    assert feed.cell_state("BTC/USDT", shm.Scope.TOP) is State.DOWN
    heir.top_state(0, State.STALE, Reason.SILENT)
    top = feed.top("BTC/USDT", allow_stale=True)
    assert top.exact == (0, 0, 0, 0)  # the half-written words are gone, not shown
    assert not top.has_bid
    heir.top(0, 5, 1, 6, 1)
    assert feed.top("BTC/USDT").exact == (5, 1, 6, 1)


def test_killed_for_real(instance: str) -> None:
    code = (
        "import sys\n"
        "from shm.segment import open_writer\nfrom shm.layout import Geometry\n"
        f"w = open_writer({instance!r}, 'feed', Geometry(slots=16, depth=1, events=8), 3600.0)\n"
        "print('up', flush=True); sys.stdin.read()\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdin is not None
    assert child.stdout.readline() == b"up\n"
    with pytest.raises(shm.Locked):
        open_writer(instance, "feed", WIDER)
    assert shm.attach("feed", instance).pid == child.pid
    child.kill()
    child.wait()
    child.stdin.close()
    child.stdout.close()
    assert mark_down(instance, "feed") is True
    assert remove_stale(instance) == [f"tickring.{instance}.feed"]
    assert files(instance) == set()


# -- files that were taken away ------------------------------------------------------------------------------
def test_only_ones_own_files_are_removed(instance: str) -> None:
    """``rm /dev/shm/tickring.*`` under a running writer, a second one beside it: the first to stop took the
    second's files along."""
    names = Names(instance, "feed")
    first = open_writer(instance, "feed", Geometry(), 3600.0)
    for path in (names.data, names.doorbell, names.lock):
        path.unlink()
    second = open_writer(instance, "feed", Geometry(), 3600.0)
    first.close()
    assert all(path.exists() for path in (names.data, names.doorbell, names.lock))
    with shm.attach("feed", instance) as feed:
        assert feed.pid == second.mapping.load(layout.H_WRITER_PID)
        assert not feed.mapping.load(layout.H_SUPERSEDED)
    second.close()
    assert not any(path.exists() for path in (names.data, names.doorbell, names.lock))


def test_only_ones_own_lock_is_removed(instance: str) -> None:
    first = exclusive_instance(instance)
    first.path.unlink()
    second = exclusive_instance(instance)
    first.release(unlink=True)
    assert first.path.exists()
    with pytest.raises(Locked):
        exclusive_instance(instance)
    second.release(unlink=True)
    assert not first.path.exists()
