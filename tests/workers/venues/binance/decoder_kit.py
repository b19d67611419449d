"""What the tests of Binance's decoders share, in every market: both decoders of a market and how they are
compared, captures, and mutated frames."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import strategies as st

from workers.decode.normal import Decoded, Scale, disagreement
from workers.venues.binance.parser import BinanceParser, Dialect

ROOT = Path(__file__).resolve().parents[4]
CAPTURES = ROOT.parent / "shared/captures"


def combined(event: bytes, stream: str) -> bytes:
    """The message of a combined endpoint that carries `event`."""
    return b'{"stream":"' + stream.encode() + b'","data":' + event + b"}"


@dataclass(frozen=True)
class Market:
    """A market's decoders, and its frames.

    Attributes:
        name: of the venue's folder.
        decoder: the native decoder's class.
        dialect, normalise: of the reference decoder.
        read_listing, instruments, symbol_of: the listing of a capture -> its instruments.
        scales: venue symbol -> scale, of the symbols in `events`.
        events: one of each shape, raw; the first is a top.
        depth: the depth update among them.
        stream: the name of a stream, for combined messages.
        level: a level of the book, with ``%d`` for its price.
    """

    name: str
    decoder: Any
    dialect: Dialect
    normalise: Callable[[Any, dict[str, Scale]], Decoded]
    read_listing: Callable[[str], Any]
    instruments: Callable[[Any, list[str]], Any]
    symbol_of: Callable[[Any], str]
    scales: dict[str, Scale]
    events: list[bytes]
    depth: bytes
    stream: str
    level: bytes

    def __repr__(self) -> str:
        return self.name

    @property
    def frames(self) -> list[bytes]:
        return self.events + [self.combined(event) for event in self.events]

    @property
    def small(self) -> Path:
        """The capture that is part of the repository."""
        return ROOT / f"tests/fixtures/{self.name}_small.jsonl.gz"

    @property
    def full(self) -> Path:
        """The whole capture, where it is there."""
        return CAPTURES / self.name / "session.jsonl.gz"

    def combined(self, event: bytes) -> bytes:
        return combined(event, self.stream)

    def make_decoder(self, scales: dict[str, Scale] | None = None, **options: int) -> Any:
        decoder = self.decoder(**options)
        for symbol, scale in (self.scales if scales is None else scales).items():
            decoder.add_symbol(symbol, *scale)
        return decoder

    def reference(self, data: bytes, scales: dict[str, Scale] | None = None) -> Decoded:
        """The normal form by the reference decoder."""
        parser = BinanceParser({symbol: symbol for symbol in self.scales}, self.dialect)
        return self.normalise(parser.parse(data).data, self.scales if scales is None else scales)

    def check(self, data: bytes) -> Decoded:
        """The normal form by the native decoder, which the reference agrees with."""
        native: Decoded = self.make_decoder().decode_message(data)
        assert disagreement([native], [self.reference(data)]) is None, data
        return native

    def capture(self, path: Path) -> tuple[dict[str, Scale], list[bytes]]:
        """Scales by the capture's own exchangeInfo, and every message from the venue."""
        if not path.exists():
            pytest.skip(f"{path} is not here")
        frames, info = [], None
        with gzip.open(path, "rt") as lines:
            for line in lines:
                row = json.loads(line)
                if row["kind"] == "http" and row["url"].endswith("exchangeInfo"):
                    info = self.read_listing(row["text"])
                elif row["kind"] == "ws" and row["dir"] == "in":
                    frames.append(row["text"].encode())
        assert info is not None
        assert frames
        names = {json.loads(frame).get("data", {}).get("s") for frame in frames}
        wanted = [self.symbol_of(entry) for entry in info.entries if entry.symbol in names]
        return {
            made.venue_symbol: Scale(slot, made.price_exp, made.size_exp)
            for slot, made in enumerate(self.instruments(info, wanted).instruments)
        }, frames

    def differences(
        self,
        frames: list[bytes],
        scales: dict[str, Scale],
        twin: Callable[[Any, dict[str, Scale]], Decoded] | None = None,
    ) -> tuple[list[str], list[Decoded]]:
        """What disagrees between the native decoder and `twin` (the reference), raw and combined; and what
        was decoded."""
        twin = twin or self.normalise
        decoder = self.make_decoder(scales)
        parser = BinanceParser({}, self.dialect)
        found, decoded = [], []
        for frame in frames:
            payload = bytes(msgspec.json.decode(frame, type=dict[str, msgspec.Raw])["data"])
            native = decoder.decode_message(frame)
            decoded.append(native)
            assert decoder.decode_message(payload) == native
            if problem := disagreement([native], [twin(parser.parse(frame).data, scales)]):
                found.append(problem)
        return found, decoded

    def check_reordered(self, frame: bytes, chance: random.Random, escaped: bool) -> None:
        """Its keys in another order, and its symbol with an escape: the reference decodes it alike."""
        event = json.loads(frame)
        inner = event.get("data", event)
        keys = list(inner)
        chance.shuffle(keys)
        text = json.dumps({key: inner[key] for key in keys}, separators=(",", ":"))
        if escaped:
            text = text.replace("USDT", "\\u0055SDT", 1)
        data = self.combined(text.encode()) if "data" in event else text.encode()
        self.check(data)
        assert self.reference(data) == self.reference(frame)


# -- mutated frames -------------------------------------------------------------------------------------
NUMBER = st.one_of(
    st.decimals(0, 10**12, places=8).map(lambda value: format(value, "f")),
    st.decimals(-1, 10**6, places=3).map(lambda value: format(value, "f")),
    st.integers(0, 2**66).map(str),
    st.text("0123456789.-e", max_size=24),
)
INTEGER = st.one_of(st.integers(0, 2**65).map(str), st.text("0123456789-.e", min_size=1, max_size=20))


@st.composite
def mutated(draw: st.DrawFn, frames: list[bytes]) -> bytes:
    """One of `frames`, some of its values replaced, then some bytes flipped, cut, put in or repeated."""
    data = draw(st.sampled_from(frames))
    for _ in range(draw(st.integers(0, 3))):
        event = json.loads(data)
        inner = event.get("data", event)
        if isinstance(inner.get("o"), dict) and draw(st.booleans()):
            inner = inner["o"]
        key = draw(st.sampled_from(sorted(inner)))
        if isinstance(inner[key], str) and key not in "es":
            old, new = f'"{key}":"{inner[key]}"', f'"{key}":"{draw(NUMBER)}"'
        elif isinstance(inner[key], int) and not isinstance(inner[key], bool):
            old, new = f'"{key}":{inner[key]}', f'"{key}":{draw(INTEGER)}'
        else:
            continue
        replaced = data.replace(old.encode(), new.encode(), 1)
        try:
            json.loads(replaced)
        except ValueError:
            return replaced
        data = replaced
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        byte = draw(st.sampled_from(b'0123456789.,:"[]{}\\ \0u\xff') | st.integers(0, 255))
        match draw(st.integers(0, 4)):
            case 0:
                data = data[:at] + bytes([byte]) + data[at + 1 :]
            case 1:
                data = data[:at] + bytes([byte]) + data[at:]
            case 2:
                data = data[:at] + data[at + 1 :]
            case 3:
                data = data[:at]
            case _:
                data = data[:at] + data[draw(st.integers(0, len(data))) :]
    return data
