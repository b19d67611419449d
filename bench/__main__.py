"""All benchmarks, or those named: ``python -m bench [NAME ...] [--json] [--quick | --seconds N]``."""

from __future__ import annotations

import sys

from bench.harness import run_all

NAMES = (
    "ring_latency",
    "ring_throughput",
    "decode",
    "book",
    "venues",
    "wire_to_ring",
    "wire_to_reader",
    "reader_api",
    "restart",
    "reconnect",
    "rest",
    "http",
    "breaker",
    "resilience",
    "sign",
    "subscription",
    "memory",
    "five",
)


def main() -> int:
    """Exit code 0: all ran; 1: one failed; 2: no such benchmark."""
    named = [argument for argument in sys.argv[1:] if argument in NAMES]
    rest = [argument for argument in sys.argv[1:] if argument not in NAMES]
    strange = [word for i, word in enumerate(rest) if word[:1] != "-" and rest[max(0, i - 1)] != "--seconds"]
    if strange:
        print(f"no benchmark {strange[0]!r}; there are: {', '.join(NAMES)}", file=sys.stderr)
        return 2
    return run_all(named or NAMES, rest)


if __name__ == "__main__":
    sys.exit(main())
