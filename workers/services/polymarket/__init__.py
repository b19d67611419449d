"""Polymarket's central limit order book: how its requests are signed. Nothing else of it yet."""
