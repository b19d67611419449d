"""ccxt's signing of an order, run by that peer's own interpreter.

Reads lines ``hmac|request COUNT`` and answers each with a line: JSON list of ns a call.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time

import ccxt  # type: ignore[import-not-found]


def main() -> None:
    """The process; the order, key and secret come as JSON in its one argument."""
    order = json.loads(sys.argv[1])
    exchange = ccxt.binance({"apiKey": order["key"], "secret": order["secret"]})
    secret, text = order["secret"].encode(), order["text"].encode()
    calls = {
        "hmac": lambda: exchange.hmac(text, secret, hashlib.sha256, "hex"),
        "request": lambda: exchange.sign("order", ["private"], "POST", order["params"]),
    }
    now = time.perf_counter_ns
    for line in sys.stdin:
        name, count = line.split()
        call, taken = calls[name], []
        for _ in range(int(count)):
            began = now()
            call()
            taken.append(now() - began)
        print(json.dumps(taken), flush=True)


if __name__ == "__main__":
    main()
