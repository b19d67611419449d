"""OKX v5, simulated."""
