"""What each channel delivered last and owes: written, read, absent where not subscribed, gone with a writer.

Kind: a channel that has no cell (trades, tickers, marks) is silent, and nothing in the segment says so."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

import shm
from shm import _ring, layout
from shm.channels import CELLS, CHANNELS, Delivery
from shm.layout import Geometry, Reason, Region, State
from shm.names import Names
from shm.writer import Writer

Make = Callable[..., Writer]
SECOND = 1_000_000_000


def left(writer: Writer) -> Writer:
    """A segment as its dead writer leaves it."""
    assert writer._lock is not None
    writer._lock.release()
    writer._lock = writer._names = None
    return writer


def as_minor_0(instance: str, writer: Writer) -> None:
    """What a program of layout 1.0 makes of the same geometry: no region 7, and a shorter file."""
    mapping, size = writer.mapping, writer.geometry.size_of(0)
    mapping.store(layout.H_VERSION, layout.MAJOR << 32)
    mapping.store(layout.H_SEGMENT_SIZE, size)
    for word in range(4):
        mapping.store(layout.H_REGIONS + 32 * Region.DELIVERY + 8 * word, 0)
    os.truncate(Names(instance, "feed").data, size)


def test_every_channel_has_its_place(instance: str, writer: Writer) -> None:
    now = _ring.now()
    for index in (0, 1):
        for number, channel in enumerate(CHANNELS):
            writer.set_delivery(index, channel, now - number * SECOND, (index + number) * SECOND)
    feed = shm.attach("feed", instance)
    for index, symbol in enumerate(("BTC/USDT", "ETH/USDT")):
        found = feed.delivery(symbol)
        assert list(found) == list(CHANNELS)
        for number, (age, within) in enumerate(found.values()):
            assert number <= age < number + 10
            assert within == ((index + number) or None)


def test_what_is_not_subscribed_is_absent(instance: str, writer: Writer) -> None:
    feed = shm.attach("feed", instance)
    assert feed.delivery("BTC/USDT") == {}
    writer.set_delivery(0, "trades", _ring.now(), 0)
    assert set(feed.delivery("BTC/USDT")) == {"trades"}
    assert feed.delivery("ETH/USDT") == {}
    writer.set_delivery(0, "trades", 0, 5 * SECOND)
    assert feed.delivery("BTC/USDT") == {}
    writer.set_state(State.LIVE, Reason.SYNCED)
    writer.heartbeat()
    with pytest.raises(shm.UnknownSymbol):
        feed.delivery("NO/SUCH")


@pytest.mark.parametrize(
    ("delivery", "overdue"),
    [
        (Delivery(0.5, 1.0), False),
        (Delivery(1.5, 1.0), True),
        (Delivery(1e6, None), False),  # a quiet market owes nothing
        (Delivery.at(7, 0, 100), False),
        (Delivery.at(100, 5, 7), False),  # the clock was read before the event was
        (Delivery.at(1, 5, 7), True),
    ],
)
def test_overdue(delivery: Delivery, overdue: bool) -> None:
    assert delivery.overdue is overdue


@pytest.mark.parametrize(
    ("index", "channel", "at", "within"),
    [(2, "top", 1, 1), (0, "other", 1, 1), (0, "top", -1, 1), (0, "top", 1, -1)],
)
def test_refused(writer: Writer, index: int, channel: str, at: int, within: int) -> None:
    with pytest.raises((IndexError, ValueError)):
        writer.set_delivery(index, channel, at, within)


def test_expectations_lapse_with_their_writer(instance: str, make: Make, writer: Writer) -> None:
    """The new writer has subscribed nothing yet: an expectation of the last one is nobody's."""
    writer.set_delivery(1, "mark", _ring.now() - 60 * SECOND, SECOND)
    feed = shm.attach("feed", instance)
    assert feed.delivery("ETH/USDT")["mark"].overdue
    left(writer)
    heir = make()
    assert heir.adopted
    assert feed.delivery("ETH/USDT") == {}


def test_segment_of_layout_1_0_is_read_and_has_none(instance: str, writer: Writer) -> None:
    writer.top(0, 100, 1, 101, 1)
    writer.commit()
    as_minor_0(instance, writer)
    feed = shm.attach("feed", instance)
    assert feed.top("BTC/USDT").bid == 1.0
    assert feed.delivery("BTC/USDT") == {}


def test_segment_of_layout_1_0_is_replaced_not_adopted(instance: str, make: Make, writer: Writer) -> None:
    writer.top(0, 100, 1, 101, 1)
    writer.commit()
    head = writer.head
    feed = shm.attach("feed", instance)
    as_minor_0(instance, writer)
    left(writer)
    heir = make()
    assert not heir.adopted
    assert heir.geometry.size == heir.geometry.size_of(layout.MINOR) > heir.geometry.size_of(0)
    assert heir.next_sequence > head  # sequences go on across generations
    assert feed.state is State.RESYNC  # readers follow
    assert feed.generation == heir.mapping.load(layout.H_GENERATION)
    index = heir.add_instrument(writer.instruments()[0])
    heir.set_delivery(index, "top", _ring.now(), 0)
    assert set(feed.delivery("BTC/USDT")) == {"top"}


@pytest.mark.parametrize("geometry", [Geometry(), Geometry(slots=16, instruments=4, depth=1, events=8)])
def test_region_lies_behind_all_of_layout_1_0(geometry: Geometry) -> None:
    """A program of layout 1.0 finds every region of its own where it was."""
    old, new = geometry.regions(0), geometry.regions()
    assert set(new) - set(old) == {Region.DELIVERY}
    assert all(new[region] == where for region, where in old.items())
    assert new[Region.DELIVERY][0] == geometry.size_of(0)


def test_channels_fit_their_region() -> None:
    assert layout.DELIVERY == layout.DELIVERY_CHANNELS * layout.DELIVERY_CHANNEL
    assert len(set(CHANNELS)) == len(CHANNELS) <= layout.DELIVERY_CHANNELS
    assert set(CELLS) <= set(CHANNELS)
