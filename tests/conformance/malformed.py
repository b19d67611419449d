"""Damaged frames into every decoder: native and reference agree, and give only declared outcomes.

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
from workers.capture.reader import read
from workers.decode.normal import Decoded, disagreement
from workers.venues import venue as venues
from workers.venues.venue import Venue

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


class Judge:
    """Checks one frame: the FORBIDDEN outcome as one line; None: there is none.

    1. Native and reference give the same, unless the native decoder leaves the frame to the reference.
    2. The native decoder gives only declared codes; it cannot raise.
    3. The reference decoder raises nothing but ValueError, and the normal form nothing at all.
    4. Whether a frame is an acknowledgement, or announces the end of a connection, is decided without an
       error.

    `outcomes` counts the codes of the frames. `twin` replaces the reference, for negative controls.
    """

    def __init__(self, fixture: Fixture, venue: Venue, twin: Reference | None = None) -> None:
        self._decoder = make_decoder(venue, fixture.scales)
        parser = make_parser(fixture, venue, list(fixture.scales))
        strategies = venue.data.websocket(config(fixture), {symbol: symbol for symbol in fixture.scales})
        self._others = (
            strategies.subscription_strategy.match_acknowledgement,
            strategies.connection_strategy.announced_end,
            parser.classify,
            parser.extract_symbol,
        )
        self._reference = twin or (lambda frame: reference(venue, parser, frame, fixture.scales))
        self.outcomes: Counter[str] = Counter()

    def __call__(self, frame: bytes) -> str | None:
        try:
            forms = self._reference(frame)
            for ask in self._others:
                ask(frame)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        self.outcomes[f"reference {forms[0].code.name}" if forms else "reference nothing"] += 1
        if self._decoder is None:
            return None
        native = self._decoder.decode_messages(frame)
        self.outcomes[f"native {native[0].code.name}"] += 1
        if not DECLARED.issuperset(each.code for each in native):
            return f"undeclared: {native}"
        return disagreement(native, forms)


def faults(
    fixture: Fixture, venue: Venue, frames: Iterable[bytes], twin: Reference | None = None
) -> tuple[list[str], Counter[str]]:
    """The FORBIDDEN outcomes of these frames, one line each (at most ten), and how many had which code."""
    judge = Judge(fixture, venue, twin)
    found: list[str] = []
    for frame in frames:
        if (problem := judge(frame)) is not None:
            found.append(f"{frame!r}: {problem}")
            if len(found) == 10:
                break
    return found, judge.outcomes


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
        found, outcomes = faults(fixture, venues.load(feed), frames)
        counts = ", ".join(f"{name} {count}" for name, count in sorted(outcomes.items()))
        print(f"{feed}: {options.frames} frames in {time.monotonic() - began:.0f} s: {counts}", flush=True)
        for line in found:
            print(f"  {line}")
        failed = failed or bool(found)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
