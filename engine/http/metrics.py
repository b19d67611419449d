"""Prometheus metrics, made from shared memory at the moment of the scrape; workers pay nothing for it.

Names follow Prometheus' conventions: base units (seconds, bytes), `_total` for counters, a state is a number
(0 DOWN, 1 RESYNC, 2 STALE, 3 LIVE) so that `tickring_feed_state < 3` is an alert.
"""

from __future__ import annotations

import platform
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from engine.http.sample import FeedSample, HistogramSample, not_ready
from engine.version import version
from shm.counters import GAUGES
from shm.readiness import Require, Verdict

# Feed counter -> metric and help. A counter that a newer worker adds is exported under its own name.
FEED_COUNTERS = {
    "messages": ("messages", "WebSocket messages received."),
    "bytes": ("received_bytes", "Bytes of WebSocket messages received."),
    "records": ("records", "Records published into the ring."),
    "parse_errors": ("parse_errors", "Messages that neither decoder could read."),
    "malformed": ("malformed_messages", "Messages with impossible content, skipped."),
    "oversized": ("oversized_messages", "Messages longer than max_frame; each closes its connection."),
    "unknown": ("unknown_messages", "Messages of a kind or symbol that was not asked for."),
    "cold_dropped": (
        "cold_dropped_messages",
        "Messages that the bounded queue of the cold path had no room for.",
    ),
    "reconnects": ("reconnects", "Connections made again after one was lost."),
    "connects": ("connects", "Connections made."),
    "resyncs": ("resyncs", "Books rebuilt from a fresh snapshot."),
    "gaps": ("gaps", "Missing sequences detected in the venue's streams."),
    "snapshots": ("snapshots", "Depth snapshots fetched."),
    "audits": ("audits", "Books compared with a fresh snapshot."),
    "audit_errors": ("audit_errors", "Audits that found a difference."),
    "precision": ("precision_errors", "Messages with a number that did not fit the instrument's exponents."),
    "slow": ("slow_messages", "Messages that took longer than 1 ms to process."),
    "acks": ("acknowledgements", "Subscriptions acknowledged by the venue."),
    "rejects": ("rejections", "Subscriptions refused by the venue."),
    "pings": ("pings", "Ping frames that the venue sent us (ours: tickring_ping_rtt_seconds)."),
    "rest_requests": ("rest_requests", "REST requests sent."),
    "rest_errors": ("rest_errors", "REST requests that failed."),
    "rate_limited": ("rate_limited", "REST answers that ask us to slow down (429, 418)."),
    "heartbeats": ("heartbeats", "Heartbeats stored by the worker."),
    "restarts": ("worker_restarts", "Workers that took over this feed after the first one."),
    "first_event_misses": ("first_event_misses", "Subscriptions that delivered nothing in time."),
    "freezes": ("freezes", "Times the worker's process stood still for longer than the heartbeat limit."),
    "outdated": ("outdated_messages", "Messages older than what is published, not used."),
    "resubscribes": ("resubscribes", "Subscriptions made again because they did not deliver."),
    "renewals": (
        "connection_renewals",
        "Connections replaced before their end, without a gap.",
    ),
    "renewals_failed": ("connection_renewals_failed", "Planned replacements that could not be made."),
    "rest_retries": ("rest_retries", "REST attempts after a request's first one."),
    "rest_failovers": ("rest_failovers", "Changes of the REST endpoint in use."),
    "circuit_opens": ("circuit_opens", "Times a REST circuit opened."),
    "rest_waiting": ("rest_waiting_requests", "REST requests that wait for a permit or a connection."),
    "rest_in_flight": ("rest_requests_in_flight", "REST requests being carried out."),
    "rest_connections": ("rest_open_connections", "Open connections of the REST pool."),
    "listings": ("listings", "Readings of the venue's listing that were used."),
    "listing_skipped": ("listing_skipped", "Entries of the listing that cannot be read, each counted once."),
    "listing_shadowed": (
        "listing_shadowed",
        "Entries of the listing passed over for another of the same symbol, each counted once.",
    ),
    "circuits_open": ("circuits_open", "REST circuits that are open or half open."),
}
INSTRUMENT_COUNTERS = {
    "messages": ("messages", "Messages of this instrument."),
    "gaps": ("gaps", "Missing sequences of this instrument."),
    "resyncs": ("resyncs", "Times this instrument's book was rebuilt."),
    "audit_errors": ("audit_errors", "Audits that found a difference in this instrument's book."),
    "malformed": ("malformed_messages", "Messages of this instrument with impossible content."),
    "trades": ("trades", "Trades of this instrument."),
    "precision": ("precision_errors", "Messages of this instrument with a number that does not fit."),
}
HISTOGRAMS = {
    "venue_to_receive": "From the venue's event time to our receipt (includes both clocks' error).",
    "receive_to_publish": "From receipt on the socket to the record being readable.",
    "ping_rtt": "Round trip of our pings to the venue.",
    "rest_latency": "Round trip of REST requests.",
}
# Bounds in ns. The log-linear buckets end at every power of two, so the counts at these are exact. Latency
# inside the process starts at 256 ns, that across a network at 131 us; both end where all is wrong anyway.
INSIDE = [1 << power for power in range(8, 28)]
ACROSS = [1 << power for power in range(17, 35)]
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"  # what every Prometheus reads
BOUNDS = {"receive_to_publish": INSIDE}


class ShmCollector(Collector):
    """Renders samples; `take` is called once a scrape."""

    def __init__(self, take: Callable[[], Iterable[FeedSample]], require: Require = "listed") -> None:
        self._take = take
        self._require = require

    def collect(self) -> Iterator[Metric]:
        samples = list(self._take())
        verdicts = [sample.verdict for sample in samples]
        build = InfoMetricFamily("tickring_build", "Version of the engine.")
        build.add_metric([], {"version": version(), "python": platform.python_version()})
        yield build
        yield from _feeds(samples)
        yield from _readiness(samples, verdicts, self._require)
        yield from _counters(samples)
        yield from _instruments(samples)
        yield from _delivery(samples, verdicts)
        yield from _histograms(samples)


def render(take: Callable[[], Iterable[FeedSample]], require: Require = "listed") -> bytes:
    """The text that `/metrics` answers with."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ShmCollector(take, require))
    return generate_latest(registry)


def _feeds(samples: list[FeedSample]) -> Iterator[Metric]:
    state = GaugeMetricFamily(
        "tickring_feed_state", "State of the feed: 0 DOWN, 1 RESYNC, 2 STALE, 3 LIVE.", labels=["feed"]
    )
    age = GaugeMetricFamily(
        "tickring_feed_heartbeat_age_seconds", "Since the worker's last heartbeat.", labels=["feed"]
    )
    epoch = GaugeMetricFamily("tickring_feed_epoch", "Incarnation of the writer.", labels=["feed"])
    generation = GaugeMetricFamily("tickring_feed_generation", "Generation of the segment.", labels=["feed"])
    count = GaugeMetricFamily("tickring_feed_instruments", "Instruments of the feed.", labels=["feed"])
    for sample in samples:
        state.add_metric([sample.name], int(sample.state))
        if sample.problem is None:
            if sample.heartbeat_age is not None:  # a missing age is no fresh one
                age.add_metric([sample.name], sample.heartbeat_age)
            epoch.add_metric([sample.name], sample.epoch)
            generation.add_metric([sample.name], sample.generation)
            count.add_metric([sample.name], len(sample.instruments))
    yield from (state, age, epoch, generation, count)


# Metric, help, and what of a verdict it counts.
VERDICTS: tuple[tuple[str, str, Callable[[Verdict], Collection[object]]], ...] = (
    ("cells_missing", "Tops and books that are not delivered.", lambda v: v.missing),
    ("cells_waiting", "Tops and books that have nothing yet, where nothing is overdue.", lambda v: v.waiting),
    ("channels_overdue", "Channels whose next event is late.", lambda v: v.overdue),
    ("symbols_not_listed", "Symbols that the venue does not list.", lambda v: v.not_listed),
    ("symbols_halted", "Symbols that the venue lists and does not trade.", lambda v: v.halted),
)


def _readiness(samples: list[FeedSample], verdicts: list[Verdict], require: Require) -> Iterator[Metric]:
    """Numbers a feed, of the same verdict as `/readyz`."""
    ready = GaugeMetricFamily("tickring_feed_ready", "1 while the feed is ready (/readyz).", labels=["feed"])
    for sample, verdict in zip(samples, verdicts, strict=True):
        ready.add_metric([sample.name], int(not_ready(sample, require, verdict) is None))
    yield ready
    for name, text, what in VERDICTS:
        family = GaugeMetricFamily(f"tickring_feed_{name}", text, labels=["feed"])
        for sample, verdict in zip(samples, verdicts, strict=True):
            if sample.problem is None:
                family.add_metric([sample.name], len(what(verdict)))
        yield family


def _delivery(samples: list[FeedSample], verdicts: list[Verdict]) -> Iterator[Metric]:
    """Series by symbol and channel. What is missing or overdue has one only while it is: thousands of zeros
    would make every scrape slower and say nothing."""
    labels = ["feed", "symbol", "channel"]
    status = GaugeMetricFamily(
        "tickring_instrument_status",
        "Status at the venue: 1 ACTIVE, 2 HALTED, 4 NOT_LISTED.",
        labels=labels[:2],
    )
    missing = GaugeMetricFamily(
        "tickring_instrument_missing",
        "State (0 DOWN, 1 RESYNC, 2 STALE) of a cell that is not delivered; present only then.",
        labels=labels,
    )
    overdue = GaugeMetricFamily(
        "tickring_channel_overdue",
        "1 where the channel's next event is late; present only then.",
        labels=labels,
    )
    age = GaugeMetricFamily(
        "tickring_channel_age_seconds",
        "Since the last event of a subscribed channel, before the first one since its acknowledgement.",
        labels=labels,
    )
    within = GaugeMetricFamily(
        "tickring_channel_expected_seconds",
        "Within how long after the last event the next one is owed; absent where nothing is.",
        labels=labels,
    )
    for sample, verdict in zip(samples, verdicts, strict=True):
        for topic, cell in verdict.missing.items():
            missing.add_metric([sample.name, *topic], int(cell.state))
        for topic in verdict.overdue:
            overdue.add_metric([sample.name, *topic], 1)
        for instrument in sample.instruments:
            if not instrument.subject.counts:
                continue
            status.add_metric([sample.name, instrument.symbol], int(instrument.status))
            for channel, delivery in instrument.channels.items():
                where = [sample.name, instrument.symbol, channel]
                age.add_metric(where, delivery.age)
                if delivery.within is not None:
                    within.add_metric(where, delivery.within)
    yield from (status, missing, overdue, age, within)


def _counters(samples: list[FeedSample]) -> Iterator[Metric]:
    present = {name for sample in samples for name in sample.counters}
    for name in [*FEED_COUNTERS, *sorted(present - FEED_COUNTERS.keys())]:
        metric, text = FEED_COUNTERS.get(name, (name, f"Counter {name} of the worker."))
        kind = GaugeMetricFamily if name in GAUGES else CounterMetricFamily
        family = kind(f"tickring_{metric}", text, labels=["feed"])
        for sample in samples:
            if sample.problem is None:
                family.add_metric([sample.name], sample.counters.get(name, 0))
        yield family


def _instruments(samples: list[FeedSample]) -> Iterator[Metric]:
    labels = ["feed", "symbol", "channel"]
    age = GaugeMetricFamily(
        "tickring_instrument_age_seconds", "Since the last event of this channel was received.", labels=labels
    )
    state = GaugeMetricFamily(
        "tickring_instrument_state", "State of the cell: 0 DOWN, 1 RESYNC, 2 STALE, 3 LIVE.", labels=labels
    )
    present = {
        name for sample in samples for instrument in sample.instruments for name in instrument.counters
    }
    counters = {}
    for name in [*INSTRUMENT_COUNTERS, *sorted(present - INSTRUMENT_COUNTERS.keys())]:
        metric, text = INSTRUMENT_COUNTERS.get(name, (name, f"Counter {name} of the instrument."))
        counters[name] = CounterMetricFamily(f"tickring_instrument_{metric}", text, labels=["feed", "symbol"])
    for sample in samples:
        for instrument in sample.instruments:
            for channel, cell in instrument.cells.items():
                where = [sample.name, instrument.symbol, channel]
                state.add_metric(where, int(cell.state))
                if cell.age is not None:
                    age.add_metric(where, cell.age)
            for name, value in instrument.counters.items():
                counters[name].add_metric([sample.name, instrument.symbol], value)
    yield from (age, state, *counters.values())


def _histograms(samples: list[FeedSample]) -> Iterator[Metric]:
    for name, text in HISTOGRAMS.items():
        family = HistogramMetricFamily(f"tickring_{name}_seconds", text, labels=["feed"])
        bounds = BOUNDS.get(name, ACROSS)
        for sample in samples:
            histogram = sample.histograms.get(name)
            if histogram is not None:
                family.add_metric([sample.name], cumulative(histogram, bounds), histogram.sum / 1e9)
        yield family


def cumulative(histogram: HistogramSample, bounds: list[int]) -> list[tuple[str, float]]:
    """Prometheus' buckets, (le in seconds, count up to it), from ours; `bounds` in ns, ascending."""
    counts = [0] * (len(bounds) + 1)
    for largest, count in histogram.buckets:
        counts[bisect_left(bounds, largest)] += count
    total = 0
    buckets = []
    for bound, count in zip(bounds, counts[:-1], strict=True):
        total += count
        buckets.append((repr(bound / 1e9), float(total)))
    # The writer counts while we read: the last bucket is the sum of what was read, never less than others.
    buckets.append(("+Inf", float(total + counts[-1])))
    return buckets
