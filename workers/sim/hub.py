"""Who is connected, who gets which stream, and the connection rules of a venue, in that venue's words.

The hub owns every peer. A source (market or replay) publishes payloads under stream names; the hub
applies the faults, wraps each payload as its subscribers asked, and writes once per batch.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Protocol

import msgspec

from workers.sim import transport
from workers.sim.book import Depth
from workers.sim.faults import FRAME, KINDS, About, Fault, Faults
from workers.sim.transport import Binary, Peer, encode, frame

SLOW_CLIENT = 67_108_864
"""Bytes unread by a client after which it is disconnected."""


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What a venue allows on a connection; times in seconds, infinity for a rule that it does not have.

    Attributes:
        messages_per_second: client messages (ping, pong and text alike); one more closes with 1008.
        max_streams: streams a connection.
        ping_every: between the venue's pings.
        pong_within: an answer that echoes the payload, else the connection is closed.
        max_life: planned end of a connection; `notice` before it comes the shutdown event.
        subscribe_within: a connection without any stream is closed after so long.
        fed_within: a connection to which nothing was sent (data or answers) for so long is closed; where a
            venue has this rule, a client pings to get an answer.
        idle_code: WebSocket close code of the last two.
    """

    messages_per_second: int = 5
    max_streams: int = 1024
    ping_every: float = 20.0
    pong_within: float = 60.0
    max_life: float = 86_400.0
    notice: float = 600.0
    subscribe_within: float = float("inf")
    fed_within: float = float("inf")
    idle_code: int = 1000


class WireProtocol(Protocol):
    """How one venue talks on a connection. Explicit subclasses inherit the defaults written here.

    A stream has a name, which the words choose, like ``btcusdt@trade`` or ``books/BTC-USDT``: clients'
    messages are translated to names, and everything else in the simulator knows streams by name alone.
    """

    def target(self, peer: Peer, target: str) -> Sequence[str] | None:
        """Look at the request target, set `Peer.form`; the streams it names, or None for no such path."""

    def opening(self, peer: Peer) -> Sequence[bytes]:
        """What the venue says first on a new connection."""
        return ()

    def answer(self, peer: Peer, text: bytes) -> Sequence[bytes]:
        """Act on a client's message (through `Hub.subscribe`, `Hub.unsubscribe`); the answers to send.

        The source hears of new streams when these answers are on their way.
        """

    def about(self, stream: str) -> About:
        """What a stream is about; `About()` for a name that means nothing. Asked once a stream."""

    def form(self, stream: str, payload: bytes, form: Hashable) -> bytes:
        """A payload as a peer with this `Peer.form` gets it."""
        return payload

    def shutdown(self, peer: Peer) -> Sequence[bytes]:
        """What the venue says before a planned disconnect."""
        return ()

    def tick(self, peer: Peer, now: float) -> Sequence[bytes]:
        """What the venue says on a connection by the clock (heartbeats); asked every 50 ms."""
        return ()

    def spoil(self, kind: str, stream: str, payload: bytes) -> Sequence[bytes] | None:
        """What a published payload becomes under a fault that needs the venue's words.

        Asked for ``malformed`` (None: the payload's first half is sent), for the kinds about books
        (``crossed``, ``bad_checksum``, ``repeat_price``) and for the dialect's own kinds; None when the
        fault cannot be carried out on this payload: then the order waits for the next.
        """
        return None


class Source(Protocol):
    """Where a connection's data comes from."""

    def subscribed(self, peer: Peer, stream: str) -> None:
        """A client has just subscribed; its acknowledgement is queued before anything sent here, and what
        is published from here on reaches it after what is sent here."""

    def disturbed(self, stream: str) -> None:
        """A fault has changed what the stream's subscribers get."""

    def symbols(self) -> list[str]:
        """Venue symbols that have a book."""

    def depth(self, symbol: str, limit: int | None = None) -> Depth:
        """The book of a venue symbol now. KeyError: unknown; LookupError: it is not known yet."""


_PLAIN = ("drop", "duplicate", "reorder", "delay", "oversized", "silent", "gap")
"""Faults of a frame that need no words."""
_ALWAYS = (*_PLAIN, "malformed")
"""... and those that can be carried out on every payload."""


class Hub:
    """All connections of one simulated venue. See `Rules`, `WireProtocol`, `Source`.

    `protocol` and `source` are given after construction: they are made with the hub.
    """

    protocol: WireProtocol
    source: Source

    def __init__(self, rules: Rules, faults: Faults, clock: Callable[[], float]) -> None:
        self.faults = faults
        self._clock = clock
        self._about: dict[str, About] = {}
        self._subscribers: dict[str, dict[Peer, None]] = {}
        self._dirty: dict[Peer, None] = {}
        self._held: dict[str, list[bytes]] = {}
        self._opening: dict[Peer, Sequence[str]] = {}
        self._tasks: set[asyncio.TimerHandle] = set()
        self.rules = rules
        self.peers: dict[Peer, None] = {}
        self.counters = dict.fromkeys(
            ("connections", "published", "sent", "messages", "policy_closed", "pings", "pongs", "slow"), 0
        )
        self._kinds = (*FRAME, *(kind for kind in faults.kinds if kind not in KINDS))
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
        fresh = [stream for stream in dict.fromkeys(streams) if stream not in peer.streams]
        peer.streams.update(dict.fromkeys(fresh))
        if fresh:
            asyncio.get_running_loop().call_soon(self._announce, peer, fresh)

    def _announce(self, peer: Peer, streams: list[str]) -> None:
        for stream in streams:
            if stream in peer.streams and not peer.closing:
                self.source.subscribed(peer, stream)
                self._subscribers.setdefault(stream, {})[peer] = None
        self.flush()

    def unsubscribe(self, peer: Peer, streams: Iterable[str]) -> None:
        """Remove streams; unknown ones are ignored, as the venue does."""
        for stream in streams:
            if stream in peer.streams:
                del peer.streams[stream]
                listeners = self._subscribers.get(stream, {})
                listeners.pop(peer, None)  # not there yet, when it is taken back at once
                if not listeners:
                    self._subscribers.pop(stream, None)
        if not peer.streams:
            peer.bare_since = self._clock()

    def about(self, stream: str) -> About:
        """What a stream is about, by the venue's words."""
        about = self._about.get(stream)
        if about is None:
            about = self._about[stream] = self.protocol.about(stream)
        return about

    # -- publishing -------------------------------------------------------------------------------

    def publish(self, stream: str, payload: bytes) -> None:
        """Send to the subscribers of a stream, through the faults. `flush` writes."""
        self.counters["published"] += 1
        if self._held or self.faults.active:
            for one in self._bend(stream, payload):
                self._deliver(stream, one)
        else:
            self._deliver(stream, payload)

    def _deliver(self, stream: str, payload: bytes) -> None:
        listeners = self._subscribers.get(stream)
        if listeners is None:
            return
        forms: dict[Hashable, bytes] = {}
        for peer in listeners:
            encoded = forms.get(peer.form)
            if encoded is None:
                encoded = forms[peer.form] = frame(self.protocol.form(stream, payload, peer.form))
            self._queue(peer, encoded)

    def send(self, peer: Peer, stream: str, payload: bytes) -> None:
        """One payload of a stream to one peer, past all faults but ``silent``."""
        if self.faults.active and self.faults.take(("silent",), stream, about=self.about(stream)) is not None:
            return
        self._queue(peer, frame(self.protocol.form(stream, payload, peer.form)))

    def say(self, peer: Peer, payloads: Iterable[bytes]) -> None:
        """Words of the venue to one peer, of no stream; `flush` writes."""
        for payload in payloads:
            self._queue(peer, frame(payload))

    def _queue(self, peer: Peer, encoded: bytes) -> None:
        self.counters["sent"] += 1
        peer.queue(encoded)
        self._dirty[peer] = None

    def flush(self) -> None:
        """Write what is queued, one write a peer; drop clients that do not read."""
        if not self._dirty:
            return
        dirty, self._dirty = self._dirty, {}
        now = self._clock()
        for peer in dirty:
            peer.flush()
            peer.fed_at = now
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
        about = self.about(stream)
        spoilt: Sequence[bytes] | None = None

        def fits(order: Fault) -> bool:
            nonlocal spoilt
            spoilt = self.protocol.spoil(order.kind, stream, payload) if order.kind not in _PLAIN else None
            return order.kind in _ALWAYS or spoilt is not None

        fault = self.faults.take(self._kinds, stream, about=about, fits=fits)
        if self.faults.take(("reset_frame",), stream, about=about) is not None:
            for peer in self._subscribers.get(stream, ()):
                peer.tear = True
        out: Sequence[bytes] = [payload]
        if fault is not None:
            if fault.kind not in ("duplicate", "oversized"):
                self.source.disturbed(stream)
            match fault.kind:
                case "drop" | "gap" | "silent":
                    return []
                case "duplicate":
                    out = [payload, payload]
                case "oversized":
                    out = [b'{"pad":"' + b"x" * max(0, fault.size - 10) + b'"}', payload]
                case "reorder":
                    self._held.setdefault(stream, []).append(payload)
                    return []
                case "delay":
                    self._later(fault.seconds, lambda: self._deliver(stream, payload))
                    return []
                case "malformed" if spoilt is None:
                    half = payload[: max(1, len(payload) // 2)]
                    out = [Binary(half) if isinstance(payload, Binary) else half]
                case _:
                    out = spoilt or []
        return [*out, *self._held.pop(stream, [])]

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
        if self.faults.active and self.faults.take(("reset_handshake",)) is not None:
            peer.reset(b"HTTP/1.1 101 Switching Proto")
            return 0
        streams = self.protocol.target(peer, target)
        if streams is None:
            return 404
        self._opening[peer] = streams
        return 101

    def opened(self, peer: Peer) -> None:
        """See `transport.Owner`."""
        now = self._clock()
        peer.opened_at = peer.bare_since = peer.fed_at = peer.last_ping = now
        self.counters["connections"] += 1
        self.peers[peer] = None
        streams = self._opening.pop(peer)
        if len(dict.fromkeys(streams)) > self.rules.max_streams:
            self.police(peer, "too many streams")
            return
        self.say(peer, self.protocol.opening(peer))
        self.subscribe(peer, streams)
        self.flush()

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
        while now - peer.heard[0] >= 1.0:
            peer.heard.popleft()
        if len(peer.heard) > self.rules.messages_per_second:
            self.police(peer, "too many messages")
        elif opcode == transport.PING:
            self._queue(peer, encode(payload, transport.PONG))
        elif opcode == transport.PONG:
            # An unsolicited pong, or one that echoes nothing of ours, keeps nothing alive.
            if peer.ping_at and payload == peer.ping_payload:
                peer.ping_at = 0.0
                self.counters["pongs"] += 1
        else:
            self.say(peer, self.protocol.answer(peer, payload))
        self.flush()

    def police(self, peer: Peer, reason: str, code: int = 1008) -> None:
        """Close a connection that broke a rule."""
        self.counters["policy_closed"] += 1
        peer.close(code, reason)

    def _say_shutdown(self, peer: Peer) -> None:
        peer.notified = True
        self.say(peer, self.protocol.shutdown(peer))

    # -- time ---------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Pings, missing pongs and old age; to be called a few times per second (or by a test)."""
        now, rules = self._clock(), self.rules
        for peer in tuple(self.peers):
            if peer.muted:
                continue
            age = now - peer.opened_at
            if peer.ping_at and now - peer.ping_at > rules.pong_within:
                self.police(peer, "pong timeout")
            elif age >= rules.max_life:
                peer.close(1001, "maximum life")
            elif not peer.streams and now - peer.bare_since > rules.subscribe_within:
                self.police(peer, "no subscription", rules.idle_code)
            elif now - peer.fed_at > rules.fed_within:
                self.police(peer, "no data", rules.idle_code)
            else:
                self.say(peer, self.protocol.tick(peer, now))
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
        peer.queue(encode(peer.ping_payload, transport.PING))
        peer.flush()

    def close(self) -> None:
        """End every connection (1001)."""
        for handle in self._tasks:
            handle.cancel()
        for peer in tuple(self.peers):
            peer.close(1001, "server stops")
