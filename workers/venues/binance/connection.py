"""Binance: what its WebSocket connections have in common, and which of their failures can heal."""

from __future__ import annotations

import msgspec

from workers.venues.defaults import PlainConnection, refused_for_good


class _Notice(msgspec.Struct):
    """As much of a message as tells whether it is the shutdown notice, combined form or raw."""

    stream: str = ""
    event: str = msgspec.field(name="e", default="")


_notice = msgspec.json.Decoder(_Notice).decode


class BinanceConnection(PlainConnection):
    """A combined endpoint, to which streams are added by SUBSCRIBE messages.

    Combined, because some streams name neither symbol nor type by themselves; by message and not by URL,
    because a misspelled stream in a URL is accepted without a word, and because hot changes need the messages
    anyway.
    """

    def announced_end(self, data: bytes) -> float | None:
        """`serverShutdown`: "establish a new connection as soon as possible"; how long there is, the venue
        does not say, so there is no time."""
        if b"serverShutdown" not in data:
            return None
        try:
            notice = _notice(data)
        except (msgspec.MsgspecError, ValueError):
            return None
        return 0.0 if "serverShutdown" in (notice.event, notice.stream.lstrip("!")) else None

    def should_reconnect(self, error: BaseException) -> bool:
        """All but a handshake that the server understood and refused (a wrong path, a blocked region):
        429 and 418 end by themselves, 5xx too."""
        return not refused_for_good(error, passing=(418, 429))
