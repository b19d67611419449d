"""Binance USD-M futures: its error codes."""

from __future__ import annotations

from workers.venues.binance.errors import Codes

# Venue docs, USD-M futures, "Error Codes". -1008: throttled to protect the system. -5028: the matching
# engine's own window of the timestamp. All of -2xxx, -4xxx and -5xxx else are refusals.
UNKNOWN_OUTCOME = frozenset({-1006, -1007})
CODES = Codes(
    busy=frozenset({-1000, -1001, -1008, -1016}),
    too_many=frozenset({-1003, -1015}),
    unknown_outcome=UNKNOWN_OUTCOME,
    authentication=frozenset({-1002, -1022, -2014, -2015}),
    clock=frozenset({-1021, -5028}),
    unsure_of_write=UNKNOWN_OUTCOME | {-1000, -1001},
)
