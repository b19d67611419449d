"""MEXC spot, simulated."""
