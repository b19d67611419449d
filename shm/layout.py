"""The shared-memory layout, version 1: a picture plus arithmetic.

One data segment a feed, ``/dev/shm/tickring.<instance>.<feed>``; all words little-endian, all regions
page-aligned, everything a reader needs to find its way is in the first page::

    0      +--------------------------------------------------------------+
           | header            4096   identity, geometry, hot words       |
           +--------------------------------------------------------------+
           | instruments       256 B  a slot, append-only                 |
           | tops              128 B  a seqlock cell an instrument        |
           | books             128 B + 32 B a level, a seqlock cell each  |
           | ring              64 B   a slot, a power of two of them      |
           | events            64 B   a slot, the binary event log (ring) |
           | counters          labels and u64 values, feed and instrument |
           | histograms        log-linear latency histograms, ns          |
           | delivery          128 B  an instrument: its channels' ages   |
           +--------------------------------------------------------------+

The header's hot words live on lines of their own, 128 bytes apart (adjacent-line prefetch; some arm64
lines are 128 bytes)::

    0     magic · version · sizes · generation · boot id · names · geometry      immutable
    1024  epoch · state · superseded · writer pid · writer start time            take-over, stop
    1152  heartbeat · heartbeat limit · wall - monotonic offset                  every 50 ms
    1280  head                                                                   every update
    1408  instruments_version · instrument count                                 rare
    1536  events head                                                            rare
    4088  ready                                                                  stored last

`shm/atomics.h` holds the same offsets as C constants; `tests/shm/test_layout.py` holds them equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag

MAGIC = 0x474E_4952_4B43_4954  # b"TICKRING" read as one little-endian word
MAJOR = 1
MINOR = 1
PAGE = 4096
LINE = 128

# -- header: immutable part (set before `ready`) -------------------------------------------------------
H_MAGIC = 0
H_VERSION = 8  # major << 32 | minor
H_HEADER_SIZE = 16
H_SEGMENT_SIZE = 24
H_GENERATION = 32
H_CREATED = 40  # wall clock, ns
H_BOOT_ID = 48  # 16 bytes
H_INSTANCE = 64  # 64 bytes, NUL-padded UTF-8
H_FEED = 128  # 64 bytes, NUL-padded UTF-8
H_SLOTS = 192
H_INSTRUMENTS = 200  # capacity
H_DEPTH = 208  # levels a side in a book cell
H_EVENTS = 216  # slots of the event log
H_BASE = 224  # the sequence before this generation's first record
H_REGIONS = 256  # eight regions x (offset u64, size u64, stride u64, count u64)

# -- header: hot words ----------------------------------------------------------------------------------
H_EPOCH = 1024
H_STATE = 1032
H_SUPERSEDED = 1040
H_WRITER_PID = 1048
H_WRITER_START = 1056  # /proc/<pid>/stat field 22
H_REASON = 1064
H_HEARTBEAT = 1152  # CLOCK_MONOTONIC, ns
H_HEARTBEAT_LIMIT = 1160  # ns
H_WALL_OFFSET = 1168  # wall - monotonic, ns
H_HEAD = 1280
H_INSTRUMENTS_VERSION = 1408
H_INSTRUMENT_COUNT = 1416
H_EVENTS_HEAD = 1536
H_READY = 4088
READY = 0x2159_4441_4552_2121

# -- strides --------------------------------------------------------------------------------------------
RECORD = 64
TOP_CELL = 128
BOOK_HEADER = 128
LEVEL = 16
INSTRUMENT = 256
INSTRUMENT_STATUS = 200  # offset of the one word of a slot that changes
LABEL = 64
FEED_COUNTERS = 64  # slots for feed counters
INSTRUMENT_COUNTERS = 8  # counters an instrument
HISTOGRAMS = 8
DELIVERY = 128  # an instrument: DELIVERY_CHANNELS x (at u64, within u64)
DELIVERY_CHANNEL = 16
DELIVERY_CHANNELS = 8  # places; `shm.channels.CHANNELS` has their names
RATE_EXP = 12  # exponent of a funding rate in a MARK record: units of 1e-12
# A log-linear histogram of nanoseconds: 8 sub-buckets an octave, values 0..7 exact, 62 octaves.
HISTOGRAM_SUB = 8
HISTOGRAM_BUCKETS = 512
HISTOGRAM = LABEL + 64 + 8 * HISTOGRAM_BUCKETS  # label, (count, sum, max, spare...), buckets

NO_INSTRUMENT = 0xFFFF_FFFF


class _Newer(IntEnum):
    """A code that a newer minor version may extend: an unknown number stays a number with a name."""

    @classmethod
    def _missing_(cls, value: object) -> _Newer | None:
        if not isinstance(value, int) or not 0 <= value < 2**64:  # as wide as a word
            return None
        member = int.__new__(cls, value)
        member._name_ = f"{cls.__name__.upper()}_{value}"
        member._value_ = value
        return member


class State(IntEnum):
    """State of a feed or of one cell. Zeroed memory reads DOWN: nothing is valid until a state is stored; so
    does a number that is no state, which no writer of this major version stores."""

    DOWN = 0
    RESYNC = 1
    STALE = 2
    LIVE = 3

    @classmethod
    def _missing_(cls, value: object) -> State | None:
        return cls.DOWN if isinstance(value, int) else None


class Reason(_Newer):
    """Why a state was entered; travels in STATUS records and in the header."""

    NONE = 0
    START = 1  # the writer took over
    STOP = 2  # clean stop
    WRITER_DIED = 3  # stored by the supervisor
    CONNECTING = 4
    DISCONNECTED = 5
    SNAPSHOT = 6  # waiting for a snapshot
    SYNCED = 7  # snapshot and stream agree
    GAP = 8  # a sequence is missing
    CROSSED = 9  # best bid >= best ask
    CHECKSUM = 10
    AUDIT = 11  # disagreed with an independent snapshot
    SILENT = 12  # no proof of delivery within `stale_after`
    PRECISION = 13  # a number did not fit the instrument's exponents
    MALFORMED = 14
    FIRST_EVENT = 15  # no first event after the subscription
    UNSUBSCRIBED = 16
    FRESH = 17  # proof of delivery came back
    OUT_OF_WINDOW = 18
    NO_HEARTBEAT = 19  # found by readers, stored by nobody: the writer has not beaten within the limit
    NOT_LISTED = 20  # the venue's listing has no such symbol, or an entry that cannot be used


class Kind(_Newer):
    """Record kinds; `shm/README.md` has the table kind x words x flags."""

    TOP = 1
    TRADE = 2
    LEVEL = 3
    CLEAR = 4
    TICKER = 5
    MARK = 6
    LIQUIDATION = 7
    STATUS = 8


class Flag(IntFlag):
    """Record and cell flags."""

    FIRST = 1  # first record of an update
    LAST = 2  # last record of an update
    ASK = 4  # LEVEL: ask side
    SELL = 8  # TRADE, LIQUIDATION: the taker sold
    NO_BID = 16  # TOP: the bid side is absent (price 0, size 0)
    NO_ASK = 32
    HASHED_ID = 64  # TRADE: the id word is a 64-bit hash of the venue's id
    # TICKER, MARK: that word of the record is absent (and 0): the venue does not say it, or it does not
    # fit. The same bits as ASK, SELL, NO_BID and NO_ASK, which these kinds have not.
    ABSENT_0 = 4
    ABSENT_1 = 8
    ABSENT_2 = 16
    ABSENT_3 = 32

    def lacks(self, word: int) -> bool:
        """Of a TICKER or MARK record's flags: whether word 0 to 3 is absent.

        >>> Flag(int(Flag.LAST | Flag.ABSENT_1)).lacks(1), Flag.LAST.lacks(0)
        (True, False)
        """
        return bool(self & (Flag.ABSENT_0 << word))


class Scope(IntEnum):
    """What a STATUS record speaks of (its `aux` field)."""

    FEED = 0
    TOP = 1
    BOOK = 2
    INSTRUMENT = 3  # the first word is an InstrumentStatus, not a State


class InstrumentKind(_Newer):
    SPOT = 1
    PERPETUAL = 2
    FUTURE = 3


class InstrumentStatus(_Newer):
    ACTIVE = 1
    HALTED = 2  # the venue says it does not trade
    SUPERSEDED = 3  # a newer slot carries this symbol (its exponents changed)
    NOT_LISTED = 4  # the venue does not list it (any more), or what it lists cannot be used


class Region(IntEnum):
    INSTRUMENTS = 0
    TOPS = 1
    BOOKS = 2
    RING = 3
    EVENTS = 4
    COUNTERS = 5
    HISTOGRAMS = 6
    DELIVERY = 7  # since 1.1


def _pages(size: int) -> int:
    return -(-size // PAGE) * PAGE


@dataclass(frozen=True)
class Geometry:
    """What fixes a segment's size: a change of any of these makes a new generation (I7).

    Attributes:
        slots: ring slots, a power of two. One update may use at most half of them.
        instruments: how many instrument slots.
        depth: levels a side in each book cell.
        events: slots of the event log, a power of two.
    """

    slots: int = 65_536
    instruments: int = 64
    depth: int = 20
    events: int = 1024

    def __post_init__(self) -> None:
        for name in ("slots", "events"):
            value = getattr(self, name)
            if value < 8 or value & (value - 1):
                raise ValueError(f"{name} must be a power of two, at least 8, not {value}")
        if not 1 <= self.instruments <= 65_536:
            raise ValueError(f"instruments must be 1 to 65536, not {self.instruments}")
        if not 1 <= self.depth <= 5_000:
            raise ValueError(f"depth must be 1 to 5000, not {self.depth}")
        if self.largest_update > self.slots // 2:
            raise ValueError(
                f"slots = {self.slots} is too small for depth = {self.depth}: one update may be "
                f"{self.largest_update} records, the ring must hold twice as many"
            )

    @property
    def largest_update(self) -> int:
        """Most records one update can make: CLEAR, STATUS, and both windows replaced level by level."""
        return 2 + 4 * self.depth

    @property
    def book_stride(self) -> int:
        return -(-(BOOK_HEADER + 2 * self.depth * LEVEL) // LINE) * LINE

    def regions(self, minor: int = MINOR) -> dict[Region, tuple[int, int, int, int]]:
        """Region -> (offset, size, stride, count), in bytes; offsets and sizes are whole pages.

        `minor`: of the layout that the segment was written in; an older one lacks the newer regions, which
        lie behind all others.
        """
        counters = (
            (FEED_COUNTERS + INSTRUMENT_COUNTERS) * LABEL
            + 8 * FEED_COUNTERS
            + 8 * INSTRUMENT_COUNTERS * self.instruments
        )
        wanted = {
            Region.INSTRUMENTS: (INSTRUMENT, self.instruments),
            Region.TOPS: (TOP_CELL, self.instruments),
            Region.BOOKS: (self.book_stride, self.instruments),
            Region.RING: (RECORD, self.slots),
            Region.EVENTS: (RECORD, self.events),
            Region.COUNTERS: (counters, 1),
            Region.HISTOGRAMS: (HISTOGRAM, HISTOGRAMS),
        }
        if minor >= 1:
            wanted[Region.DELIVERY] = (DELIVERY, self.instruments)
        table = {}
        offset = PAGE
        for region, (stride, count) in wanted.items():
            size = _pages(stride * count)
            table[region] = (offset, size, stride, count)
            offset += size
        return table

    @property
    def size(self) -> int:
        """Bytes of the whole segment."""
        return self.size_of(MINOR)

    def size_of(self, minor: int) -> int:
        """Bytes of a whole segment of that minor version, as far as this program knows it."""
        return max(offset + size for offset, size, _, _ in self.regions(minor).values())
