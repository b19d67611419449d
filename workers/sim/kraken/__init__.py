"""Kraken spot, simulated (WebSocket v2 and REST)."""
