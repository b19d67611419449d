"""The reader's face: read-only, refuses what is not LIVE, exact numbers and the floats nearest to them."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import shm
from shm import layout
from shm.instruments import Instrument
from shm.layout import Flag, Geometry, Reason, Region, Scope, State
from shm.names import Names
from shm.segment import open_writer
from shm.writer import Writer

ROOT = Path(shm.__file__).resolve().parent.parent
mantissas = st.integers(-(2**63), 2**63 - 1)


@pytest.fixture
def feed(instance: str, writer: Writer) -> Iterator[shm.Feed]:
    with shm.attach("feed", instance) as feed:
        yield feed


# -- read-only --
def poke(instance: str, what: str) -> int:
    code = (
        "import ctypes, shm\n"
        f"feed = shm.attach('feed', {instance!r})\n"
        f"at = feed.mapping.address + {layout.H_STATE}\n"
        f"{what}\n"
    )
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, timeout=30).returncode


def test_a_readers_bug_cannot_harm_the_feed(instance: str, feed: shm.Feed) -> None:
    before = feed.mapping.read(0, layout.PAGE)
    assert poke(instance, "ctypes.memset(at, 3, 8)") == -signal.SIGSEGV
    assert (
        poke(instance, "assert len(ctypes.string_at(at, 8)) == 8") == 0
    )  # negative control: reading is fine
    assert feed.mapping.read(0, layout.PAGE) == before


def test_the_kernel_says_read_only(instance: str, writer: Writer, feed: shm.Feed) -> None:
    cursor = feed.cursor()
    rights = {}
    for line in Path("/proc/self/maps").read_text().splitlines():
        where, mode, *_ = line.split()
        rights[int(where.split("-")[0], 16)] = mode
    assert rights[feed.mapping.address] == "r--s"
    assert rights[cursor.mapping.address] == "r--s"
    assert rights[writer.mapping.address] == "rw-s"  # negative control
    assert not feed.mapping.writable


def test_python_face_of_a_read_only_mapping(feed: shm.Feed) -> None:
    with pytest.raises(PermissionError, match="read-only"):
        feed.mapping.store(layout.H_STATE, 3)
    with pytest.raises(PermissionError, match="read-only"):
        feed.mapping.write(0, b"x")


@pytest.mark.parametrize("offset", [-8, 4, 10**9])
def test_mapping_has_bounds(feed: shm.Feed, offset: int) -> None:
    with pytest.raises(IndexError):
        feed.mapping.load(offset)
    with pytest.raises(IndexError):
        feed.mapping.read(feed.mapping.size - 1, 2)


# -- values --
def test_top(writer: Writer, feed: shm.Feed) -> None:
    writer.top(0, 123_45, 67_000, 123_46, 1, update_id=99, ts_event=1_700_000_000_000_000_000)
    top = feed.top("BTC/USDT")
    assert (top.bid, top.bid_size, top.ask, top.ask_size) == (123.45, 0.67, 123.46, 1e-05)
    assert top.exact == (12345, 67000, 12346, 1)
    assert (top.symbol, top.update_id, top.ts_event) == ("BTC/USDT", 99, 1_700_000_000_000_000_000)
    assert (top.price_exp, top.size_exp) == (2, 5)
    assert (top.state, top.ring_seq, top.generation) == (
        State.LIVE,
        writer.next_sequence - 1,
        feed.generation,
    )
    assert 0 <= top.age < 5
    assert "123.45" in repr(top)
    assert "LIVE" in repr(top)


@pytest.mark.parametrize(
    ("flags", "nan"), [(Flag.NO_BID, {"bid", "bid_size"}), (Flag.NO_ASK, {"ask", "ask_size"}), (0, set())]
)
def test_absent_side_is_nan(writer: Writer, feed: shm.Feed, flags: int, nan: set[str]) -> None:
    bid, ask = (0, 0) if "bid" in nan else (1, 2), (0, 0) if "ask" in nan else (3, 4)
    writer.top(0, *bid, *ask, flags=flags)
    top = feed.top("BTC/USDT")
    assert {name for name in ("bid", "bid_size", "ask", "ask_size") if math.isnan(getattr(top, name))} == nan
    assert (top.has_bid, top.has_ask) == ("bid" not in nan, "ask" not in nan)


def test_never_written_is_absent_and_down(feed: shm.Feed) -> None:
    with pytest.raises(shm.Stale) as caught:
        feed.top("BTC/USDT")
    assert caught.value.age is None
    top = feed.top("BTC/USDT", allow_stale=True)
    assert not top.has_bid
    assert not top.has_ask
    assert math.isnan(top.bid)
    book = feed.book("BTC/USDT", allow_stale=True)
    assert book.bids.shape == book.asks.shape == (0, 2)


@pytest.fixture(scope="module")
def numbers() -> Iterator[Callable[[int, int], tuple[shm.Top, shm.Book]]]:
    """Writes a mantissa at an exponent and reads it back: one slot an exponent, 0 to 18."""
    name = "test-reader-numbers"
    writer = open_writer(name, "feed", Geometry(slots=16, instruments=19, depth=1, events=8), 3600.0)
    for exp in range(19):
        writer.add_instrument(
            Instrument(symbol=f"E{exp}", venue_symbol="x", price_exp=exp, size_exp=18 - exp)
        )
    feed = shm.attach("feed", name)

    def show(mantissa: int, exp: int) -> tuple[shm.Top, shm.Book]:
        writer.top(exp, mantissa, mantissa, mantissa, mantissa)
        writer.book_cell(exp, [(mantissa, mantissa)], [(mantissa, mantissa)])
        writer.commit()
        return feed.top(f"E{exp}"), feed.book(f"E{exp}")

    yield show
    writer.close()


@given(mantissas | st.integers(2**53 - 5, 2**53 + 5) | st.integers(-1000, 1000), st.integers(0, 18))
def test_floats_are_the_nearest_doubles(
    numbers: Callable[[int, int], tuple[shm.Top, shm.Book]], mantissa: int, exp: int
) -> None:
    top, book = numbers(mantissa, exp)
    price = float(Decimal(mantissa).scaleb(-exp))  # correctly rounded
    size = float(Decimal(mantissa).scaleb(exp - 18))
    assert (top.bid, top.bid_size, top.ask, top.ask_size) == (price, size, price, size)
    assert book.bids.tolist() == book.asks.tolist() == [[price, size]]
    assert top.exact == (mantissa,) * 4
    assert book.exact[0].tolist() == [[mantissa, mantissa]]
    (level,), _ = book.decimal()
    assert level == (Decimal(mantissa).scaleb(-exp), Decimal(mantissa).scaleb(exp - 18))


def test_dividing_a_wide_mantissa_as_a_double_would_be_wrong() -> None:
    # Negative control of the property above: rounding twice is not rounding to nearest.
    wide = [2**53 + 2 * n + 1 for n in range(500)]
    assert any(float(m) / 1e5 != float(Decimal(m).scaleb(-5)) for m in wide)


def test_book(instance: str, make: Callable[..., Writer], instrument: Callable[..., Instrument]) -> None:
    writer = make(geometry=Geometry(slots=64, instruments=2, depth=3, events=8))
    writer.add_instrument(instrument())
    writer.book_cell(0, [(300, 1), (200, 2), (100, 3)], [(400, 4)], update_id=5, ts_event=6)
    feed = shm.attach("feed", instance)
    book = feed.book("BTC/USDT")
    assert book.exact[0].dtype == np.int64
    assert book.bids.tolist() == [[3.0, 1e-05], [2.0, 2e-05], [1.0, 3e-05]]
    assert book.asks.tolist() == [[4.0, 4e-05]]
    assert (book.update_id, book.ts_event, book.state) == (5, 6, State.LIVE)
    assert feed.book("BTC/USDT", depth=2).bids.shape == (2, 2)
    assert feed.book("BTC/USDT", depth=99).bids.shape == (3, 2)
    assert "3 x 1 LIVE" in repr(book)
    with pytest.raises(ValueError, match="depth must be at least 1"):
        feed.book("BTC/USDT", depth=0)
    kept = book.exact[0].copy()
    writer.book_cell(0, [(1, 1)], [])
    feed.book("BTC/USDT")
    assert (book.exact[0] == kept).all()  # a book is yours, not overwritten by the next read


def test_book_cell_refuses_too_many_levels(writer: Writer) -> None:
    with pytest.raises(ValueError, match="holds 1 levels a side, not 2"):
        writer.book_cell(0, [(2, 1), (1, 1)], [])


def test_write_to_an_unknown_slot(writer: Writer) -> None:
    with pytest.raises(IndexError, match="instrument 2: the segment has 2"):
        writer.top(2, 1, 1, 2, 1)
    with pytest.raises(IndexError):
        writer.level(-1, 1, 1, 1)


# -- refused unless LIVE: every cause --
def cell_state(writer: Writer) -> tuple[State, Reason]:
    writer.top_state(0, State.RESYNC, Reason.GAP)
    return State.RESYNC, Reason.GAP


def cell_stale(writer: Writer) -> tuple[State, Reason]:
    writer.top_state(0, State.STALE, Reason.SILENT)
    return State.STALE, Reason.SILENT


def dead_epoch(writer: Writer) -> tuple[State, Reason]:
    writer.mapping.store(layout.H_EPOCH, writer.epoch + 1)
    return State.RESYNC, Reason.NONE


def feed_down(writer: Writer) -> tuple[State, Reason]:
    writer.set_state(State.DOWN, Reason.DISCONNECTED)
    return State.DOWN, Reason.DISCONNECTED


def frozen_writer(writer: Writer) -> tuple[State, Reason]:
    import time

    limit = writer.mapping.load(layout.H_HEARTBEAT_LIMIT)
    writer.beat(time.monotonic_ns() - limit - 1, 0)
    return State.DOWN, Reason.NO_HEARTBEAT


def newer_reason(writer: Writer) -> tuple[State, Reason]:
    writer.top_state(0, State.STALE, 200)
    return State.STALE, Reason(200)


CAUSES = [cell_state, cell_stale, dead_epoch, feed_down, frozen_writer, newer_reason]


@pytest.mark.parametrize("cause", CAUSES)
def test_top_refuses(writer: Writer, feed: shm.Feed, cause: Callable[[Writer], tuple[State, Reason]]) -> None:
    writer.top(0, 100, 1, 101, 2)
    assert feed.top("BTC/USDT").state is State.LIVE  # negative control
    state, reason = cause(writer)
    with pytest.raises(shm.Stale) as caught:
        feed.top("BTC/USDT")
    error = caught.value
    assert (error.symbol, error.state, error.reason) == ("BTC/USDT", state, reason)
    assert error.age is not None
    assert 0 <= error.age < 5
    assert error.action is shm.Action.RESYNC
    top = feed.top("BTC/USDT", allow_stale=True)
    assert (top.state, top.exact) == (state, (100, 1, 101, 2))
    assert feed.cell_state("BTC/USDT", Scope.TOP) is state


@pytest.mark.parametrize("cause", [dead_epoch, feed_down, frozen_writer])
def test_book_refuses(
    writer: Writer, feed: shm.Feed, cause: Callable[[Writer], tuple[State, Reason]]
) -> None:
    writer.book_cell(0, [(100, 1)], [(101, 2)])
    assert feed.book("BTC/USDT").state is State.LIVE
    state, _ = cause(writer)
    with pytest.raises(shm.Stale) as caught:
        feed.book("BTC/USDT")
    assert caught.value.state is state
    assert feed.book("BTC/USDT", allow_stale=True).state is state


def test_a_depth_gap_does_not_touch_the_top(writer: Writer, feed: shm.Feed) -> None:
    writer.top(0, 100, 1, 101, 2)
    writer.book_cell(0, [(100, 1)], [(101, 2)])
    writer.book_state(0, State.RESYNC, Reason.GAP)
    assert feed.top("BTC/USDT").state is State.LIVE
    assert feed.cell_state("BTC/USDT", Scope.BOOK) is State.RESYNC
    assert feed.cell_reason("BTC/USDT", Scope.BOOK) is Reason.GAP


def test_half_written_cell_is_busy_then_down(writer: Writer, feed: shm.Feed) -> None:
    writer.top(0, 100, 1, 101, 2)
    regions = writer.geometry.regions()
    for region, read in ((Region.TOPS, feed.top), (Region.BOOKS, feed.book)):
        at = regions[region][0]
        writer.mapping.store(at, writer.mapping.load(at) + 1)
        with pytest.raises(shm.Busy, match="64 tries"):
            read("BTC/USDT", allow_stale=True)
    writer.mapping.store(layout.H_STATE, State.DOWN)  # as the supervisor does when the writer died there
    for read in (feed.top, feed.book):
        with pytest.raises(shm.Stale) as caught:
            read("BTC/USDT", allow_stale=True)
        assert caught.value.state is State.DOWN


def test_half_written_top_does_not_hide_the_book(writer: Writer, feed: shm.Feed) -> None:
    writer.book_cell(0, [(100, 1)], [(101, 2)])
    at = writer.geometry.regions()[Region.TOPS][0]
    writer.mapping.store(at, 1)
    top, book = feed.cursor().resync()["BTC/USDT"]
    assert top is None
    assert book is not None
    assert book.exact[0].tolist() == [[100, 1]]


# -- the feed itself --
def test_closed(feed: shm.Feed) -> None:
    feed.close()
    for read in (
        lambda: feed.top("BTC/USDT"),
        lambda: feed.book("BTC/USDT"),
        lambda: feed.state,
        lambda: feed.epoch,
        lambda: feed.symbols,
        lambda: feed.heartbeat_age,
        lambda: feed.counters(),
        lambda: feed.events(),
        lambda: feed.cursor(),
        lambda: feed.cell_state("BTC/USDT", Scope.TOP),
    ):
        with pytest.raises(shm.Closed):
            read()
    assert "closed" in repr(feed)
    feed.close()


def test_a_cursor_of_nothing_is_an_error_not_a_crash() -> None:
    cursor = shm.Cursor()
    for call in (cursor.poll, cursor.get, lambda: cursor._wait(0, 0), lambda: cursor.head_sequence):
        with pytest.raises(shm.Closed):
            call()
    with pytest.raises(shm.Closed):
        shm.Feed().top("x")


def test_what_a_feed_says_of_itself(instance: str, writer: Writer, feed: shm.Feed) -> None:
    import os

    assert (feed.name, feed.instance, feed.pid) == ("feed", instance, os.getpid())
    assert (feed.state, feed.reason) == (State.RESYNC, Reason.START)
    assert 0 <= feed.heartbeat_age < 5
    writer.beat(layout.PAGE, -5)
    assert feed.wall_offset == -5
    assert "epoch 1" in repr(feed)


def test_instance_comes_from_the_environment(
    instance: str, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TICKRING_INSTANCE", instance)
    assert shm.attach("feed").instance == instance


def test_attach_waits(instance: str, make: Callable[..., Writer]) -> None:
    import threading

    found: list[shm.Feed] = []
    thread = threading.Thread(target=lambda: found.append(shm.attach("feed", instance, wait=30.0)))
    thread.start()
    make()
    thread.join(30)
    assert found[0].state is State.RESYNC


# -- feeds --
def test_feeds(instance: str, writer: Writer, make: Callable[..., Writer]) -> None:
    make("another")
    found = {info.name: info for info in shm.feeds(instance)}
    assert set(found) == {"feed", "another"}
    info = found["feed"]
    assert (info.instance, info.state, info.instruments, info.problem) == (instance, State.RESYNC, 2, None)
    assert (info.epoch, info.path) == (1, str(Names(instance, "feed").data))
    assert info.heartbeat_age < 5
    assert {i.name for i in shm.feeds() if i.instance == instance} == {"feed", "another"}


def test_feeds_skips_what_is_not_a_feed(instance: str, writer: Writer) -> None:
    for name in ("engine.lock", "control", "Wrong"):
        Path(f"/dev/shm/tickring.{instance}.{name}").touch()
    assert [info.name for info in shm.feeds(instance)] == ["feed"]


def test_a_feed_that_is_starting_is_not_live_rather_than_without_the_symbol(
    instance: str, make: Callable[..., Writer], instrument: Callable[..., Instrument]
) -> None:
    writer = make()
    with shm.attach("feed", instance) as feed:
        with pytest.raises(shm.Stale) as refusal:
            feed.top("BTC/USDT")  # its slot has not been listed yet
        assert refusal.value.state is State.RESYNC
        writer.add_instrument(instrument("BTC/USDT"))
        writer.set_state(State.LIVE, Reason.SYNCED)
        with pytest.raises(shm.UnknownSymbol, match="nearest: BTC/USDT"):
            feed.top("BTC/USDX")
