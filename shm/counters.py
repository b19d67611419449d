"""The counters and histograms of a segment; a member's value is its place there."""

from __future__ import annotations

from enum import IntEnum

from shm import layout


class FeedCounter(IntEnum):
    """What is counted of a feed."""

    MESSAGES = 0
    BYTES = 1
    RECORDS = 2
    PARSE_ERRORS = 3
    MALFORMED = 4
    OVERSIZED = 5
    UNKNOWN = 6
    COLD_DROPPED = 7
    RECONNECTS = 8
    CONNECTS = 9
    RESYNCS = 10
    GAPS = 11
    SNAPSHOTS = 12
    AUDITS = 13
    AUDIT_ERRORS = 14
    PRECISION = 15
    SLOW = 16
    ACKS = 17
    REJECTS = 18
    PINGS = 19
    REST_REQUESTS = 20
    REST_ERRORS = 21
    RATE_LIMITED = 22
    HEARTBEATS = 23
    RESTARTS = 24
    FIRST_EVENT_MISSES = 25
    RESUBSCRIBES = 26
    FREEZES = 27
    OUTDATED = 28
    RENEWALS = 29
    RENEWALS_FAILED = 30
    REST_RETRIES = 31
    REST_FAILOVERS = 32
    CIRCUIT_OPENS = 33
    REST_WAITING = 34
    REST_IN_FLIGHT = 35
    REST_CONNECTIONS = 36
    CIRCUITS_OPEN = 37
    LISTINGS = 38
    LISTING_SKIPPED = 39
    LISTING_SHADOWED = 40


class InstrumentCounter(IntEnum):
    """What is counted of one instrument."""

    MESSAGES = 0
    GAPS = 1
    RESYNCS = 2
    AUDIT_ERRORS = 3
    MALFORMED = 4
    TRADES = 5
    PRECISION = 6


class HistogramId(IntEnum):
    """What is measured of a feed, in ns."""

    VENUE_TO_RECEIVE = 0
    RECEIVE_TO_PUBLISH = 1
    PING_RTT = 2
    REST_LATENCY = 3


# The labels that the segment carries, in the order of the places.
FEED = tuple(each.name.lower() for each in FeedCounter)
INSTRUMENT = tuple(each.name.lower() for each in InstrumentCounter)
HISTOGRAMS = tuple(each.name.lower() for each in HistogramId)
# Feed counters whose values go up and down.
GAUGES = frozenset({"rest_waiting", "rest_in_flight", "rest_connections", "circuits_open"})

assert len(FEED) <= layout.FEED_COUNTERS
assert len(INSTRUMENT) <= layout.INSTRUMENT_COUNTERS
assert len(HISTOGRAMS) <= layout.HISTOGRAMS


def bucket_bounds(index: int) -> tuple[int, int]:
    """Smallest and largest value, in ns, that falls into a histogram's bucket."""
    if index < layout.HISTOGRAM_SUB:
        return index, index
    octave, sub = divmod(index, layout.HISTOGRAM_SUB)
    shift = octave - 1
    low = (layout.HISTOGRAM_SUB + sub) << shift
    return low, low + (1 << shift) - 1
