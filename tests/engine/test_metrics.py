"""The exposition: every name keeps Prometheus' conventions, every value is what shared memory holds."""

from __future__ import annotations

import math
import re
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from engine.http import metrics
from engine.http.sample import CellSample, FeedSample, HistogramSample, InstrumentSample
from shm import counters
from shm.counters import FeedCounter
from shm.layout import State

DATED = 'BTC/USD:BTC-220527"\\'  # no venue has quotes in a name; a label survives them all the same
SAMPLES = [
    FeedSample(
        name="binance_spot",
        state=State.LIVE,
        generation=7,
        epoch=3,
        pid=42,
        heartbeat_age=0.025,
        counters={name: index for index, name in enumerate(counters.FEED)} | {"novelty": 5},
        histograms={
            "venue_to_receive": HistogramSample(3, 3_000_000, [(1 << 18, 1), ((1 << 20) - 1, 2)]),
            "receive_to_publish": HistogramSample(2, 1 << 40, [(300, 1), (1 << 39, 1)]),
        },
        instruments=[
            InstrumentSample(
                "BTC/USDT",
                {"top": CellSample(State.LIVE, 0.5), "book": CellSample(State.RESYNC, None)},
                dict.fromkeys(counters.INSTRUMENT, 11),
            ),
            InstrumentSample(DATED, {"top": CellSample(State.STALE, 0.5)}),
        ],
    ),
    FeedSample(name="gone", problem="it does not exist"),
]


def exposition() -> str:
    return metrics.render(lambda: SAMPLES).decode()


def values() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(exposition())
        for sample in family.samples
    }


FEED = ("feed", "binance_spot")


def test_values() -> None:
    found = values()
    assert found["tickring_feed_state", (FEED,)] == 3
    assert found["tickring_feed_state", (("feed", "gone"),)] == 0
    assert found["tickring_feed_heartbeat_age_seconds", (FEED,)] == 0.025
    assert found["tickring_messages_total", (FEED,)] == FeedCounter.MESSAGES
    assert found["tickring_worker_restarts_total", (FEED,)] == FeedCounter.RESTARTS
    assert found["tickring_received_bytes_total", (FEED,)] == FeedCounter.BYTES
    assert found["tickring_novelty_total", (FEED,)] == 5
    top = (("channel", "top"), FEED, ("symbol", "BTC/USDT"))
    book = (("channel", "book"), FEED, ("symbol", "BTC/USDT"))
    assert found["tickring_instrument_state", (("channel", "top"), FEED, ("symbol", DATED))] == 2
    assert found["tickring_instrument_state", top] == 3
    assert found["tickring_instrument_state", book] == 1
    assert found["tickring_instrument_age_seconds", top] == 0.5
    assert ("tickring_instrument_age_seconds", book) not in found, "no event yet: no age"
    assert found["tickring_instrument_gaps_total", (FEED, ("symbol", "BTC/USDT"))] == 11
    assert any(name == "tickring_build_info" for name, _ in found)


def test_histograms_are_cumulative_in_seconds() -> None:
    found = values()
    buckets = {
        float(dict(labels)["le"]): value
        for (name, labels), value in found.items()
        if name == "tickring_venue_to_receive_seconds_bucket"
    }
    assert buckets[(1 << 17) / 1e9] == 0
    assert buckets[(1 << 18) / 1e9] == 1
    assert buckets[(1 << 20) / 1e9] == 3
    assert buckets[math.inf] == 3
    assert found["tickring_venue_to_receive_seconds_count", (FEED,)] == 3
    assert found["tickring_venue_to_receive_seconds_sum", (FEED,)] == 0.003
    assert found["tickring_receive_to_publish_seconds_count", (FEED,)] == 2, (
        "beyond the last bound counts too"
    )


@given(st.lists(st.tuples(st.integers(0, 1 << 36), st.integers(1, 10)), max_size=40))
def test_cumulative_counts_exactly_at_every_bound(raw: list[tuple[int, int]]) -> None:
    made: dict[int, int] = {}
    for value, count in raw:
        index = next(i for i in range(512) if counters.bucket_bounds(i)[1] >= value)
        largest = counters.bucket_bounds(index)[1]
        made[largest] = made.get(largest, 0) + count
    histogram = HistogramSample(sum(made.values()), 0, sorted(made.items()))
    for bounds in (metrics.INSIDE, metrics.ACROSS):
        found = metrics.cumulative(histogram, bounds)
        assert [float(le) for le, _ in found] == [*(bound / 1e9 for bound in bounds), math.inf]
        for bound, (_, count) in zip(bounds, found, strict=False):
            # A power of two itself lies in the bucket above; one nanosecond in 128 does not show.
            assert count == sum(n for value, n in raw if value < bound)
        assert found[-1][1] == histogram.count


def test_pings_are_what_they_are_counted_as() -> None:
    """The counter `pings` is of `pings_received` (`workers.worker.feed_state`): the venue's, not ours."""
    assert "that the venue sent us" in metrics.FEED_COUNTERS["pings"][1]


def test_every_counter_of_shared_memory_has_a_name_and_a_help() -> None:
    assert set(counters.INSTRUMENT) == set(metrics.INSTRUMENT_COUNTERS)
    assert set(counters.FEED) == set(metrics.FEED_COUNTERS)
    assert set(counters.HISTOGRAMS) == set(metrics.HISTOGRAMS)


def test_names_keep_the_conventions() -> None:
    for family in text_string_to_metric_families(exposition()):
        assert re.fullmatch(r"tickring_[a-z][a-z_]*[a-z]", family.name), family.name
        assert family.documentation.endswith("."), family.name
        assert not re.search(
            r"_(ms|ns|us|milliseconds|kb|count|sum|bucket|info)$", family.name.removesuffix("_info")
        )
        if family.type == "counter":
            assert all(sample.name.endswith("_total") for sample in family.samples)
        else:
            assert not family.name.endswith("_total")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_nothing_to_say() -> None:
    check = subprocess.run(
        ["promtool", "check", "metrics"], input=exposition(), text=True, capture_output=True
    )
    assert (check.returncode, check.stdout + check.stderr) == (0, "")
