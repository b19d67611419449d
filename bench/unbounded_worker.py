"""A worker whose venue allows any number of connections and requests: ``python -m bench.unbounded_worker``.

The venue's own allowances (300 connects in 5 minutes, 6000 weight a minute) would be all that a benchmark of
hundreds of reconnects measures. Nothing else differs from ``python -m workers.worker``.
"""

from __future__ import annotations

import sys

import msgspec

from workers.venues.binance_spot import connection, limits

assert connection.BUDGET.connects == 300, "the allowance has another name or value now"
connection.BUDGET = msgspec.structs.replace(connection.BUDGET, connects=300_000)
allowed = limits.limits.__kwdefaults__
assert allowed["weight_limit"] == 6000, "the allowance has another name or value now"
allowed["weight_limit"] = 100_000_000

if __name__ == "__main__":
    from workers.worker.worker import main

    sys.exit(main())
