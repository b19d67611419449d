"""Binance spot, simulated; what it shares with the futures lies in `workers.sim.binance`."""
