"""What the simulated Binance venues share; `binance_spot` and `binance_futures` are the dialects."""
