"""Frames that nobody sent, into every decoder: native and reference agree, and only say what is declared.

    python -m tests.conformance.malformed [--frames 200000] [VENUE ...]

is the full size (`make fuzz`); the suite does the same with fewer.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from tests.conformance.fixture import Fixture, load
from tests.conformance.mutations import mutants
from tests.conformance.player import DECLARED, config, make_decoder, make_parser, reference
from workers import venue as venues
from workers.decode.normal import DecodeCode, Decoded, disagreement
from workers.sim.capture import read
from workers.venue import Venue

FULL = 200_000
Reference = Callable[[bytes], list[Decoded]]


def seeds(fixture: Fixture) -> list[bytes]:
    """Real frames of every kind."""
    frames = [sample.frame for sample in fixture.samples.values()] + list(fixture.frames)
    if isinstance(fixture.heartbeats, Sequence):
        frames += fixture.heartbeats
    for recording in fixture.own:
        frames += [row.payload() for row in read(recording.path) if row.dir == "in"][:200]
    return frames


def faults(
    fixture: Fixture, venue: Venue, frames: Iterable[bytes], twin: Reference | None = None
) -> tuple[list[str], Counter[str]]:
    """What is FORBIDDEN, one line each (at most ten), and how many frames were called what.

    1. Native and reference say the same, unless the native decoder leaves the frame.
    2. The native decoder says only what is declared; it has no way to raise.
    3. The reference decoder raises nothing but ValueError, and the normal form nothing at all.
    4. What is told of a connection (an acknowledgement, an end) is decided without an error.
    """
    decoder = make_decoder(venue, fixture.scales)
    parser = make_parser(fixture, venue, list(fixture.scales))
    strategies = venue.websocket(config(fixture), {symbol: symbol for symbol in fixture.scales})
    told, announced = (
        strategies.subscription_strategy.match_acknowledgement,
        strategies.connection_strategy.announced_end,
    )
    found: list[str] = []
    said: Counter[str] = Counter()
    for frame in frames:
        try:
            forms = reference(venue, parser, frame, fixture.scales) if twin is None else twin(frame)
            told(frame)
            announced(frame)
            parser.classify(frame)
            parser.extract_symbol(frame)
            problem = None
        except Exception as error:
            forms, problem = [Decoded(DecodeCode.MALFORMED)], f"{type(error).__name__}: {error}"
        said[f"reference {forms[0].code.name}" if forms else "reference nothing"] += 1
        if problem is None and decoder is not None:
            native = decoder.decode_messages(frame)
            said[f"native {native[0].code.name}"] += 1
            problem = disagreement(native, forms)
            if not DECLARED.issuperset(each.code for each in native):
                problem = f"undeclared: {native}"
        if problem is not None:
            found.append(f"{frame!r}: {problem}")
            if len(found) == 10:
                break
    return found, said


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("venues", nargs="*", help="all of them")
    parser.add_argument("--frames", type=int, default=FULL)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    failed = False
    for feed in options.venues or venues.names():
        fixture, began = load(feed), time.monotonic()
        frames = mutants(seeds(fixture), options.frames, options.seed)
        found, said = faults(fixture, venues.load(feed), frames)
        counts = ", ".join(f"{name} {count}" for name, count in sorted(said.items()))
        print(f"{feed}: {options.frames} frames in {time.monotonic() - began:.0f} s: {counts}", flush=True)
        for line in found:
            print(f"  {line}")
        failed = failed or bool(found)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
