"""Binance spot in the simulated venue; what it shares with the futures lies in `workers.sim.binance`."""

from workers.sim.binance_spot.dialect import DEFAULT_SYMBOLS, LISTINGS

__all__ = ["DEFAULT_SYMBOLS", "LISTINGS"]
