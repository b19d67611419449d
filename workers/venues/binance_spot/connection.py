"""Binance spot: the path of its stream, and the venue's limits of a connection."""

from __future__ import annotations

from workers.contract.protocols import MessageBudget

PATH = "/stream"
# Venue docs, "WebSocket Streams": 5 incoming messages a second (ping, pong and JSON alike), 1024 streams a
# connection, 300 connection attempts in 5 minutes from one address.
BUDGET = MessageBudget(messages=5, per=1.0, max_streams=1024, connects=300, connects_per=300.0)
