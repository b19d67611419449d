"""What all markets of Binance share; `binance_spot` and `binance_futures` state what differs. No `venue.py`:
nothing that a worker can run."""
