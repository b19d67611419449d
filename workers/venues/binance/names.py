"""Binance's codes of currencies, in every market."""

from __future__ import annotations

from workers.venues.listing import Currencies

# Source: what ccxt (4.5) calls them.
CURRENCIES = Currencies({"XBT": "BTC", "BCHSV": "BSV", "YOYO": "YOYOW"})
