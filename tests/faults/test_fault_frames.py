"""The proxy's own framing: nothing lost, every boundary found, however the bytes are chunked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faults.frames import BINARY, CLOSE, PING, PONG, TEXT, Frame, Part, Splitter, decode
from workers.sim.transport import encode

HEADS = {
    "request": b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nSec-WebSocket-Key: a\r\n\r\n",
    "answer": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
}

frames = st.builds(
    Frame,
    fin=st.booleans(),
    rsv=st.integers(0, 7),
    opcode=st.sampled_from([0, TEXT, BINARY, CLOSE, PING, PONG, 3]),
    mask=st.one_of(st.just(b""), st.binary(min_size=4, max_size=4)),
    payload=st.one_of(st.binary(max_size=200), st.sampled_from([b"x" * 126, b"y" * 65_536])),
)


def chunked(data: bytes, sizes: list[int]) -> list[bytes]:
    """`data` in chunks of these sizes, over and over."""
    sizes = [max(size, len(data) // 5_000) for size in sizes]  # a test's patience has a bound too
    chunks, at, turn = [], 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        chunks.append(data[at : at + size])
        at, turn = at + size, turn + 1
    return chunks


sizes = st.lists(st.integers(1, 70_000), min_size=1, max_size=6)


@given(frames)
def test_a_frame_survives_being_taken_apart(frame: Frame) -> None:
    assert decode(frame.encode()) == frame


@given(st.lists(frames, max_size=6), st.sampled_from(sorted(HEADS)), sizes)
def test_pieces_are_the_bytes_and_end_where_frames_end(
    sent: list[Frame], head: str, sizes: list[int]
) -> None:
    data = HEADS[head] + b"".join(frame.encode() for frame in sent)
    splitter = Splitter()
    pieces = [piece for chunk in chunked(data, sizes) for piece in splitter.feed(chunk)]
    assert b"".join(piece.data for piece in pieces) == data
    units, unit = [], b""
    for piece in pieces:
        assert piece.first == (not unit)
        unit += piece.data
        if piece.last:
            units.append((piece.part, unit))
            unit = b""
    assert unit == b""
    assert units == [(Part.HEAD, HEADS[head])] + [(Part.FRAME, frame.encode()) for frame in sent]
    assert splitter.frames == len(sent)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\x81\x7e",
        b"POST /order HTTP/1.1\r\n\r\n\x81\x7e\xff",
        b"\x16\x03\x01\x02\x00\x01" + b"\r\n\r\n\x81\x00",
        b"x" * 100_000 + b"\r\n\r\n",
    ],
    ids=["an answer", "a request", "TLS", "no head at all"],
)
def test_what_is_no_websocket_is_opaque(data: bytes) -> None:
    splitter = Splitter()
    pieces = [piece for chunk in chunked(data, [7]) for piece in splitter.feed(chunk)]
    assert b"".join(piece.data for piece in pieces) == data
    assert Part.FRAME not in {piece.part for piece in pieces}


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_two_other_hands_write_the_same_frames(size: int) -> None:
    payload = bytes(range(256)) * (size // 256 + 1)
    ours = Frame(True, 0, BINARY, b"", payload[:size]).encode()
    assert ours == encode(payload[:size], BINARY)  # the simulated venue's transport
