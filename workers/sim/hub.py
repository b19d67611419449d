"""Who is connected, who gets which stream, and the connection rules of a venue, in that venue's words.

The hub owns every peer. A source (market or replay) publishes payloads under stream names; the hub
applies the faults, wraps each payload as its subscribers asked, and writes once per batch.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from workers.sim import transport
from workers.sim.faults import FRAME, Faults
from workers.sim.transport import Peer, encode

SLOW_CLIENT = 67_108_864
"""Bytes unread by a client after which it is disconnected."""


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What a venue allows on a connection; times in seconds.

    Attributes:
        messages_per_second: client messages (ping, pong and text alike); one more closes with 1008.
        max_streams: streams a connection.
        ping_every: between the venue's pings.
        pong_within: an answer that echoes the payload, else the connection is closed.
        max_life: planned end of a connection; `notice` before it comes the shutdown event.
    """

    messages_per_second: int = 5
    max_streams: int = 1024
    ping_every: float = 20.0
    pong_within: float = 60.0
    max_life: float = 86_400.0
    notice: float = 600.0


class Words(Protocol):
    """How one venue talks on a connection."""

    def target(self, peer: Peer, target: str) -> list[str] | None:
        """Set the peer's mode from the request target; the streams it names, or None for no such path."""

    def answer(self, peer: Peer, text: bytes) -> bytes:
        """Act on a client's message (through `Hub.subscribe`); the answer to send."""

    def form(self, stream: str, payload: bytes, combined: bool, micro: bool) -> bytes:
        """A payload as this kind of subscriber gets it."""

    def shutdown(self, combined: bool) -> bytes:
        """The event before a planned disconnect."""

    def crossed(self, stream: str, payload: bytes) -> bytes:
        """A depth payload that leaves the book crossed; unchanged when it is not one."""


class Source(Protocol):
    """Where a connection's data comes from."""

    def subscribed(self, peer: Peer, stream: str) -> None:
        """A client has just subscribed (its acknowledgement is queued before anything sent here)."""

    def disturbed(self, stream: str) -> None:
        """A fault has changed what the stream's subscribers get."""


class Hub:
    """All connections of one simulated venue. See `Rules`, `Words`, `Source`."""

    def __init__(self, words: Words, rules: Rules, faults: Faults, clock: Callable[[], float]) -> None:
        self._words = words
        self._faults = faults
        self._clock = clock
        self._subscribers: dict[str, dict[Peer, None]] = {}
        self._dirty: dict[Peer, None] = {}
        self._held: dict[str, list[bytes]] = {}
        self._opening: dict[Peer, list[str]] = {}
        self._tasks: set[asyncio.TimerHandle] = set()
        self.source: Source | None = None
        self.rules = rules
        self.peers: dict[Peer, None] = {}
        self.counters = dict.fromkeys(
            ("connections", "published", "sent", "messages", "policy_closed", "pings", "pongs", "slow"), 0
        )
        faults.strike = self._strike

    def __repr__(self) -> str:
        return f"<Hub peers={len(self.peers)} streams={len(self._subscribers)} {self.counters}>"

    # -- subscriptions ----------------------------------------------------------------------------

    def wanted(self, stream: str) -> bool:
        """Whether anybody listens; a source may skip the rendering of what nobody does."""
        return stream in self._subscribers

    def listeners(self, stream: str) -> list[Peer]:
        """The peers subscribed to a stream, in the order in which they came."""
        return list(self._subscribers.get(stream, ()))

    def subscribe(self, peer: Peer, streams: Iterable[str]) -> None:
        """Add streams; the source hears of each new one when the answer is on its way."""
        fresh = [stream for stream in streams if stream not in peer.streams]
        for stream in fresh:
            peer.streams[stream] = None
            self._subscribers.setdefault(stream, {})[peer] = None
        if fresh:
            asyncio.get_running_loop().call_soon(self._announce, peer, fresh)

    def _announce(self, peer: Peer, streams: list[str]) -> None:
        for stream in streams:
            if self.source is not None and stream in peer.streams and not peer.closing:
                self.source.subscribed(peer, stream)
        self.flush()

    def unsubscribe(self, peer: Peer, streams: Iterable[str]) -> None:
        """Remove streams; unknown ones are ignored, as the venue does."""
        for stream in streams:
            if stream in peer.streams:
                del peer.streams[stream]
                listeners = self._subscribers[stream]
                del listeners[peer]
                if not listeners:
                    del self._subscribers[stream]

    # -- publishing -------------------------------------------------------------------------------

    def publish(self, stream: str, payload: bytes) -> None:
        """Send to the subscribers of a stream, through the faults. `flush` writes."""
        self.counters["published"] += 1
        if self._held or self._faults.active:
            for one in self._bend(stream, payload):
                self._deliver(stream, one)
        else:
            self._deliver(stream, payload)

    def _deliver(self, stream: str, payload: bytes) -> None:
        listeners = self._subscribers.get(stream)
        if listeners is None:
            return
        forms: dict[tuple[bool, bool], bytes] = {}
        for peer in listeners:
            mode = (peer.combined, peer.micro)
            frame = forms.get(mode)
            if frame is None:
                frame = forms[mode] = encode(self._words.form(stream, payload, *mode))
            self._queue(peer, frame)

    def send(self, peer: Peer, stream: str, payload: bytes) -> None:
        """One payload to one peer, past the faults."""
        self._queue(peer, encode(self._words.form(stream, payload, peer.combined, peer.micro)))

    def _queue(self, peer: Peer, frame: bytes) -> None:
        self.counters["sent"] += 1
        peer.queue(frame)
        self._dirty[peer] = None

    def flush(self) -> None:
        """Write what is queued, one write a peer; drop clients that do not read."""
        if not self._dirty:
            return
        dirty, self._dirty = self._dirty, {}
        for peer in dirty:
            peer.flush()
            if peer.backlog > SLOW_CLIENT:
                self.counters["slow"] += 1
                peer.reset()

    async def drained(self, patience: float = 10.0) -> None:
        """Until every listening peer takes more; one that does not within `patience` seconds is reset."""
        for peer in tuple(self.peers):
            if peer.muted or peer.closing:
                continue
            try:
                async with asyncio.timeout(patience):
                    await peer.writable()
            except TimeoutError:
                self.counters["slow"] += 1
                peer.reset()

    # -- faults -----------------------------------------------------------------------------------

    def _bend(self, stream: str, payload: bytes) -> list[bytes]:
        """What becomes of a payload under the orders in force."""
        out = [payload]
        fault = self._faults.take(FRAME, stream)
        if self._faults.take(("reset_frame",), stream) is not None:
            for peer in self._subscribers.get(stream, ()):
                peer.tear = True
        if fault is not None:
            if self.source is not None and fault.kind not in ("duplicate", "oversized"):
                self.source.disturbed(stream)
            match fault.kind:
                case "drop" | "gap" | "silent":
                    return []
                case "duplicate":
                    out = [payload, payload]
                case "malformed":
                    out = [payload[: max(1, len(payload) // 2)]]
                case "oversized":
                    out = [b'{"pad":"' + b"x" * max(0, fault.size - 10) + b'"}', payload]
                case "crossed":
                    out = [self._words.crossed(stream, payload)]
                case "reorder":
                    self._held.setdefault(stream, []).append(payload)
                    return []
                case "delay":
                    self._later(fault.seconds, lambda: self._deliver(stream, payload))
                    return []
        return out + self._held.pop(stream, [])

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        def run() -> None:
            self._tasks.discard(handle)
            act()
            self.flush()

        handle = asyncio.get_running_loop().call_later(seconds, run)
        self._tasks.add(handle)

    def _strike(self, kind: str) -> None:
        for peer in tuple(self.peers):
            if kind == "half_open":
                peer.muted = True
            elif kind == "reset":
                peer.reset()
            else:
                self._say_shutdown(peer)
                peer.close(1001, "planned disconnect")

    # -- the transport's owner ----------------------------------------------------------------------

    def handshake(self, peer: Peer, target: str) -> int:
        """See `transport.Owner`."""
        if self._faults.active and self._faults.take(("reset_handshake",)) is not None:
            peer.reset(b"HTTP/1.1 101 Switching Proto")
            return 0
        streams = self._words.target(peer, target)
        if streams is None:
            return 404
        self._opening[peer] = streams
        return 101

    def opened(self, peer: Peer) -> None:
        """See `transport.Owner`."""
        now = self._clock()
        peer.opened_at = peer.last_ping = now
        self.counters["connections"] += 1
        self.peers[peer] = None
        streams = self._opening.pop(peer)
        if len(dict.fromkeys(streams)) > self.rules.max_streams:
            self._police(peer, "too many streams")
            return
        self.subscribe(peer, streams)

    def closed(self, peer: Peer) -> None:
        """See `transport.Owner`."""
        self.peers.pop(peer, None)
        self._dirty.pop(peer, None)
        self.unsubscribe(peer, tuple(peer.streams))

    def received(self, peer: Peer, opcode: int, payload: bytes) -> None:
        """See `transport.Owner`: the message rate, then ping, pong or the venue's words."""
        now = self._clock()
        self.counters["messages"] += 1
        peer.heard.append(now)
        limit = self.rules.messages_per_second
        if len(peer.heard) > limit and now - peer.heard[-1 - limit] < 1.0:
            self._police(peer, "too many messages")
        elif opcode == transport.PING:
            self._queue(peer, encode(payload, transport.PONG))
        elif opcode == transport.PONG:
            # An unsolicited pong, or one that echoes nothing of ours, keeps nothing alive.
            if peer.ping_at and payload == peer.ping_payload:
                peer.ping_at = 0.0
                self.counters["pongs"] += 1
        else:
            self._queue(peer, encode(self._words.answer(peer, payload)))
        self.flush()

    def _police(self, peer: Peer, reason: str) -> None:
        self.counters["policy_closed"] += 1
        peer.close(1008, reason)

    def _say_shutdown(self, peer: Peer) -> None:
        peer.notified = True
        self._queue(peer, encode(self._words.shutdown(peer.combined)))

    # -- time ---------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Pings, missing pongs and old age; to be called a few times per second (or by a test)."""
        now, rules = self._clock(), self.rules
        for peer in tuple(self.peers):
            if peer.muted:
                continue
            age = now - peer.opened_at
            if peer.ping_at and now - peer.ping_at > rules.pong_within:
                self._police(peer, "pong timeout")
            elif age >= rules.max_life:
                peer.close(1001, "maximum life")
            else:
                if not peer.notified and age >= rules.max_life - rules.notice:
                    self._say_shutdown(peer)
                if now - peer.last_ping >= rules.ping_every:
                    self._ping(peer, now)
        self.flush()

    def _ping(self, peer: Peer, now: float) -> None:
        payload = b"%013d" % (time.time_ns() // 1_000_000)
        peer.last_ping = now
        if not peer.ping_at:  # the oldest unanswered one counts
            peer.ping_at, peer.ping_payload = now, payload
        self.counters["pings"] += 1
        self._queue(peer, encode(peer.ping_payload, transport.PING))

    def close(self) -> None:
        """End every connection (1001)."""
        for handle in self._tasks:
            handle.cancel()
        for peer in tuple(self.peers):
            peer.close(1001, "server stops")
