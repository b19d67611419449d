"""OKX: where to connect, the ping, the notice of an upgrade, and which failures are worth another attempt."""

from __future__ import annotations

import msgspec

from workers.contract.protocols import Answer, Dialogue, MessageBudget
from workers.venues.defaults import PlainConnection, refused_for_good

PATH = "/ws/v5/public"
# Venue docs, "WebSocket", "Connect": 3 connection attempts a second and address; 480 subscribe, unsubscribe
# and login requests an hour and connection. Our pings are counted with them, to be on the safe side: at one
# each 20 s they are 180 an hour.
# The venue names no limit of streams.
BUDGET = MessageBudget(
    messages=480, per=3600.0, max_streams=1024, connects=3, connects_per=1.0, connect_burst=2
)
# Venue docs, the same page: without a push for 30 s the connection is closed, unless the text "ping" is sent,
# which is answered by the text "pong"; neither is JSON.
PING, PONG = b"ping", b"pong"
# Venue docs, "Notification": 60 s before the upgrade of a service that ends the connection.
UPGRADE = "64008"
NOTICE = 60.0
# Channels with parts that are not of one instrument: liquidations are subscribed by instrument type, an index
# price for all of its derivatives. On several connections the same events would come, and be published,
# several times. So these channels have one connection of their own, however many instruments there are.
SHARED = "shared"
SHARED_CHANNELS = frozenset({"mark", "liquidations"})
ALL_STREAMS = 1_000_000


class _Notice(msgspec.Struct):
    """The fields that the notice of an upgrade is recognised by."""

    event: str = ""
    code: str = ""


_notice = msgspec.json.Decoder(_Notice).decode
_PING = Dialogue((PING,), lambda data: Answer.ACCEPTED if data == PONG else Answer.NOT_MINE)


class OkxConnection(PlainConnection):
    """The public endpoint `PATH`; demo trading and the regions differ in the host alone.

    `SHARED_CHANNELS` have a route of their own, at the same address.
    """

    def route(self, channel: str) -> str:
        return SHARED if channel in SHARED_CHANNELS else ""

    def at(self, route: str) -> OkxConnection:
        if route != SHARED:
            return self
        budget = msgspec.structs.replace(self._budget, max_streams=ALL_STREAMS)
        return OkxConnection(self._context, budget, self._policy)

    def handle_heartbeat(self) -> Dialogue:
        return _PING

    def announced_end(self, data: bytes) -> float | None:
        """Seconds until the venue closes the connection, of the notice of a service upgrade; None: it is
        another message (other notices end no connection)."""
        if not data.startswith(b'{"event":"notice"'):
            return None
        try:
            notice = _notice(data)
        except (msgspec.MsgspecError, ValueError):
            return None
        return NOTICE if notice.code == UPGRADE else None

    def should_reconnect(self, error: BaseException) -> bool:
        """True for all but a handshake that the server refused for a lasting reason (a wrong path, a blocked
        region); 429 (rate limit) and 5xx are temporary."""
        return not refused_for_good(error)
