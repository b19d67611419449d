"""Network faults on command, for tests and demonstrations; loopback only.

`proxy.FaultProxy` stands between a client and a server; `faults` are the orders it takes; `lane` decides,
without a socket or a clock, what becomes of bytes under them; `frames` knows WebSocket framing. From a shell:
``python -m tests.faults --help``.
"""

from tests.faults.faults import (
    Accept,
    Blackhole,
    Corrupt,
    Corruption,
    Cut,
    Direction,
    Drop,
    Duplicate,
    Fault,
    FaultError,
    Half,
    Hole,
    How,
    Latency,
    Refuse,
    Reorder,
    Stall,
    Throttle,
    parse,
)
from tests.faults.proxy import FaultProxy

__all__ = [
    "Accept",
    "Blackhole",
    "Corrupt",
    "Corruption",
    "Cut",
    "Direction",
    "Drop",
    "Duplicate",
    "Fault",
    "FaultError",
    "FaultProxy",
    "Half",
    "Hole",
    "How",
    "Latency",
    "Refuse",
    "Reorder",
    "Stall",
    "Throttle",
    "parse",
]
