"""Binance USD-M futures: how its requests are signed. No `venue.py` yet: nothing that a worker can run."""
