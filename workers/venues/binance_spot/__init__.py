"""Binance spot; what it shares with the futures lies in `workers.venues.binance`."""
