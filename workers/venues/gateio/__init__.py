"""Gate.io v4: how its requests are signed. No `venue.py` yet: nothing that a worker can run."""
