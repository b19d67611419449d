"""Damaged frames, made from real ones by a seed. The same seed gives the same frames."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence

# What blind damage seldom makes; numbers at their limits, ends of structures, of JSON and of protobuf.
TOKENS = (
    b"0", b"-1", b"1e5", b".5", b"00", b"9223372036854775807", b"9223372036854775808", b"0.000000001",
    b'""', b"null", b"NaN", b"[]", b"{}", b"[[", b"]]", b'"]', b'["', b"\\u0030", b"\xff", b"\x00", b" ",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80", b"\xff\xff\xff\xff\x0f", b"\x0a\x00", b"\x12\x02",
)  # fmt: skip
TEXT = re.compile(rb"[0-9A-Z][0-9A-Z.]*")
SEPARATORS = (b",", b'"', b":", b"[", b"]", b"\x0a", b"\x12")


def mutants(frames: Sequence[bytes], count: int, seed: int) -> Iterator[bytes]:
    """`count` damaged frames, each of one of `frames` with one to three kinds of damage."""
    chance = random.Random(seed)
    for _ in range(count):
        frame = chance.choice(frames)
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            frame = _damaged(frame, frames, chance)
        yield frame


def _damaged(frame: bytes, frames: Sequence[bytes], chance: random.Random) -> bytes:
    size = len(frame)
    at = chance.randrange(size + 1)
    to = min(size, at + chance.choice((1, 1, 2, 4, 16, 64)))
    match chance.randrange(13):
        case 0 if size:  # a bit
            at = chance.randrange(size)
            return frame[:at] + bytes([frame[at] ^ (1 << chance.randrange(8))]) + frame[at + 1 :]
        case 1 if size:  # a byte
            at = chance.randrange(size)
            return frame[:at] + bytes([chance.randrange(256)]) + frame[at + 1 :]
        case 2:  # cut short
            return frame[:at]
        case 3:  # a piece missing
            return frame[:at] + frame[to:]
        case 4:  # a piece twice
            return frame[:to] + frame[at:to] + frame[to:]
        case 5:  # something put in
            return frame[:at] + chance.choice(TOKENS) + frame[at:]
        case 6:  # something put over
            return frame[:at] + chance.choice(TOKENS) + frame[to:]
        case 7:  # a field twice, or elsewhere
            return _fields(frame, chance)
        case 8:  # a digit more, less or another
            digits = [n for n, byte in enumerate(frame) if 48 <= byte <= 57]
            if digits:
                at = chance.choice(digits)
                return (
                    frame[:at]
                    + chance.choice((b"", b"9" * 19, b"%d" % chance.randrange(10)))
                    + frame[at + 1 :]
                )
            return frame[at:]
        case 9 | 10 | 11:  # another number, or letters, of the same length: no length before it is wrong
            return _text(frame, chance)
        case _:  # the head of one and the tail of another
            other = chance.choice(frames)
            return frame[:at] + other[chance.randrange(len(other) + 1) :]


def _fields(frame: bytes, chance: random.Random) -> bytes:
    separator = chance.choice(SEPARATORS)
    parts = frame.split(separator)
    one = chance.randrange(len(parts))
    parts.insert(chance.randrange(len(parts) + 1), parts[one])
    if chance.random() < 0.5:
        del parts[chance.randrange(len(parts))]
    return separator.join(parts)


def _text(frame: bytes, chance: random.Random) -> bytes:
    texts = list(TEXT.finditer(frame))
    if not texts:
        return frame
    found = chance.choice(texts)
    size = len(found[0])
    point = chance.randrange(size)
    digits = bytes(chance.choice(b"0123456789") for _ in range(size))
    made = chance.choice(
        (digits, b"0" * size, b"9" * size, digits[:point] + b"." + digits[point + 1 :], b"X" * size)
    )
    return frame[: found.start()] + made + frame[found.end() :]
