"""Latency histograms: the C writer and the Python reader share one arithmetic."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

import shm
from shm import counters, layout
from shm.counters import FeedCounter, InstrumentCounter
from shm.writer import Writer


def test_buckets_tile_the_numbers() -> None:
    low, expected = 0, 0
    for index in range(layout.HISTOGRAM_SUB + 61 * layout.HISTOGRAM_SUB):
        low, high = counters.bucket_bounds(index)
        assert low == expected, index
        assert high >= low
        expected = high + 1
    assert expected == 2**64


@given(st.integers(0, 2**64 - 1))
def test_python_bucket_is_the_arithmetic_of_c(value: int) -> None:
    # tr_bucket, by hand.
    octave = value.bit_length() - 1
    index = value if value < 8 else (octave - 2) * 8 + ((value >> (octave - 3)) & 7)
    low, high = counters.bucket_bounds(index)
    assert low <= value <= high
    assert index < layout.HISTOGRAM_BUCKETS


def test_c_puts_each_value_into_the_bucket_that_python_says(instance: str, writer: Writer) -> None:
    values = [0, 1, 7, 8, 9, 15, 16, 17, 1000, 12_345, 2**31, 2**40 + 1, 2**62, 2**63 - 1]
    for value in values:
        writer.observe(0, value)
    found = shm.attach("feed", instance).histograms()["venue_to_receive"]
    assert (found.count, found.max) == (len(values), max(values))
    assert found.sum == sum(values) % 2**64
    uppers = [upper for upper, n in found.buckets for _ in range(n)]
    bounds = [counters.bucket_bounds(i) for i in range(496)]
    assert uppers == [next(high for low, high in bounds if low <= value <= high) for value in values]


def test_negative_latency_counts_as_zero(instance: str, writer: Writer) -> None:
    writer.observe(1, -5)
    found = shm.attach("feed", instance).histograms()["receive_to_publish"]
    assert (found.count, found.sum, found.max, found.buckets) == (1, 0, 0, [(0, 1)])


def test_counters_by_label(instance: str, writer: Writer) -> None:
    writer.count_up(FeedCounter.GAPS, 3)
    writer.count_instrument(1, InstrumentCounter.TRADES, 7)
    found = shm.attach("feed", instance).counters()
    assert found.feed["gaps"] == 3
    assert set(found.feed) == set(counters.FEED)
    assert found.instruments["ETH/USDT"]["trades"] == 7
    assert found.instruments["BTC/USDT"] == dict.fromkeys(counters.INSTRUMENT, 0)


@pytest.mark.parametrize("call", ["count_up", "observe"])
def test_python_face_checks_bounds(writer: Writer, call: str) -> None:
    method: Callable[[int, int], None] = getattr(writer, call)
    with pytest.raises(IndexError):
        method(64, 1)
    with pytest.raises(IndexError):
        writer.count_instrument(2, 0)
    with pytest.raises(IndexError):
        writer.count_instrument(0, 8)
