"""The WebSocket side of a simulated venue: its connections, their subscriptions, and the connection rules.

The hub owns every peer (client connection). A source (the synthetic market or a replay) publishes payloads
under stream names; the hub applies the faults, renders each payload in the format that a subscriber has
chosen, and writes once per batch. What is specific to one venue is in its `WireProtocol`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Protocol

import msgspec

from workers.sim import transport
from workers.sim.book import Depth
from workers.sim.faults import FRAME, KINDS, Fault, Faults, StreamInfo
from workers.sim.transport import Binary, Peer, encode, frame

SLOW_CLIENT = 67_108_864
"""Bytes unread by a client after which it is disconnected."""


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """A venue's limits and timeouts for one connection. Times are in seconds; infinity switches a rule off.

    Attributes:
        messages_per_second: messages that a client may send (ping, pong and text alike); one more closes the
            connection with 1008.
        max_streams: subscriptions per connection.
        ping_every: interval of the venue's WebSocket pings.
        pong_within: a ping not answered by a pong with the same payload within this closes the connection.
        max_life: maximum age of a connection; it is closed then.
        notice: how long before `max_life` the shutdown notice is sent.
        subscribe_within: a connection without any subscription is closed after this.
        idle_timeout: a connection to which the venue has sent nothing (neither data nor answers) for this
            long is closed; clients of such venues send pings, whose answers count.
        idle_code: WebSocket close code for `subscribe_within` and `idle_timeout`.
    """

    messages_per_second: int = 5
    max_streams: int = 1024
    ping_every: float = 20.0
    pong_within: float = 60.0
    max_life: float = 86_400.0
    notice: float = 600.0
    subscribe_within: float = float("inf")
    idle_timeout: float = float("inf")
    idle_code: int = 1000


class WireProtocol(Protocol):
    """One venue's WebSocket protocol, seen from the server: paths, client messages and their answers.

    The implementation chooses the names of the streams, such as ``btcusdt@trade`` or ``books/BTC-USDT``, and
    translates clients' messages to them; the rest of the simulator knows streams by these names alone.
    Payloads returned here are sent in TEXT frames, those of type `transport.Binary` in BINARY frames.
    Subclasses inherit the defaults below.
    """

    def connect(self, peer: Peer, target: str) -> Sequence[str] | None:
        """Accept or refuse the request target (path and query) of a new connection.

        May set `peer.payload_format` and `peer.notes`.

        Returns:
            The streams that the target itself subscribes to (often none); None: no such path, answered
            with HTTP 404.
        """

    def greeting(self, peer: Peer) -> Sequence[bytes]:
        """Messages that the venue sends first on a new connection."""
        return ()

    def handle_message(self, peer: Peer, text: bytes) -> Sequence[bytes]:
        """Carry out a client's message with `Hub.subscribe` and `Hub.unsubscribe`; returns the answers.

        The answers are queued before the source learns of new subscriptions, so that a client gets its
        acknowledgement before the first data.
        """

    def stream_info(self, stream: str) -> StreamInfo:
        """The symbol of a stream, and whether it carries book changes; `StreamInfo()` for an unknown name.

        Called once per stream; the hub keeps the result.
        """

    def render(self, stream: str, payload: bytes, payload_format: Hashable) -> bytes:
        """A published payload as sent to connections with this `Peer.payload_format`."""
        return payload

    def shutdown_notice(self, peer: Peer) -> Sequence[bytes]:
        """Messages that the venue sends before a planned disconnect."""
        return ()

    def timed_messages(self, peer: Peer, now: float) -> Sequence[bytes]:
        """Messages that are due on a connection by time, such as heartbeats; called every 50 ms.

        Args:
            now: monotonic seconds, the clock of `Peer.opened_at` and `Peer.last_sent_at`.
        """
        return ()

    def corrupt(self, kind: str, stream: str, payload: bytes) -> Sequence[bytes] | None:
        """A published payload altered by a fault of this kind; the frames to send in its place.

        Called for the faults that depend on the venue's format: ``malformed`` (None: the first half of the
        payload is sent), those of books (``crossed``, ``bad_checksum``, ``repeat_price``), and the dialect's
        own kinds.

        Returns:
            None when the fault cannot be applied to this payload; it stays pending for the next one.
        """
        return None


class Source(Protocol):
    """Where market data comes from: `synthetic.Synthetic` or `replay.Replay`."""

    def on_subscribed(self, peer: Peer, stream: str) -> None:
        """A client has subscribed to a stream. Send it the initial state here, with `Hub.send`, if any.

        The acknowledgement is queued already; whatever is published later reaches the client after what is
        sent here.
        """

    def on_fault(self, stream: str) -> None:
        """A fault has withheld or altered a payload of this stream."""

    def symbols(self) -> list[str]:
        """Venue symbols that have a book."""

    def depth(self, symbol: str, limit: int | None = None) -> Depth:
        """The current book of a venue symbol, at most `limit` levels a side.

        Raises:
            KeyError: unknown symbol.
            LookupError: no snapshot of it has come yet (replays).
        """


_PLAIN = ("drop", "duplicate", "reorder", "delay", "oversized", "silent", "gap")
"""Frame faults that do not depend on the payload's format."""
_ALWAYS = (*_PLAIN, "malformed")
"""Frame faults that can be applied to every payload."""


class Hub:
    """All connections of one simulated venue. See `Rules`, `WireProtocol`, `Source`.

    `protocol` and `source` are assigned after construction, because they are built with the hub.
    """

    protocol: WireProtocol
    source: Source

    def __init__(self, rules: Rules, faults: Faults, clock: Callable[[], float]) -> None:
        self.faults = faults
        self._clock = clock
        self._infos: dict[str, StreamInfo] = {}
        self._subscribers: dict[str, dict[Peer, None]] = {}
        self._dirty: dict[Peer, None] = {}
        self._reordered: dict[str, list[bytes]] = {}
        self._opening: dict[Peer, Sequence[str]] = {}
        self._tasks: set[asyncio.TimerHandle] = set()
        self.rules = rules
        self.peers: dict[Peer, None] = {}
        self.counters = dict.fromkeys(
            ("connections", "published", "sent", "messages", "policy_closed", "pings", "pongs", "slow"), 0
        )
        self._kinds = (*FRAME, *(kind for kind in faults.kinds if kind not in KINDS))
        faults.on_connection_fault = self._connection_fault

    def __repr__(self) -> str:
        return f"<Hub peers={len(self.peers)} streams={len(self._subscribers)} {self.counters}>"

    # -- subscriptions ----------------------------------------------------------------------------

    def has_subscribers(self, stream: str) -> bool:
        """Whether any connection is subscribed; a source may skip building payloads that nobody gets."""
        return stream in self._subscribers

    def subscribers(self, stream: str) -> list[Peer]:
        """The connections subscribed to a stream, in order of subscription."""
        return list(self._subscribers.get(stream, ()))

    def subscribe(self, peer: Peer, streams: Iterable[str]) -> None:
        """Add subscriptions; the source hears of each new one after the answer has been queued."""
        fresh = [stream for stream in dict.fromkeys(streams) if stream not in peer.streams]
        peer.streams.update(dict.fromkeys(fresh))
        if fresh:
            asyncio.get_running_loop().call_soon(self._announce, peer, fresh)

    def _announce(self, peer: Peer, streams: list[str]) -> None:
        for stream in streams:
            if stream in peer.streams and not peer.closing:
                self.source.on_subscribed(peer, stream)
                self._subscribers.setdefault(stream, {})[peer] = None
        self.flush()

    def unsubscribe(self, peer: Peer, streams: Iterable[str]) -> None:
        """Remove subscriptions; those that do not exist are ignored."""
        for stream in streams:
            if stream in peer.streams:
                del peer.streams[stream]
                listeners = self._subscribers.get(stream, {})
                listeners.pop(peer, None)  # not announced yet if unsubscribed at once
                if not listeners:
                    self._subscribers.pop(stream, None)
        if not peer.streams:
            peer.no_streams_since = self._clock()

    def stream_info(self, stream: str) -> StreamInfo:
        """`WireProtocol.stream_info`, remembered per stream."""
        info = self._infos.get(stream)
        if info is None:
            info = self._infos[stream] = self.protocol.stream_info(stream)
        return info

    # -- publishing -------------------------------------------------------------------------------

    def publish(self, stream: str, payload: bytes) -> None:
        """Queue a payload for the subscribers of a stream, after applying the faults; `flush` writes it."""
        self.counters["published"] += 1
        if self._reordered or self.faults.active:
            for one in self._apply_faults(stream, payload):
                self._deliver(stream, one)
        else:
            self._deliver(stream, payload)

    def _deliver(self, stream: str, payload: bytes) -> None:
        listeners = self._subscribers.get(stream)
        if listeners is None:
            return
        rendered: dict[Hashable, bytes] = {}
        for peer in listeners:
            encoded = rendered.get(peer.payload_format)
            if encoded is None:
                encoded = rendered[peer.payload_format] = frame(
                    self.protocol.render(stream, payload, peer.payload_format)
                )
            self._queue(peer, encoded)

    def send(self, peer: Peer, stream: str, payload: bytes) -> None:
        """Queue a payload of a stream for one connection. Of all faults only ``silent`` applies."""
        if (
            self.faults.active
            and self.faults.take(("silent",), stream, info=self.stream_info(stream)) is not None
        ):
            return
        self._queue(peer, frame(self.protocol.render(stream, payload, peer.payload_format)))

    def send_control(self, peer: Peer, payloads: Iterable[bytes]) -> None:
        """Queue messages that belong to no stream (answers, heartbeats, notices) for one connection."""
        for payload in payloads:
            self._queue(peer, frame(payload))

    def _queue(self, peer: Peer, encoded: bytes) -> None:
        self.counters["sent"] += 1
        peer.queue(encoded)
        self._dirty[peer] = None

    def flush(self) -> None:
        """Write all queued frames, one write per connection; reset clients that do not read."""
        if not self._dirty:
            return
        dirty, self._dirty = self._dirty, {}
        now = self._clock()
        for peer in dirty:
            peer.flush()
            peer.last_sent_at = now
            if peer.backlog > SLOW_CLIENT:
                self.counters["slow"] += 1
                peer.reset()

    async def drained(self, seconds: float = 10.0) -> None:
        """Wait until every connection can take more; one that cannot within `seconds` is reset."""
        for peer in tuple(self.peers):
            if peer.muted or peer.closing:
                continue
            try:
                async with asyncio.timeout(seconds):
                    await peer.writable()
            except TimeoutError:
                self.counters["slow"] += 1
                peer.reset()

    # -- faults -----------------------------------------------------------------------------------

    def _apply_faults(self, stream: str, payload: bytes) -> list[bytes]:
        """The payloads to deliver in place of this one under the pending faults."""
        info = self.stream_info(stream)
        corrupted: Sequence[bytes] | None = None

        def fits(fault: Fault) -> bool:
            nonlocal corrupted
            corrupted = (
                self.protocol.corrupt(fault.kind, stream, payload) if fault.kind not in _PLAIN else None
            )
            return fault.kind in _ALWAYS or corrupted is not None

        fault = self.faults.take(self._kinds, stream, info=info, fits=fits)
        if self.faults.take(("reset_frame",), stream, info=info) is not None:
            for peer in self._subscribers.get(stream, ()):
                peer.reset_mid_frame = True
        out: Sequence[bytes] = [payload]
        if fault is not None:
            if fault.kind not in ("duplicate", "oversized"):
                self.source.on_fault(stream)
            match fault.kind:
                case "drop" | "gap" | "silent":
                    return []
                case "duplicate":
                    out = [payload, payload]
                case "oversized":
                    out = [b'{"pad":"' + b"x" * max(0, fault.size - 10) + b'"}', payload]
                case "reorder":
                    self._reordered.setdefault(stream, []).append(payload)
                    return []
                case "delay":
                    self._later(fault.seconds, lambda: self._deliver(stream, payload))
                    return []
                case "malformed" if corrupted is None:
                    half = payload[: max(1, len(payload) // 2)]
                    out = [Binary(half) if isinstance(payload, Binary) else half]
                case _:
                    out = corrupted or []
        return [*out, *self._reordered.pop(stream, [])]

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        def run() -> None:
            self._tasks.discard(handle)
            act()
            self.flush()

        handle = asyncio.get_running_loop().call_later(seconds, run)
        self._tasks.add(handle)

    def _connection_fault(self, kind: str) -> None:
        for peer in tuple(self.peers):
            match kind:
                case "half_open":
                    peer.muted = True
                case "reset":
                    peer.reset()
                case "shutdown":
                    self._send_shutdown_notice(peer)
                    peer.close(1001, "planned disconnect")
                case _:
                    raise NotImplementedError(f"a fault of connections without an effect: {kind}")

    # -- events of the transport --------------------------------------------------------------------

    def handshake(self, peer: Peer, target: str) -> int:
        """See `transport.PeerOwner`."""
        if self.faults.active and self.faults.take(("reset_handshake",)) is not None:
            peer.reset(b"HTTP/1.1 101 Switching Proto")
            return 0
        streams = self.protocol.connect(peer, target)
        if streams is None:
            return 404
        self._opening[peer] = streams
        return 101

    def opened(self, peer: Peer) -> None:
        """See `transport.PeerOwner`."""
        now = self._clock()
        peer.opened_at = peer.no_streams_since = peer.last_sent_at = peer.last_ping = now
        self.counters["connections"] += 1
        self.peers[peer] = None
        streams = self._opening.pop(peer)
        if len(dict.fromkeys(streams)) > self.rules.max_streams:
            self.close_for_violation(peer, "too many streams")
            return
        self.send_control(peer, self.protocol.greeting(peer))
        self.subscribe(peer, streams)
        self.flush()

    def closed(self, peer: Peer) -> None:
        """See `transport.PeerOwner`."""
        self.peers.pop(peer, None)
        self._dirty.pop(peer, None)
        self.unsubscribe(peer, tuple(peer.streams))

    def received(self, peer: Peer, opcode: int, payload: bytes) -> None:
        """See `transport.PeerOwner`: checks the message rate, then handles ping, pong or a message."""
        now = self._clock()
        self.counters["messages"] += 1
        peer.message_times.append(now)
        while now - peer.message_times[0] >= 1.0:
            peer.message_times.popleft()
        if len(peer.message_times) > self.rules.messages_per_second:
            self.close_for_violation(peer, "too many messages")
        elif opcode == transport.PING:
            self._queue(peer, encode(payload, transport.PONG))
        elif opcode == transport.PONG:
            # An unsolicited pong, or one with another payload, does not count as an answer.
            if peer.ping_at and payload == peer.ping_payload:
                peer.ping_at = 0.0
                self.counters["pongs"] += 1
        else:
            self.send_control(peer, self.protocol.handle_message(peer, payload))
        self.flush()

    def close_for_violation(self, peer: Peer, reason: str, code: int = 1008) -> None:
        """Close a connection that broke a rule; `code` is the WebSocket close code."""
        self.counters["policy_closed"] += 1
        peer.close(code, reason)

    def _send_shutdown_notice(self, peer: Peer) -> None:
        peer.notified = True
        self.send_control(peer, self.protocol.shutdown_notice(peer))

    # -- time ---------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Send what is due by time and close what has timed out; called every 50 ms (or by a test)."""
        now, rules = self._clock(), self.rules
        for peer in tuple(self.peers):
            if peer.muted:
                continue
            age = now - peer.opened_at
            if peer.ping_at and now - peer.ping_at > rules.pong_within:
                self.close_for_violation(peer, "pong timeout")
            elif age >= rules.max_life:
                peer.close(1001, "maximum life")
            elif not peer.streams and now - peer.no_streams_since > rules.subscribe_within:
                self.close_for_violation(peer, "no subscription", rules.idle_code)
            elif now - peer.last_sent_at > rules.idle_timeout:
                self.close_for_violation(peer, "no data", rules.idle_code)
            else:
                self.send_control(peer, self.protocol.timed_messages(peer, now))
                if not peer.notified and age >= rules.max_life - rules.notice:
                    self._send_shutdown_notice(peer)
                if now - peer.last_ping >= rules.ping_every:
                    self._ping(peer, now)
        self.flush()

    def _ping(self, peer: Peer, now: float) -> None:
        payload = b"%013d" % (time.time_ns() // 1_000_000)
        peer.last_ping = now
        if not peer.ping_at:  # the timeout runs from the oldest unanswered ping
            peer.ping_at, peer.ping_payload = now, payload
        self.counters["pings"] += 1
        peer.queue(encode(peer.ping_payload, transport.PING))
        peer.flush()

    def close(self) -> None:
        """End every connection (1001)."""
        for handle in self._tasks:
            handle.cancel()
        for peer in tuple(self.peers):
            peer.close(1001, "server stops")
