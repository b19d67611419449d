"""Binance USD-M futures in the simulated venue; what they share with spot lies in `workers.sim.binance`."""
