"""Counts and latencies of a REST manager, in bounded memory: nothing is kept per request."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from workers.contract.rest import PerformanceTargets, RequestMetrics

COMPLIANT_NS = 50_000_000
COMPLIANT_SHARE = 0.95
ENDPOINTS = 128  # names with counts of their own; all others share one
OTHERS = "(others)"

# Log-linear: 16 sub-buckets an octave, so a percentile is right within 1/32 of itself; 2**42 ns: 73 minutes.
_SUB_BITS = 4
_OCTAVES = 38
_SIZE = (_OCTAVES + 1) << _SUB_BITS
_LARGEST = (1 << (_OCTAVES + _SUB_BITS)) - 1


def bucket(ns: int) -> int:
    """The bucket of a latency: exact below 32 ns, then 16 a doubling."""
    octave = ns.bit_length() - _SUB_BITS - 1
    return ns if octave <= 0 else (octave << _SUB_BITS) + (ns >> octave)


def middle(index: int) -> float:
    """The middle of a bucket, ns."""
    if index < 2 << _SUB_BITS:
        return float(index)
    octave = (index >> _SUB_BITS) - 1
    return float((index - (octave << _SUB_BITS) << octave) + (1 << octave) / 2)


class Latencies:
    """A histogram of latencies in ns."""

    __slots__ = ("_counts", "count", "fast", "max_ns", "slow", "sum_ns")

    def __init__(self) -> None:
        self.count = 0
        self.sum_ns = 0
        self.max_ns = 0
        self.fast = 0  # under 50 ms
        self.slow = 0  # over the target
        self._counts = [0] * _SIZE

    def add(self, ns: int, target_ns: int) -> None:
        self.count += 1
        self.sum_ns += ns
        if ns > self.max_ns:
            self.max_ns = ns
        if ns < COMPLIANT_NS:
            self.fast += 1
        if ns > target_ns:
            self.slow += 1
        self._counts[bucket(ns if ns < _LARGEST else _LARGEST)] += 1

    def merge(self, other: Latencies) -> None:
        self.count += other.count
        self.sum_ns += other.sum_ns
        self.max_ns = max(self.max_ns, other.max_ns)
        self.fast += other.fast
        self.slow += other.slow
        self._counts = [mine + theirs for mine, theirs in zip(self._counts, other._counts, strict=True)]

    def percentile_ms(self, share: float) -> float:
        """The nearest rank; 0.0 when there is nothing."""
        rank = min(self.count - 1, int(share * self.count))
        for index, count in enumerate(self._counts):
            rank -= count
            if rank < 0 < count:
                return min(middle(index), float(self.max_ns)) * 1e-6
        return 0.0

    @property
    def mean_ms(self) -> float:
        return self.sum_ns / self.count * 1e-6 if self.count else 0.0

    def summary(self) -> EndpointLatency:
        return EndpointLatency(
            count=self.count,
            p50_ms=self.percentile_ms(0.5),
            p95_ms=self.percentile_ms(0.95),
            p99_ms=self.percentile_ms(0.99),
            max_ms=self.max_ns * 1e-6,
        )


class EndpointLatency(msgspec.Struct, frozen=True, kw_only=True):
    """Of the requests of one endpoint that went on the wire, all their attempts together."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


class RestTally:
    """What became of the requests of one manager since the start or the last reset.

    A request that was denied by our own limits or cancelled by its caller is no evidence about the service:
    it counts in `denied` or `cancelled` alone, not in `total`. Latency is time on the wire, so that a request
    without an attempt has none and does not pass for a fast one.
    """

    def __init__(self, targets: PerformanceTargets) -> None:
        self.aim(targets)
        self.reset()

    def aim(self, targets: PerformanceTargets) -> None:
        """What counts as a violation from now on."""
        self.targets = targets
        self._target_ns = int(targets.max_latency_ms * 1e6)

    def reset(self) -> None:
        self.successful = 0
        self.failed_requests = 0
        self.denied = 0
        self.cancelled = 0
        self.cancelled_unknown = 0  # of those: not SAFE, and cancelled on the wire
        self.attempts = 0
        self.retries = 0
        self.rate_limit_hits = 0
        self.kinds: Counter[str] = Counter()
        self._endpoints: dict[str, Latencies] = {}

    def succeeded(self, name: str, busy_ns: int) -> None:
        self.successful += 1
        found = self._endpoints.get(name)
        (self._latencies(name) if found is None else found).add(busy_ns, self._target_ns)

    def failed(self, name: str, error: BaseException, busy_ns: int) -> None:
        self.failed_requests += 1
        self.kinds[type(error).__name__] += 1
        if busy_ns:
            self._latencies(name).add(busy_ns, self._target_ns)

    def _latencies(self, name: str) -> Latencies:
        found = self._endpoints.get(name)
        if found is None:
            if len(self._endpoints) >= ENDPOINTS:
                name = OTHERS
            found = self._endpoints.setdefault(name, Latencies())
        return found

    def overall(self) -> Latencies:
        every = Latencies()
        for each in self._endpoints.values():
            every.merge(each)
        return every

    def metrics(self, **of_the_manager: int) -> RequestMetrics:
        """`of_the_manager`: the fields that describe it as it is now."""
        every = self.overall()
        return RequestMetrics(
            total=self.successful + self.failed_requests,
            successful=self.successful,
            failed=self.failed_requests,
            avg_latency_ms=every.mean_ms,
            p95_latency_ms=every.percentile_ms(0.95),
            p99_latency_ms=every.percentile_ms(0.99),
            rate_limit_hits=self.rate_limit_hits,
            sub_50ms_requests=every.fast,
            latency_violations=every.slow,
            attempts=self.attempts,
            retries=self.retries,
            **of_the_manager,
        )

    def summary(self) -> dict[str, Any]:
        total = self.successful + self.failed_requests
        every = self.overall()
        compliance = every.fast / every.count if every.count else 1.0
        return {
            "total": total,
            "success_rate": self.successful / total if total else 1.0,
            "compliance_rate": compliance,
            "compliant": compliance >= COMPLIANT_SHARE,
            "targets": self.targets,
            "failures": dict(self.kinds),
            "denied": self.denied,
            "cancelled": self.cancelled,
            "cancelled_unknown": self.cancelled_unknown,
            "attempts": self.attempts,
            "retries": self.retries,
            "endpoints": {name: each.summary() for name, each in self._endpoints.items()},
        }
