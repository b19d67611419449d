"""WebSocket connections to a venue: subscribe to topics, and keep them subscribed. Use `WebSocketManager`.

`manager` spreads the topics over shards; a `shard` is one reconnect loop with one `connection` at a time;
`renewal` replaces a connection without a gap before it ends. The manager is imported when it is first asked
for: the code that publishes market data needs the listener (`wire`) alone.
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
