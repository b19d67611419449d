"""WebSocket: from the wish to the wire and back. `WebSocketManager` is the face.

`manager` spreads topics over shards, a `shard` is one reconnect loop, a `link` one connection, `renewal`
replaces a connection before its end. Loaded lazily: the sink's side needs `wire` alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workers.websocket.manager import WebSocketManager

__all__ = ["WebSocketManager"]


def __getattr__(name: str) -> Any:
    if name != "WebSocketManager":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from workers.websocket.manager import WebSocketManager

    return WebSocketManager
