"""Counts and latencies of a REST manager."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any

from workers.errors import RateLimited, RestError
from workers.strategies import PerformanceTargets, RequestMetrics

KEPT = 10_000  # latest latencies, for the percentiles
COMPLIANT_MS = 50.0
COMPLIANT_SHARE = 0.95


class RestTally:
    def __init__(self, targets: PerformanceTargets) -> None:
        self._targets = targets
        self.sessions = 0
        self.connections = 0
        self.reset()

    def reset(self) -> None:
        """Forget all but sessions and connections, which are facts of the process."""
        self.attempts = 0
        self._latest: deque[float] = deque(maxlen=KEPT)
        self._sum_ms = 0.0
        self._successful = 0
        self._failed = 0
        self._fast = 0
        self._slow = 0
        self._hits = 0
        self._kinds: Counter[str] = Counter()

    def succeeded(self, busy_ns: int) -> None:
        self._successful += 1
        self._latency(busy_ns)

    def failed(self, error: RestError, busy_ns: int) -> None:
        self._failed += 1
        self._hits += isinstance(error, RateLimited)
        self._kinds[type(error).__name__] += 1
        self._latency(busy_ns)

    def _latency(self, busy_ns: int) -> None:
        ms = busy_ns * 1e-6
        self._latest.append(ms)
        self._sum_ms += ms
        self._fast += ms < COMPLIANT_MS
        self._slow += ms > self._targets.max_latency_ms

    def metrics(self) -> RequestMetrics:
        total = self._successful + self._failed
        ranked = sorted(self._latest)
        return RequestMetrics(
            total=total,
            successful=self._successful,
            failed=self._failed,
            avg_latency_ms=self._sum_ms / total if total else 0.0,
            p95_latency_ms=_rank(ranked, 0.95),
            p99_latency_ms=_rank(ranked, 0.99),
            rate_limit_hits=self._hits,
            sub_50ms_requests=self._fast,
            latency_violations=self._slow,
            attempts=self.attempts,
            sessions=self.sessions,
            connections=self.connections,
        )

    def summary(self) -> dict[str, Any]:
        total = self._successful + self._failed
        share = self._fast / total if total else 1.0
        return {
            "total": total,
            "success_rate": self._successful / total if total else 1.0,
            "compliance_rate": share,
            "compliant": share >= COMPLIANT_SHARE,
            "failures": dict(self._kinds),
            "connection_reuse": 1.0 - self.connections / self.attempts if self.attempts else 1.0,
            "targets": self._targets,
        }


def _rank(ranked: list[float], share: float) -> float:
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else 0.0
