"""Kraken spot: where to connect, the ping, halts of trading, and which failures are worth another attempt."""

from __future__ import annotations

import msgspec

from workers.contract.protocols import Answer, ConnectionContext, Dialogue, MessageBudget, ReconnectionPolicy
from workers.venues.defaults import PlainConnection, refused_for_good

PATH = "/v2"
PING = b'{"method":"ping"}'
ONLINE = "online"
REMEMBERED = 256  # connections that are halted at a time


class _State(msgspec.Struct):
    system: str = ""
    connection_id: int = 0


class _Status(msgspec.Struct):
    channel: str = ""
    data: list[_State] = []


class _Pong(msgspec.Struct):
    method: str = ""
    req_id: int | None = None


_status = msgspec.json.Decoder(_Status).decode
_pong = msgspec.json.Decoder(_Pong).decode


class KrakenConnection(PlainConnection):
    """One endpoint for all public channels.

    The ping is the venue's own message (docs, "ping", answered by `pong`): WebSocket PING frames are not
    documented, and a connection on which nothing is sent may be closed after a minute.
    """

    def __init__(
        self, context: ConnectionContext, budget: MessageBudget, policy: ReconnectionPolicy | None = None
    ) -> None:
        super().__init__(context, budget, policy)
        self._halted: dict[int, None] = {}  # by the venue's connection id

    def handle_heartbeat(self) -> Dialogue:
        return Dialogue((PING,), _answers_ping)

    def announced_end(self, data: bytes) -> float | None:
        """0.0 (replace it now) when the trading engine is `online` again on a connection on which it was
        halted (docs, "status": `maintenance`, `cancel_only`, `post_only`); else None.

        Afterwards a quiet book may have changed without a message; the new connection brings a snapshot of
        each. During the halt nothing is done: books for which the venue sends nothing become STALE.
        """
        if not data.startswith(b'{"channel":"status"'):
            return None
        try:
            states = _status(data).data
        except (msgspec.MsgspecError, ValueError):
            return None
        again = False
        for state in states:
            if state.system != ONLINE:
                if len(self._halted) >= REMEMBERED:
                    self._halted.clear()
                self._halted[state.connection_id] = None
            elif state.connection_id in self._halted:
                del self._halted[state.connection_id]
                again = True
        return 0.0 if again else None

    def should_reconnect(self, error: BaseException) -> bool:
        """True for all but a handshake that the server refused for a lasting reason (a wrong path, a blocked
        region); 429 (rate limit) and 5xx are temporary."""
        return not refused_for_good(error)


def _answers_ping(data: bytes) -> Answer:
    """ACCEPTED for a pong without a number; those with one acknowledge messages (rule 2 of
    subscription.py)."""
    if len(data) > 512 or b'"pong"' not in data:
        return Answer.NOT_MINE
    try:
        pong = _pong(data)
    except (msgspec.MsgspecError, ValueError):
        return Answer.NOT_MINE
    return Answer.ACCEPTED if pong.method == "pong" and pong.req_id is None else Answer.NOT_MINE
