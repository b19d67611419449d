"""tickring for programs: market data out of shared memory, and venues without the engine. One name to learn::

    import tickring

    feed = tickring.attach("binance_spot", wait=5.0)
    top = feed.top("BTC/USDT")                  # raises Stale unless LIVE

`attach` and `feeds` are the way in; `shm` has the same names and documents them. `TransportFactory` makes a
venue's public side (`workers/exchange/factory.py`).

Everything is imported when it is first asked for: whoever only reads loads the reader and nothing else.

Raises:
    ImportError: another package called `shm` or `workers` comes before ours on the path.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

_ROOT = Path(__file__).resolve().parents[1]


def _check(package: str) -> None:
    """That what Python finds under this name is ours, which is beside this package."""
    found = sys.modules.get(package)
    spec = find_spec(package) if found is None else getattr(found, "__spec__", None)
    origin = getattr(spec, "origin", None) or next(
        iter(getattr(spec, "submodule_search_locations", None) or ()), ""
    )
    if not origin or _ROOT not in Path(origin).resolve().parents:
        what = f"{package!r} is {origin}, not tickring's" if origin else f"tickring's {package!r} is missing"
        raise ImportError(f"tickring: {what} (expected in {_ROOT}): rename yours or move it back on the path")


_check("shm")

if TYPE_CHECKING:
    from shm import (
        Action,
        BadName,
        Batch,
        Book,
        Busy,
        Closed,
        Cursor,
        Feed,
        FeedInfo,
        Flag,
        Fold,
        Geometry,
        Incompatible,
        Instrument,
        InstrumentKind,
        InstrumentStatus,
        Kind,
        Locked,
        NoSpace,
        NotFound,
        NotOwner,
        Reason,
        Record,
        Scope,
        ShmError,
        Stale,
        State,
        Top,
        UnknownSymbol,
        attach,
        feeds,
    )
    from workers.contract.errors import WorkerError
    from workers.contract.types import Symbol
    from workers.exchange.factory import NotOffered, PublicExchange, TransportFactory
    from workers.exchange.messages import Interruption, OrderBook
    from workers.venues.market import UnknownInterval

_EXCHANGE = {
    "Interruption": "workers.exchange.messages",
    "NotOffered": "workers.exchange.factory",
    "OrderBook": "workers.exchange.messages",
    "PublicExchange": "workers.exchange.factory",
    "Symbol": "workers.contract.types",
    "TransportFactory": "workers.exchange.factory",
    "UnknownInterval": "workers.venues.market",
    "WorkerError": "workers.contract.errors",
}

__all__ = [
    "Action",
    "BadName",
    "Batch",
    "Book",
    "Busy",
    "Closed",
    "Cursor",
    "Feed",
    "FeedInfo",
    "Flag",
    "Fold",
    "Geometry",
    "Incompatible",
    "Instrument",
    "InstrumentKind",
    "InstrumentStatus",
    "Interruption",
    "Kind",
    "Locked",
    "NoSpace",
    "NotFound",
    "NotOffered",
    "NotOwner",
    "OrderBook",
    "PublicExchange",
    "Reason",
    "Record",
    "Scope",
    "ShmError",
    "Stale",
    "State",
    "Symbol",
    "Top",
    "TransportFactory",
    "UnknownInterval",
    "UnknownSymbol",
    "WorkerError",
    "attach",
    "feeds",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'tickring' has no attribute {name!r}")
    if name in _EXCHANGE:
        _check("workers")
    globals()[name] = value = getattr(import_module(_EXCHANGE.get(name, "shm")), name)
    return value


def __dir__() -> list[str]:
    return __all__
