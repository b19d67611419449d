"""No venue's native decoder reads beyond its frame: frames, whole, cut and damaged, right before a page that
cannot be read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.fixture import load
from tests.conformance.malformed import seeds
from workers.venues import venue

ROOT = Path(__file__).resolve().parents[3]
MOST = 1500  # bytes of a frame that is cut everywhere; longer ones differ from it in levels alone

GUARDED = """
import ctypes, json, mmap, random, sys
sys.path[:0] = sys.argv[1:2]
from workers.venues import venue

page = mmap.PAGESIZE
area = mmap.mmap(-1, 2 * page)
address = ctypes.addressof(ctypes.c_char.from_buffer(area))
assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(address + page), page, 0) == 0
view = memoryview(area)
decoder = venue.load(sys.argv[2]).data.decoder()
for symbol, scale in json.loads(sys.stdin.readline()).items():
    decoder.add_symbol(symbol, *scale)
chance = random.Random(7)
done = taken = 0
for line in sys.stdin:
    frame = bytes.fromhex(line)
    for cut in range(len(frame) + 1):
        part = bytearray(frame[:cut])
        for _ in range(2):
            area[page - cut : page] = bytes(part)
            taken += decoder.decode_messages(view[page - cut : page])[0].code != 0
            done += 1
            if cut:
                # Mostly near the end: what is damaged there is what is read last.
                at = cut - 1 - chance.randrange(min(cut, 24))
                part[at] = chance.choice(b'0123456789."\\\\]},-' + bytes(range(0, 256, 17)))
if sys.argv[3:]:
    area[page]  # negative control
print(done, taken)
"""


@pytest.mark.parametrize("feed", venue.names())
def test_nothing_is_read_beyond_the_end(feed: str) -> None:
    fixture = load(feed)
    if venue.load(feed).data.decoder is None:
        pytest.skip(f"{feed} has no native decoder")
    frames = [frame for frame in dict.fromkeys(seeds(fixture)) if len(frame) <= MOST][:40]
    text = "\n".join([json.dumps(fixture.scales), *(frame.hex() for frame in frames)])
    guarded = [sys.executable, "-c", GUARDED, str(ROOT), feed]
    outcome = subprocess.run(guarded, input=text, capture_output=True, text=True, timeout=60, check=False)
    assert outcome.returncode == 0, outcome.stderr
    done, taken = map(int, outcome.stdout.split())
    assert done == 2 * sum(len(frame) + 1 for frame in frames)
    assert taken >= len(fixture.samples)
    control = subprocess.run(
        [*guarded, "x"], input="{}", capture_output=True, text=True, timeout=60, check=False
    )
    assert control.returncode < 0
