"""Instrument slots: written and read, refused where they do not fit, superseded by newer ones."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

import shm
from shm import instruments
from shm.instruments import Instrument
from shm.layout import InstrumentKind, InstrumentStatus, Kind, Reason, Region, Scope, State
from shm.writer import Writer

Make = Callable[..., Instrument]


def test_slot_round_trip(instance: str, make: Callable[..., Writer]) -> None:
    given = Instrument(
        symbol="BTC/USDT:USDT",
        venue_symbol="BTCUSDT_PERP",
        kind=InstrumentKind.PERPETUAL,
        price_exp=1,
        size_exp=3,
        tick=5,
        lot=-1,
        min_notional=500,
        notional_exp=2,
        multiplier=10,
        multiplier_exp=4,
        status=InstrumentStatus.HALTED,
    )
    writer = make()
    assert writer.add_instrument(given) == 0
    assert writer.instruments() == [given]
    found = shm.attach("feed", instance).instrument("BTC/USDT:USDT")
    assert found == given
    assert found.price(12345) == Decimal("1234.5")
    assert found.size(1) == Decimal("0.001")
    assert found.mark_exp == 8


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"price_exp": 19}, "price_exp"),
        ({"size_exp": -1}, "size_exp"),
        ({"notional_exp": 40}, "notional_exp"),
        ({"multiplier_exp": 19}, "multiplier_exp"),
        ({"symbol": ""}, "symbol"),
        ({"symbol": "x" * 64}, "symbol"),
        ({"venue_symbol": "a\0b"}, "venue symbol"),
        ({"symbol": "ä" * 32}, "63 bytes"),
    ],
)
def test_what_does_not_fit_is_refused(
    make: Callable[..., Writer], instrument: Make, fields: dict[str, object], names: str
) -> None:
    writer = make()
    with pytest.raises(ValueError, match=names):
        writer.add_instrument(instrument(**fields))
    assert writer.instruments() == []


def test_no_slot_left_names_the_setting(make: Callable[..., Writer], instrument: Make) -> None:
    writer = make()
    for i in range(4):
        writer.add_instrument(instrument(f"S{i}/USDT"))
    with pytest.raises(shm.ShmError, match="max_instruments = 4"):
        writer.add_instrument(instrument("ONE/TOO-MANY"))


def test_readers_see_new_slots_without_attaching_again(
    instance: str, make: Callable[..., Writer], instrument: Make
) -> None:
    writer = make()
    feed = shm.attach("feed", instance)
    assert feed.symbols == []
    index = writer.add_instrument(instrument("BTC/USDT"))
    writer.top(index, 100, 1, 101, 1)
    assert feed.symbols == ["BTC/USDT"]
    assert feed.top("BTC/USDT").bid == 1.0


def test_superseded_slot_gives_way_to_the_newest(instance: str, writer: Writer, instrument: Make) -> None:
    feed = shm.attach("feed", instance)
    writer.top(0, 100, 1, 101, 1)
    assert feed.top("BTC/USDT").exact[0] == 100
    writer.supersede_instrument(0)
    # Until there is a successor the old slot answers, and it is DOWN.
    assert feed.cell_state("BTC/USDT", Scope.TOP) is State.DOWN
    with pytest.raises(shm.Stale) as caught:
        feed.top("BTC/USDT")
    assert (caught.value.state, caught.value.reason) == (State.DOWN, Reason.PRECISION)
    index = writer.add_instrument(instrument("BTC/USDT", price_exp=4))
    writer.top(index, 1_000_000, 1, 1_010_000, 1)
    assert feed.top("BTC/USDT").bid == 100.0
    assert feed.instrument("BTC/USDT").index == index
    assert feed.symbols == ["BTC/USDT", "ETH/USDT"]
    assert [slot.status for slot in feed.slots] == [
        InstrumentStatus.SUPERSEDED,
        InstrumentStatus.ACTIVE,
        InstrumentStatus.ACTIVE,
    ]


def test_halted_is_seen(instance: str, writer: Writer) -> None:
    feed = shm.attach("feed", instance)
    writer.set_instrument_status(1, InstrumentStatus.HALTED)
    assert feed.instrument("ETH/USDT").status is InstrumentStatus.HALTED


def test_a_top_and_a_book_say_whether_the_instrument_trades(instance: str, writer: Writer) -> None:
    """Kind: what a reader decides by is beside the price. HALTED may be LIVE; a reader that looks at tops
    alone sees each change with its next look, and a follower of the ring gets a record of it."""
    writer.set_state(State.LIVE, Reason.SYNCED)
    feed = shm.attach("feed", instance)
    cursor = feed.cursor()
    for symbol, index in (("BTC/USDT", 0), ("ETH/USDT", 1)):
        writer.top(index, 100, 1, 101, 1)
        writer.book_cell(index, [(100, 1)], [(101, 1)], update_id=1)
        assert feed.top(symbol).status is feed.book(symbol).status is InstrumentStatus.ACTIVE
    for status in (InstrumentStatus.HALTED, InstrumentStatus.ACTIVE, InstrumentStatus.NOT_LISTED):
        writer.set_instrument_status(1, status)
        top, book = feed.top("ETH/USDT"), feed.book("ETH/USDT")
        assert (top.status, book.status, top.state, book.state) == (status, status, State.LIVE, State.LIVE)
        assert feed.top("BTC/USDT").status is InstrumentStatus.ACTIVE
    found = [
        (int(r["instrument"]), int(r["aux"]), int(r["words"][0]), int(r["words"][1]), int(r["words"][2]))
        for r in cursor.poll()
        if r["kind"] == Kind.STATUS
    ]
    assert found == [
        (1, Scope.INSTRUMENT, InstrumentStatus.HALTED, Reason.NONE, writer.epoch),
        (1, Scope.INSTRUMENT, InstrumentStatus.ACTIVE, Reason.NONE, writer.epoch),
        (1, Scope.INSTRUMENT, InstrumentStatus.NOT_LISTED, Reason.NOT_LISTED, writer.epoch),
    ]


def test_a_status_of_an_instrument_leaves_a_folded_book_alone(instance: str, writer: Writer) -> None:
    """It says nothing of delivery: 2 is HALTED there, and STALE of a book."""
    writer.set_state(State.LIVE, Reason.SYNCED)
    feed = shm.attach("feed", instance)
    writer.book_cell(0, [(100, 1)], [(101, 1)], update_id=1)
    writer.commit()
    fold = feed.fold()
    writer.set_instrument_status(0, InstrumentStatus.HALTED)
    fold.poll()
    assert fold.state("BTC/USDT") is State.LIVE


def test_kind_and_status_of_a_newer_writer_do_not_stop_a_reader(instance: str, writer: Writer) -> None:
    at = writer.geometry.regions()[Region.INSTRUMENTS][0]
    writer.mapping.store(at + 128, 77)
    writer.set_instrument_status(0, InstrumentStatus(88))
    slot = shm.attach("feed", instance).instrument("BTC/USDT")
    assert (slot.kind, slot.status) == (77, 88)


@pytest.mark.parametrize(("asked", "nearest"), [("BTC/USD", "BTC/USDT"), ("ETHUSDT", "ETH/USDT")])
def test_unknown_symbol_names_the_nearest(instance: str, writer: Writer, asked: str, nearest: str) -> None:
    writer.set_state(State.LIVE, Reason.SYNCED)
    feed = shm.attach("feed", instance)
    for call in (feed.top, feed.book, feed.instrument):
        with pytest.raises(
            shm.UnknownSymbol, match=f"feed feed has no instrument '{asked}'; nearest: .*{nearest}"
        ):
            call(asked)
    with pytest.raises(KeyError):
        feed.top("nothing like it 123")


def test_one_slot_is_read_by_itself(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kind: who asks for one slot reads them all. With 200 symbols a start stood still for a second."""
    slots = writer.instruments()
    read: list[int] = []
    real = instruments._SLOT.unpack

    class Counting:
        size = instruments._SLOT.size

        @staticmethod
        def unpack(raw: bytes) -> tuple[object, ...]:
            read.append(1)
            return real(raw)

    monkeypatch.setattr(instruments, "_SLOT", Counting)
    assert [writer.instrument(index) for index in range(2)] == slots
    assert len(read) == 2
    with pytest.raises(IndexError):
        writer.instrument(2)
