"""MEXC spot: where and how to connect.

Rules (venue docs, "Websocket Market Streams", 2026-04; [U]: not in them, see each number):

1. One endpoint for all; what is wanted is asked for by message.
2. Without a valid subscription the venue closes a connection after 30 s; with one that brings nothing, after
   60 s, unless the client pings.
3. The ping is a message, ``{"method":"PING"}``, and its answer one, ``{"id":0,"code":0,"msg":"PONG"}``.
4. A connection lives 24 hours at most. Its end is not announced.
5. A connection carries 30 subscriptions at most.
"""

from __future__ import annotations

from workers.contract.protocols import Answer, Dialogue, MessageBudget
from workers.venues.defaults import PlainConnection, refused_for_good

PATH = "/ws"
# Streams: rule 5. Messages [U]: a list of third parties (2026-06) has 100 a second; half of that loses
# nothing here. Connection attempts [U]: not documented; one a second, after five at once. 500 symbols with
# three channels are 50 connections, which takes 45 s.
BUDGET = MessageBudget(messages=50, per=1.0, max_streams=30, connects=60, connects_per=60.0)
PING = b'{"method":"PING"}'


class MexcSpotConnection(PlainConnection):
    """One endpoint for all channels, with the venue's own ping message (rules 1 and 3)."""

    def handle_heartbeat(self) -> Dialogue:
        """Rule 3; at the context's interval, which is far below rule 2's minute."""
        return Dialogue((PING,), _pong)

    def should_reconnect(self, error: BaseException) -> bool:
        """True for all but a handshake that the server refused for a lasting reason; 429, 418 and 5xx are
        temporary. 403 (the venue's firewall, after too many attempts or for good) counts as lasting: attempts
        are slow then."""
        return not refused_for_good(error, passing=(418, 429))


def _pong(data: bytes) -> Answer:
    mine = len(data) <= 64 and data.startswith(b"{") and b'"PONG"' in data
    return Answer.ACCEPTED if mine else Answer.NOT_MINE
