"""The names of the labelled counter and histogram slots; their order here is their place in the segment."""

from __future__ import annotations

from shm import layout

FEED = (
    "messages",
    "bytes",
    "records",
    "parse_errors",
    "malformed",
    "oversized",
    "unknown",
    "cold_dropped",
    "reconnects",
    "connects",
    "resyncs",
    "gaps",
    "snapshots",
    "audits",
    "audit_errors",
    "precision",
    "slow",
    "acks",
    "rejects",
    "pings",
    "rest_requests",
    "rest_errors",
    "rate_limited",
    "heartbeats",
    "restarts",
    "first_event_misses",
    "resubscribes",
    "freezes",
    "outdated",
    "renewals",
    "renewals_failed",
    "rest_retries",
    "rest_failovers",
    "circuit_opens",
    "rest_waiting",
    "rest_in_flight",
    "rest_connections",
    "circuits_open",
    "listings",
    "listing_skipped",
    "listing_shadowed",
)
# Of these the feed counter is a value that goes up and down.
GAUGES = frozenset({"rest_waiting", "rest_in_flight", "rest_connections", "circuits_open"})
INSTRUMENT = ("messages", "gaps", "resyncs", "audit_errors", "malformed", "trades", "precision")
HISTOGRAMS = ("venue_to_receive", "receive_to_publish", "ping_rtt", "rest_latency")

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
