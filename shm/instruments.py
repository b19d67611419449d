"""Instrument slots: what a feed carries and how its mantissas become numbers."""

from __future__ import annotations

import struct
from decimal import Decimal

import msgspec

from shm import layout
from shm._ring import Mapping
from shm.layout import InstrumentKind, InstrumentStatus

# symbol, venue symbol, kind, price exponent, size exponent, tick, lot, minimum notional, its exponent,
# multiplier, its exponent, status
_SLOT = struct.Struct("<64s64sQqqqqqqqqQ")
_STATUS = layout.INSTRUMENT_STATUS
assert _SLOT.size == _STATUS + 8 <= layout.INSTRUMENT

MAX_EXPONENT = 18
MARK_DECIMALS = 8  # as many as any venue's mark prices have today
MARK_FINER = 2  # what a price of a fine tick is averaged to


def mark_exp(price_exp: int) -> int:
    """The exponent of mark, index and liquidation prices of a slot whose prices are at `price_exp`.

    They are averages, with more decimals than the tick; at `price_exp` they would not fit, and a `price_exp`
    for their sake takes the room of volumes. MARK and LIQUIDATION records name it in `aux`.

    >>> mark_exp(1), mark_exp(8), mark_exp(18)
    (8, 10, 18)
    """
    return min(MAX_EXPONENT, max(MARK_DECIMALS, price_exp + MARK_FINER))


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """One instrument slot. Every number is an int64 mantissa: value = mantissa * 10**-exponent.

    Attributes:
        index: its slot, the `instrument` field of records.
        symbol: ccxt's unified symbol: spot ``BTC/USDT``, perpetual ``BTC/USDT:USDT``.
        venue_symbol: as the venue writes it.
        kind: spot, perpetual or future.
        price_exp, size_exp: exponents of all prices and sizes of this slot, but for mark, index and
            liquidation prices (`mark_exp`); immutable.
        tick, lot: smallest step of price (at `price_exp`) and size (at `size_exp`).
        min_notional: smallest order value, at `notional_exp`; 0 = none known.
        multiplier: contract multiplier at `multiplier_exp`; 1 for spot.
        status: ACTIVE, HALTED, NOT_LISTED, or SUPERSEDED by a newer slot of the same symbol.
    """

    index: int = 0
    symbol: str
    venue_symbol: str
    kind: InstrumentKind = InstrumentKind.SPOT
    price_exp: int
    size_exp: int
    tick: int = 0
    lot: int = 0
    min_notional: int = 0
    notional_exp: int = 8
    multiplier: int = 1
    multiplier_exp: int = 0
    status: InstrumentStatus = InstrumentStatus.ACTIVE

    def price(self, mantissa: int) -> Decimal:
        """The exact price."""
        return Decimal(mantissa).scaleb(-self.price_exp)

    @property
    def mark_exp(self) -> int:
        """The exponent of mark, index and liquidation prices."""
        return mark_exp(self.price_exp)

    def size(self, mantissa: int) -> Decimal:
        """The exact size."""
        return Decimal(mantissa).scaleb(-self.size_exp)


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace")


def _name(value: str, what: str) -> bytes:
    raw = value.encode()
    if not 0 < len(raw) < 64 or b"\0" in raw:
        raise ValueError(f"{what} {value!r} must be 1 to 63 bytes of UTF-8")
    return raw


def write_slot(mapping: Mapping, offset: int, index: int, instrument: Instrument) -> None:
    """Fills slot `index`; it becomes visible only with the instrument count."""
    for name in ("price_exp", "size_exp", "notional_exp", "multiplier_exp"):
        if not 0 <= getattr(instrument, name) <= MAX_EXPONENT:
            raise ValueError(f"{instrument.symbol}: {name} must be 0 to 18, not {getattr(instrument, name)}")
    mapping.write(
        offset + index * layout.INSTRUMENT,
        _SLOT.pack(
            _name(instrument.symbol, "symbol"),
            _name(instrument.venue_symbol, "venue symbol"),
            instrument.kind,
            instrument.price_exp,
            instrument.size_exp,
            instrument.tick,
            instrument.lot,
            instrument.min_notional,
            instrument.notional_exp,
            instrument.multiplier,
            instrument.multiplier_exp,
            instrument.status,
        ),
    )


def write_status(mapping: Mapping, offset: int, index: int, status: InstrumentStatus) -> None:
    """Changes the one mutable word of a slot."""
    mapping.store(offset + index * layout.INSTRUMENT + _STATUS, status)


def read_slots(mapping: Mapping, offset: int, count: int, first: int = 0) -> list[Instrument]:
    """The visible slots from `first` on; `count` must have been loaded before (it publishes them).

    Raises:
        ValueError: an exponent is out of range; the text names the slot.
    """
    slots = []
    for index in range(first, count):
        at = offset + index * layout.INSTRUMENT
        fields = _SLOT.unpack(mapping.read(at, _SLOT.size))
        symbol, venue_symbol, kind, price_exp, size_exp, tick, lot, least, least_exp, mult, mult_exp, _ = (
            fields
        )
        if not all(0 <= each <= MAX_EXPONENT for each in (price_exp, size_exp, least_exp, mult_exp)):
            raise ValueError(f"an exponent of slot {index} is none of 0 to {MAX_EXPONENT}")
        slots.append(
            Instrument(
                index=index,
                symbol=_text(symbol),
                venue_symbol=_text(venue_symbol),
                kind=InstrumentKind(kind),
                price_exp=price_exp,
                size_exp=size_exp,
                tick=tick,
                lot=lot,
                min_notional=least,
                notional_exp=least_exp,
                multiplier=mult,
                multiplier_exp=mult_exp,
                status=InstrumentStatus(mapping.load(at + _STATUS)),
            )
        )
    return slots
