"""Binance USD-M futures, simulated; what they share with spot lies in `workers.sim.binance`."""
