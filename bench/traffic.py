"""Real traffic for the decoding benchmarks: a capture's frames by kind, a chain of book events to loop."""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from bench.harness import ROOT
from shm.instruments import Instrument
from workers.venues.binance_spot import instruments, schema
from workers.venues.listing import level_numbers, needed, widen

_PLACES = (
    ROOT.parent / "shared" / "captures" / "binance_spot" / "session.jsonl.gz",
    ROOT / "tests" / "fixtures" / "binance_spot_small.jsonl.gz",
)
_GONE = "0.00000000"
_IDS = re.compile(rb'"U":(\d+),"u":(\d+)')


@dataclass
class Traffic:
    """Frames as on the wire (combined streams), in order; `kinds[i]` is frame i's stream kind."""

    path: Path
    instruments: list[Instrument] = field(default_factory=list)
    frames: list[bytes] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    snapshots: dict[str, schema.RestDepth] = field(default_factory=dict)

    def of(self, *kinds: str) -> list[bytes]:
        """The frames of these kinds."""
        return [frame for frame, kind in zip(self.frames, self.kinds, strict=True) if kind in kinds]


def load() -> Traffic:
    """The first capture that is there; kinds that nobody decodes (klines) are left out."""
    path = next(place for place in _PLACES if place.exists())
    traffic = Traffic(path)
    with gzip.open(path, "rt") as rows:
        for row in map(json.loads, rows):
            _add(traffic, row)
    return traffic


def _add(traffic: Traffic, row: dict[str, Any]) -> None:
    if row["kind"] == "http" and row.get("status") == 200:
        url = urlsplit(row["url"])
        if url.path.endswith("/exchangeInfo"):
            info = schema.read_listing(row["text"].encode())
            wanted = map(instruments.symbol_of, info.entries)
            traffic.instruments = instruments.instruments(info, wanted).instruments
        elif url.path.endswith("/depth"):
            symbol = parse_qs(url.query)["symbol"][0]
            traffic.snapshots.setdefault(symbol, schema.decode_depth(row["text"].encode()))
    elif row["kind"] == "ws" and row.get("dir") == "in":
        kind = json.loads(row["text"]).get("stream", "@").split("@")[1].split("_")[0]
        if kind in ("depth", "bookTicker", "aggTrade", "trade", "ticker"):
            traffic.frames.append(row["text"].encode())
            traffic.kinds.append(kind)


def carried(traffic: Traffic) -> list[Instrument]:
    """The instruments that the capture has a snapshot of, with exponents that its prices fit.

    One of them trades off its tick in places: a worker would give it a new slot, here it has it at once.
    """
    found = []
    for one in traffic.instruments:
        snapshot = traffic.snapshots.get(one.venue_symbol)
        if snapshot is not None:
            numbers = level_numbers(snapshot.bids, snapshot.asks)
            price_exp, size_exp = needed(numbers)
            fits = price_exp <= one.price_exp and size_exp <= one.size_exp
            found.append(one if fits else widen(one, numbers))
    return found


def chain(traffic: Traffic, passes: int) -> list[bytes]:
    """The depth frames, `passes` times over, with update ids that go on from frame to frame.

    Repeating a capture as it stands would jump from its last prices to its first and cross the book. So a
    pass goes there and back: each event as captured, then, backwards, for each the event of the same levels
    that undoes it. Events older than the snapshot are left out.
    """
    books: dict[str, dict[str, dict[str, str]]] = {
        one.venue_symbol: {
            "b": dict(traffic.snapshots[one.venue_symbol].bids),
            "a": dict(traffic.snapshots[one.venue_symbol].asks),
        }
        for one in carried(traffic)
    }
    there: list[tuple[str, bytes]] = []
    back: list[tuple[str, bytes]] = []
    for frame in traffic.of("depth"):
        message = json.loads(frame)
        name, data = message["data"]["s"], message["data"]
        if name not in books or data["u"] <= traffic.snapshots[name].last_id:
            continue
        undo = {**data, "b": [], "a": []}
        for side in ("b", "a"):
            for price, size in data[side]:
                undo[side].append([price, books[name][side].get(price, _GONE)])
                if size == _GONE:
                    books[name][side].pop(price, None)
                else:
                    books[name][side][price] = size
        there.append((name, frame))
        text = json.dumps({**message, "data": undo}, separators=(",", ":"))
        back.append((name, text.encode()))
    last = {name: traffic.snapshots[name].last_id for name in books}
    out = []
    for _ in range(passes):
        for name, frame in (*there, *reversed(back)):
            first, last[name] = last[name] + 1, last[name] + 2
            out.append(_IDS.sub(b'"U":%d,"u":%d' % (first, last[name]), frame))
    return out
