"""What signing loads: the library for RSA and Ed25519 only where there is such a key."""

from __future__ import annotations

import subprocess
import sys

PROBE = """
import sys
from workers.auth.credentials import Credentials
from workers.auth.secret import SecretError
from workers.services.polymarket import auth as polymarket
from workers.venues.binance_spot import auth as binance_spot
from workers.venues.binance_futures import auth as binance_futures
from workers.venues.bybit import auth as bybit
from workers.venues.gateio import auth as gateio
from workers.venues.kraken import auth as kraken
from workers.venues.mexc_spot import auth as mexc_spot
from workers.venues.okx import auth as okx
binance_spot.auth(Credentials.of("k", "s"))
before = "cryptography" in sys.modules
try:
    binance_spot.auth(Credentials.of("k", "-----BEGIN PRIVATE KEY-----"))
except SecretError:
    pass
print(before, "cryptography" in sys.modules, "numpy" in sys.modules, "aiohttp" in sys.modules)
"""


def test_hmac_loads_no_library() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "False", "False"]
