"""Binance's codes of currencies, in every market."""

from __future__ import annotations

from workers.venues.listing import Currencies

# Source: ccxt's unified codes (4.5).
CURRENCIES = Currencies({"XBT": "BTC", "BCHSV": "BSV", "YOYO": "YOYOW"})
