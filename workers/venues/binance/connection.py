"""Binance: the WebSocket connection of every market."""

from __future__ import annotations

import msgspec

from workers.venues.defaults import PlainConnection, refused_for_good


class _Notice(msgspec.Struct):
    """The fields that the shutdown notice is recognised by, combined or raw."""

    stream: str = ""
    event: str = msgspec.field(name="e", default="")


_notice = msgspec.json.Decoder(_Notice).decode


class BinanceConnection(PlainConnection):
    """A combined endpoint, to which streams are added by SUBSCRIBE messages.

    Combined, because the events of some streams contain neither symbol nor type. By message and not in the
    URL, because a misspelled stream in a URL is accepted without an error, and because subscriptions change
    while connected.
    """

    def announced_end(self, data: bytes) -> float | None:
        """Seconds until the venue closes the connection, of a `serverShutdown` message: 0.0, since the venue
        gives no time ("establish a new connection as soon as possible"); None: it is another message."""
        if b"serverShutdown" not in data:
            return None
        try:
            notice = _notice(data)
        except (msgspec.MsgspecError, ValueError):
            return None
        return 0.0 if "serverShutdown" in (notice.event, notice.stream.lstrip("!")) else None

    def should_reconnect(self, error: BaseException) -> bool:
        """True for all but a handshake that the server refused for a lasting reason (a wrong path, a blocked
        region); 429 and 418 (rate limits) and 5xx are temporary."""
        return not refused_for_good(error, passing=(418, 429))
