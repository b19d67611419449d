"""Counters of a WebSocket manager over all its connections, and the `PerformanceMetrics` made of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from workers.contract.protocols import PerformanceMetrics
from workers.websocket.wire import WireListener, percentile

LISTENER_COUNTERS = (  # attributes of `WireListener` that are summed over connections
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
MS_PER_NS = 1e-6


class ConnectionStats:
    """Counters since the manager's start, summed over all its connections, present and past.

    The public attributes are incremented by whoever sees the event. What a connection's `WireListener` counts
    by itself is added by `absorb` when the connection ends, and read from those still open by `metrics`.

    Attributes:
        connections: connection attempts.
        reconnections: times that a shard was connected and subscribed again after it had lost its connection.
        renewals: planned replacements of a connection without a gap.
        renewals_failed: those that were given up; the old connection went on.
        error_count: connections lost, or attempts that failed.
        parse_errors: messages whose parser raised.
        handler_errors: exceptions of the message, connection and missed-data handlers.
        callback_errors: exceptions of a strategy's matcher, of an acknowledgement or of a dialogue's answer.
        dropped: messages that did not fit into the queue of the message handler.
        orderbook_updates: messages of order books that the message handler took.
        pings_sent: pings of the protocol and of the application.
        acks, rejects: acknowledgements of subscription messages, and refusals.
        resubscribes: times that topics were unsubscribed and subscribed again because they did not deliver.
        first_event_misses: topics that did not deliver their first event in time.
        last_ping_rtt_ns: round trip of the last ping that was answered.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._started = clock()
        self._ended: Counter[str] = Counter()
        self._batch_times: Counter[int] = Counter()
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

    def connecting(self) -> int:
        """Count one more connection attempt; returns its ordinal, from 1."""
        self.connections += 1
        return self.connections

    def absorb(self, listener: WireListener) -> None:
        """Add the counters of a connection that has ended."""
        for name in LISTENER_COUNTERS:
            self._ended[name] += getattr(listener, name)
        self._batch_times.update(listener.histogram())
        self._max_ns = max(self._max_ns, listener.max_batch_ns)
        self._close_code = listener.close_code

    def message_handled(self, took_ns: int) -> None:
        """One message went through `message_handler`, and how long that took."""
        self._handled += 1
        self._handled_ns += took_ns
        self._max_ns = max(self._max_ns, took_ns)
        self._handled_slow += took_ns > SLOW_NS

    def metrics(
        self, live: Iterable[WireListener], pending: int, shards: int, books: int = 0
    ) -> PerformanceMetrics:
        """All counters together.

        Args:
            live: listeners of the connections that were not absorbed yet.
            pending: messages that wait in the queue of the message handler.
            shards: reconnect loops.
            books: order-book updates that the sink took.
        """
        wire, times = Counter(self._ended), Counter(self._batch_times)
        longest, close_code = self._max_ns, self._close_code
        for listener in live:
            wire.update({name: getattr(listener, name) for name in LISTENER_COUNTERS})
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
            avg_processing_time_ms=(wire["busy_ns"] + self._handled_ns) / messages * MS_PER_NS
            if messages
            else 0.0,
            max_processing_time_ms=longest * MS_PER_NS,
            p95_processing_time_ms=min(longest, percentile(times, 0.95)) * MS_PER_NS,
            p99_processing_time_ms=min(longest, percentile(times, 0.99)) * MS_PER_NS,
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
