"""Binance spot: its error codes."""

from __future__ import annotations

from workers.venues.binance.errors import Codes

# Venue docs, "Error codes".
UNKNOWN_OUTCOME = frozenset({-1006, -1007})
CODES = Codes(
    busy=frozenset({-1000, -1001, -1008, -1016, -1034}),
    too_many=frozenset({-1003, -1015}),
    unknown_outcome=UNKNOWN_OUTCOME,
    authentication=frozenset({-1002, -1022, -2014, -2015}),
    clock=frozenset({-1021}),
    unsure_of_write=UNKNOWN_OUTCOME | {-1000, -1001},
)
