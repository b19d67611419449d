"""One direction of one connection: what becomes of its bytes under the orders in force.

Nothing here touches a socket or reads a clock: bytes and time go in, bytes with the time at which they are
due come out. That is what makes a fault repeatable.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from tests.faults.faults import (
    Blackhole,
    Corrupt,
    Corruption,
    Cut,
    Direction,
    Drop,
    Duplicate,
    FrameEvent,
    Half,
    Hole,
    How,
    Latency,
    Orders,
    Reorder,
    Stall,
    Standing,
    Throttle,
)
from tests.faults.frames import TEXT, Frame, Part, Splitter, decode, fresh_mask

MAX_HELD = 16_777_216
"""Bytes of one frame that are held back to look at it; a longer one passes."""


class Send(NamedTuple):
    """Write these bytes at this time."""

    due: float
    data: bytes


class End(NamedTuple):
    """End the connection in this way, at this time."""

    due: float
    how: How


Step = Send | End


class Lane:
    """See the module's words.

    Args:
        orders: shared by all lanes of a proxy.
        connection, direction: which one this is.
        seed: of jitter and flipped bits; the same seed and the same bytes give the same faults.

    Attributes:
        dead: carries nothing any more (`Blackhole`, `How.SILENCE`, or ended).
        carried, lost: bytes.
    """

    def __init__(self, orders: Orders, connection: int, direction: Direction, seed: int = 0) -> None:
        self._orders = orders
        self._connection = connection
        self.direction = direction
        self._random = random.Random(f"{seed}/{connection}/{direction}")
        self._splitter = Splitter()
        self._frame = bytearray()  # held back, not whole yet
        self._holding = False
        self._later: list[tuple[bytes, bytes]] = []  # frames that wait for the next one with this text
        self._progress: dict[int, int] = {}  # order -> bytes or frames seen under it
        self._due = 0.0
        self.dead = False
        self.carried = 0
        self.lost = 0

    def __repr__(self) -> str:
        state = "dead" if self.dead else "alive"
        return f"<Lane {self._connection} {self.direction} {state} carried={self.carried} lost={self.lost}>"

    def feed(self, data: bytes, now: float) -> list[Step]:
        """What to do with these bytes; with none: what an order asks for at once."""
        for one, _ in self._orders.matching(Blackhole, self._connection, self.direction, now):
            if not self.dead:
                self._orders.strike(one)
            self.dead = True
        if self.dead:
            self.lost += len(data)
            return []
        steps: list[Step] = []
        for piece in self._frames(data, now):
            if isinstance(piece, How):
                steps.append(self._end(piece, now))
            else:
                steps += self._bytes(piece, now)
            if self.dead:
                break
        return steps

    def finish(self, now: float) -> list[Step]:
        """The sender has ended: what was held back goes, then the end."""
        if self.dead:
            return []
        rest = bytes(self._frame) + b"".join(raw for raw, _ in self._later)
        steps = self._bytes(rest, now) if rest else []
        return steps if self.dead else [*steps, self._end(How.FIN, now)]

    # -- whole frames -------------------------------------------------------------------------------------
    def _frames(self, data: bytes, now: float) -> list[bytes | How]:
        """The bytes after the orders about frames; a frame is held back only while one of them waits."""
        wanted = any(self._orders.matching(FrameEvent, self._connection, self.direction, now))
        pieces = self._splitter.feed(data)
        if not (wanted or self._holding or self._later):
            return [data]
        out: list[bytes | How] = []
        for piece in pieces:
            if piece.part is not Part.FRAME or not (self._holding or piece.first):
                out.append(piece.data)
                continue
            self._holding = True
            self._frame += piece.data
            if piece.last:
                raw = bytes(self._frame)
                out += self._bend(raw, now)
            if piece.last or len(self._frame) > MAX_HELD:
                if not piece.last:
                    out.append(bytes(self._frame))
                self._frame.clear()
                self._holding = False
        return out

    def _bend(self, raw: bytes, now: float) -> list[bytes | How]:
        frame = decode(raw)
        if not frame.whole_message:
            return [raw]
        later = [held for held, text in self._later if text in frame.payload]
        self._later = [pair for pair in self._later if pair[1] not in frame.payload]
        out: list[bytes | How] = [raw]
        for one, fault in self._orders.matching(FrameEvent, self._connection, self.direction, now):
            if fault.text and fault.text.encode() not in frame.payload:
                continue
            seen = self._progress.get(one.number, 0)
            self._progress[one.number] = seen + 1
            if seen < fault.after:
                continue
            self._orders.strike(one)
            match fault:
                case Drop():
                    self.lost += len(raw)
                    out = []
                case Duplicate():
                    out = [raw, raw]
                case Reorder():
                    self._later.append((raw, fault.text.encode()))
                    out = []
                case Half():
                    return [raw[: max(1, len(raw) // 2)], fault.how]
                case Corrupt():
                    out = [self._corrupt(raw, frame, fault.what)]
            break
        return out + later

    def _corrupt(self, raw: bytes, frame: Frame, what: Corruption) -> bytes:
        match what:
            case Corruption.OPCODE:
                return frame._replace(opcode=0x3).encode()
            case Corruption.RESERVED:
                return frame._replace(rsv=4).encode()
            case Corruption.MASK:
                return frame._replace(mask=b"" if frame.mask else fresh_mask()).encode()
            case Corruption.UTF8:
                return frame._replace(opcode=TEXT, payload=b"\xff\xfe" + frame.payload).encode()
            case Corruption.LENGTH:
                return raw[:1] + bytes([raw[1] & 0x80 | 127]) + (1 << 62).to_bytes(8, "big") + raw[2:]
            case Corruption.FLIP:
                payload = bytearray(frame.payload)
                if payload:
                    payload[self._random.randrange(len(payload))] ^= 1 << self._random.randrange(8)
                return frame._replace(payload=bytes(payload)).encode()

    # -- bytes --------------------------------------------------------------------------------------------
    def _bytes(self, data: bytes, now: float) -> list[Step]:
        """The bytes after holes and cuts, with their time."""
        for one, hole in self._orders.matching(Hole, self._connection, self.direction, now):
            begin = hole.after - self._passed(one, len(data))
            end = begin + hole.size
            if 0 < end <= len(data):
                self._orders.strike(one)
            missing = data[max(0, begin) : max(0, end)]
            data = data[: max(0, begin)] + data[max(0, end) :]
            self.lost += len(missing)
        for one, cut in self._orders.matching(Cut, self._connection, self.direction, now):
            room = cut.after - self._passed(one, len(data))
            if len(data) >= room:
                self._orders.strike(one)
                self.lost += len(data) - room
                return [*self._timed(data[:room], now), self._end(cut.how, now)]
        return self._timed(data, now)

    def _passed(self, one: Standing, more: int) -> int:
        """Bytes that have passed under an order before these."""
        before = self._progress.get(one.number, 0)
        self._progress[one.number] = before + more
        return before

    def _timed(self, data: bytes, now: float) -> list[Step]:
        if not data:
            return []
        due = now
        for one, late in self._orders.matching(Latency, self._connection, self.direction, now):
            self._orders.strike(one)
            due += max(0.0, late.seconds + late.jitter * self._random.uniform(-1.0, 1.0))
        for one, _ in self._orders.matching(Stall, self._connection, self.direction, now):
            self._orders.strike(one)
            due = max(due, one.until)
        self._due = max(self._due, due)  # a stream keeps its order
        for one, limit in self._orders.matching(Throttle, self._connection, self.direction, now):
            self._orders.strike(one)
            self._due += len(data) / limit.rate
        self.carried += len(data)
        return [Send(self._due, data)]

    def _end(self, how: How, now: float) -> End:
        self.dead = True
        return End(max(self._due, now), how)

    def appetite(self, now: float) -> int:
        """How many bytes to read at once: few when they are to pass slowly."""
        rates = [t.rate for _, t in self._orders.matching(Throttle, self._connection, self.direction, now)]
        return max(1, min(65_536, int(min(rates) / 20))) if rates else 65_536
