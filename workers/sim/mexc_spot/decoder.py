"""Reads MEXC spot's recorded frames for a replay, with a simple protobuf decoder of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from workers.capture.reader import Row
from workers.sim.book import Depth, Diff, Level
from workers.sim.market import Listing
from workers.sim.mexc_spot import names, payloads
from workers.sim.replay import CaptureDecoder
from workers.sim.symbol_query import answer_key, depth_answer
from workers.sim.transport import Binary


def fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Number and value of each field: an int, or bytes. ValueError when the message is damaged."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            if at >= len(data) or shift > 63:
                raise ValueError(f"a number that does not end, at byte {at}")
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        number, kind = divmod(varint(), 8)
        if kind == 0:
            yield number, varint()
        elif kind == 2:
            size = varint()
            if at + size > len(data):
                raise ValueError(f"field {number} goes beyond the end")
            yield number, data[at : at + size]
            at += size
        else:
            raise ValueError(f"field {number} of wire type {kind}")


def diff(body: bytes) -> Diff:
    """``aggre.depth``'s body. ValueError when it is none."""
    sides: dict[int, list[Level]] = {1: [], 2: []}
    versions = {4: 0, 5: 0}
    for number, value in fields(body):
        if number in sides:
            level = dict(fields(value))
            sides[number].append((str(level[1], "ascii"), str(level[2], "ascii")))
        elif number in versions:
            versions[number] = int(value)
    return Diff(versions[4], versions[5], sides[2], sides[1])


class MexcDecoder(CaptureDecoder):
    """See `replay.CaptureDecoder`. Every frame names its topic, which is the stream's name."""

    def frames(self, row: Row) -> Iterable[tuple[str, bytes]]:
        if row.dir != "in" or row.b64 is None:
            return ()
        payload = row.payload()
        outer = dict(fields(payload))
        for number, body in outer.items():
            if number >= payloads.LIMIT_DEPTHS:
                list(fields(body))
        return ((str(outer.get(1, b""), "utf-8"), Binary(payload)),)

    def book_event(self, stream: str, payload: bytes) -> Depth | Diff | None:
        """``aggre.depth``; other topics are no changes of a book."""
        if names.split(stream)[0] != "depth":
            return None
        body = dict(fields(payload)).get(payloads.DEPTHS)
        return None if body is None else diff(body)

    def resends_last(self, stream: str) -> bool:
        """All but trades."""
        return names.split(stream)[0] != "deals"

    def rest_snapshot(self, row: Row) -> tuple[str, Depth] | None:
        return depth_answer(row)

    def answer_key(self, row: Row) -> str:
        return answer_key(row)

    def listing(self, venue_symbol: str, price_decimals: int, size_decimals: int) -> Listing:
        """Base and quote by the quotes that the venue has."""
        base, quote = names.assets(venue_symbol)
        return Listing(base, quote, price_decimals, size_decimals, 1, 1000 * 10**size_decimals, "1")
