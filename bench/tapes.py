"""Every venue's messages for the benchmarks: a capture's, sorted by what they say; made where it has none.

What a capture's listing and snapshots say is read by the venue's conformance fixture, which shares no code
with the decoders that are measured here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tests.conformance.fixture import Fixture, MissingFixture, Recording
from tests.conformance.fixture import load as load_fixture
from workers.books.sync import Snapshot
from workers.capture.reader import read
from workers.config.venue import VenueConfig
from workers.decode.normal import DecodeCode, MessageFlag, MessageKind, Scale
from workers.venues.venue import Venue
from workers.venues.venue import load as load_venue

KINDS = (MessageKind.TOP, MessageKind.DEPTH, MessageKind.TRADE)
MADE = 300  # frames, where a capture has none
LEVELS = 4  # a made change


@dataclass
class Tape:
    """One venue's messages.

    Attributes:
        frames: by kind, in order; `made`: those kinds that no capture has, written as the venue writes them.
        begin: what each book begins with: a frame of the stream, or (venue symbol, snapshot).
        scales: venue symbol -> slot and exponents.
    """

    venue: Venue
    config: VenueConfig
    source: str
    scales: Mapping[str, Scale]
    frames: dict[MessageKind, list[bytes]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    begin: list[bytes | tuple[str, Snapshot]] = field(default_factory=list)
    made: set[MessageKind] = field(default_factory=set)

    def decoder(self) -> Any:
        """The venue's native decoder with this tape's symbols."""
        assert self.venue.data.decoder is not None
        decoder = self.venue.data.decoder()
        for symbol, scale in self.scales.items():
            decoder.add_symbol(symbol, *scale)
        return decoder


class NoTape(Exception):
    """A venue that cannot be measured yet; the text says why."""


def load(feed: str) -> list[Tape]:
    """A venue's tapes: its capture, and what that has not, made.

    Raises:
        NoTape: it has no fixture yet.
    """
    try:
        fixture = load_fixture(feed)
    except MissingFixture as error:
        raise NoTape(str(error).split(":")[0]) from None
    venue = load_venue(feed)
    tapes = []
    for recording in (*fixture.recordings, *fixture.own):
        if recording.path.exists():
            tapes.append(_recorded(fixture, venue, recording))
            if feed in TODAY:
                tapes.append(TODAY[feed](tapes[-1]))
            break
    missing = {kind for kind in KINDS[:2] if not any(tape.frames[kind] for tape in tapes)}
    if missing:
        tapes.append(_made(fixture, venue, missing))
    return tapes


def _okx_today(tape: Tape) -> Tape:
    """The same books as OKX sends them since 2026: update ids, and a checksum that is always 0."""
    numbers: dict[bytes, int] = {}

    def numbered(frame: bytes) -> bytes:
        head, _, _ = frame.rpartition(b'"checksum":')
        symbol = frame.split(b'"instId":"', 1)[1].split(b'"', 1)[0]
        before = numbers.get(symbol, -1)
        numbers[symbol] = 1 if before < 0 else before + 1
        return head + b'"checksum":0,"seqId":%d,"prevSeqId":%d}]}' % (numbers[symbol], before)

    begin: list[bytes | tuple[str, Snapshot]] = [
        numbered(each) if isinstance(each, bytes) else each for each in tape.begin
    ]
    frames = {kind: [] for kind in KINDS} | {
        MessageKind.DEPTH: [numbered(frame) for frame in tape.frames[MessageKind.DEPTH]]
    }
    return Tape(tape.venue, tape.config, f"{tape.source}, today's wire", tape.scales, frames, begin)


TODAY = {"okx": _okx_today}
"""Venues whose wire has changed since their capture."""


def config(fixture: Fixture, **keys: Any) -> VenueConfig:
    """The venue's keys."""
    plain = {"ws_url": "ws://127.0.0.1:1", "rest_url": "http://127.0.0.1:1", "symbols": list(fixture.symbols)}
    return VenueConfig(**{**plain, "channels": list(fixture.channels), **fixture.keys, **keys})


def _recorded(fixture: Fixture, venue: Venue, recording: Recording) -> Tape:
    rows = list(read(recording.path))
    scales = {
        symbol: Scale(slot, *exponents)
        for slot, (symbol, exponents) in enumerate(recording.scales(rows).items())
    }
    tape = Tape(venue, config(fixture, **recording.keys), recording.path.parent.name, scales)
    decoder = tape.decoder()
    begun: dict[int, int] = {}  # slot -> the update id that its book begins at
    for row in rows:
        found = recording.snapshot(row) if row.kind == "http" else None
        if found is not None and scales[found[0]].instrument not in begun:
            begun[scales[found[0]].instrument] = found[1].last_update_id
            tape.begin.append(found)
    for row in rows:
        if row.kind != "ws" or row.dir != "in":
            continue
        frame = row.payload()
        first = decoder.decode_messages(frame)[0]
        if first.code is not DecodeCode.OK or first.kind not in KINDS:
            continue
        if first.kind is MessageKind.DEPTH:
            if first.flags & MessageFlag.SNAPSHOT:
                if first.instrument not in begun:
                    begun[first.instrument] = 0
                    tape.begin.append(frame)
                continue
            if 0 < first.update_id <= begun.get(first.instrument, 1 << 63):
                continue  # older than its book, or before it
            if first.instrument not in begun:
                continue
        tape.frames[first.kind].append(frame)
    return tape


def _made(fixture: Fixture, venue: Venue, kinds: set[MessageKind]) -> Tape:
    """A market of one symbol: prices of two decimals, sizes of three, as the fixture's writer has them."""
    symbol = fixture.venue_symbol(fixture.symbols[0])
    tape = Tape(venue, config(fixture), "made", {symbol: Scale(0, 2, 3)}, made=kinds)
    sides: tuple[dict[int, int], dict[int, int]] = (
        {10_000 - n: 1_000 + n for n in range(100)},
        {10_001 + n: 1_000 + n for n in range(100)},
    )

    def text(mantissa: int, decimals: int) -> str:
        return f"{Decimal(mantissa).scaleb(-decimals):f}"

    def levels(side: Mapping[int, int]) -> list[tuple[str, str]]:
        return [(text(price, 2), text(size, 3)) for price, size in side.items()]

    def whole() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        return levels(dict(sorted(sides[0].items(), reverse=True))), levels(dict(sorted(sides[1].items())))

    if MessageKind.TOP in kinds:
        for n in range(MADE):
            bid, ask = (text(10_000 + n % 50, 2), "1.500"), (text(10_060 + n % 50, 2), "2.500")
            if (top := fixture.wire.top(symbol, 1_000 + n, bid, ask)) is not None:
                tape.frames[MessageKind.TOP].append(top)
    if MessageKind.DEPTH in kinds:
        begin = fixture.wire.begin(symbol, 1_000, *whole())
        tape.begin.append((symbol, begin) if isinstance(begin, Snapshot) else begin)
        for n in range(MADE):
            at = n * 7 % 40
            changes = tuple(
                {price: 1_000 + n * 13 % 7_777 + i for i, price in enumerate(prices)}
                for prices in (
                    range(10_000 - at, 10_000 - at - LEVELS, -1),
                    range(10_001 + at, 10_001 + at + LEVELS),
                )
            )
            for side, change in zip(sides, changes, strict=True):
                side.update(change)
            tape.frames[MessageKind.DEPTH].append(
                fixture.wire.change(
                    symbol, 1_000 + n, 1_001 + n, levels(changes[0]), levels(changes[1]), whole()
                )
            )
    return tape
