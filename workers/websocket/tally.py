"""Counts of a WebSocket manager over all its connections, and the metrics made of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from workers.contract.protocols import PerformanceMetrics
from workers.websocket.wire import WireListener, percentile

WIRE = (
    "messages",
    "bytes",
    "consumed",
    "sink_errors",
    "callback_errors",
    "oversized",
    "pings",
    "busy_ns",
    "slow_messages",
)
SLOW_NS = 1_000_000
MS = 1e-6  # ns -> ms


class Tally:
    """`connections` counts those dialled, `reconnections` those that were subscribed after a loss."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._started = clock()
        self._past: Counter[str] = Counter()
        self._times: Counter[int] = Counter()
        self._max_ns = 0
        self._close_code = 0
        self._handled = 0
        self._handled_ns = 0
        self._handled_slow = 0
        self.connections = 0
        self.reconnections = 0
        self.renewals = 0
        self.renewals_failed = 0
        self.error_count = 0
        self.parse_errors = 0
        self.handler_errors = 0
        self.callback_errors = 0
        self.dropped = 0
        self.orderbook_updates = 0
        self.pings_sent = 0
        self.acks = 0
        self.rejects = 0
        self.resubscribes = 0
        self.first_event_misses = 0
        self.last_ping_rtt_ns = 0

    def opened(self) -> int:
        """One more connection is dialled; its ordinal, from 1."""
        self.connections += 1
        return self.connections

    def absorb(self, listener: WireListener) -> None:
        """Take over the counts of a connection that is over."""
        for name in WIRE:
            self._past[name] += getattr(listener, name)
        self._times.update(listener.histogram())
        self._max_ns = max(self._max_ns, listener.max_batch_ns)
        self._close_code = listener.close_code

    def handled(self, took_ns: int) -> None:
        """One message went through `message_handler`."""
        self._handled += 1
        self._handled_ns += took_ns
        self._max_ns = max(self._max_ns, took_ns)
        self._handled_slow += took_ns > SLOW_NS

    def metrics(
        self, live: Iterable[WireListener], pending: int, shards: int, books: int = 0
    ) -> PerformanceMetrics:
        """Past and present together: `live` are the connections whose counts were not absorbed yet; `books`:
        updates of books that the sink took."""
        wire, times = Counter(self._past), Counter(self._times)
        longest, close_code = self._max_ns, self._close_code
        for listener in live:
            wire.update({name: getattr(listener, name) for name in WIRE})
            times.update(listener.histogram())
            longest = max(longest, listener.max_batch_ns)
            if listener.is_closed:
                close_code = listener.close_code
        messages = wire["messages"]
        callback_errors = self.callback_errors + wire["callback_errors"]
        slow = wire["slow_messages"] + self._handled_slow
        elapsed = self._clock() - self._started
        return PerformanceMetrics(
            messages_processed=messages,
            messages_per_second=messages / elapsed if elapsed > 0 else 0.0,
            avg_processing_time_ms=(wire["busy_ns"] + self._handled_ns) / messages * MS if messages else 0.0,
            max_processing_time_ms=longest * MS,
            p95_processing_time_ms=min(longest, percentile(times, 0.95)) * MS,
            p99_processing_time_ms=min(longest, percentile(times, 0.99)) * MS,
            sub_1ms_messages=max(0, messages - slow),
            orderbook_updates=self.orderbook_updates + books,
            latency_violations=slow,
            reconnection_count=self.reconnections,
            error_count=self.error_count
            + self.parse_errors
            + self.handler_errors
            + wire["sink_errors"]
            + callback_errors,
            bytes_received=wire["bytes"],
            connection_count=self.connections,
            consumed=wire["consumed"],
            dropped=self.dropped,
            oversized=wire["oversized"],
            sink_errors=wire["sink_errors"],
            handler_errors=self.handler_errors,
            parse_errors=self.parse_errors,
            callback_errors=callback_errors,
            acks=self.acks,
            rejects=self.rejects,
            pings_sent=self.pings_sent,
            pings_received=wire["pings"],
            last_ping_rtt_ns=self.last_ping_rtt_ns,
            pending=pending,
            last_close_code=close_code,
            resubscribes=self.resubscribes,
            first_event_misses=self.first_event_misses,
            renewals=self.renewals,
            renewals_failed=self.renewals_failed,
            shards=shards,
        )
