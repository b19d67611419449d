"""Binance USD-M futures; what they share with spot lies in `workers.venues.binance`."""
