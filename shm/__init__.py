"""tickring's shared memory: exact market data, read in nanoseconds, by any process.

All that a reader needs is on this page; it depends on NumPy and nothing else of the project::

    import shm

    feed = shm.attach("binance_spot", wait=5.0)
    top = feed.top("BTC/USDT")                  # raises Stale unless LIVE
    print(top.bid, top.ask, top.age)

    cursor = feed.cursor()                      # from now on
    while True:
        if cursor.wait(timeout=1.0):
            batch = cursor.poll()               # a NumPy structured array, yours to keep
            print(len(batch), "records,", batch.lost, "lost before the first")

Numbers are exact int64 mantissas (`top.exact`, `book.exact`), float views of them, or decimals on request.
The wire contract, for readers in other languages, is in `shm/README.md`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from shm.errors import (
    Action,
    BadName,
    Busy,
    Closed,
    Incompatible,
    Locked,
    NoSpace,
    NotFound,
    NotOwner,
    ShmError,
    Stale,
    UnknownSymbol,
)
from shm.instruments import Instrument
from shm.layout import Flag, Geometry, InstrumentKind, InstrumentStatus, Kind, Reason, Scope, State

if TYPE_CHECKING:
    from shm.fold import Fold
    from shm.reader import Batch, Book, Cursor, Feed, FeedInfo, Record, Top, attach, feeds

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
    "Kind",
    "Locked",
    "NoSpace",
    "NotFound",
    "NotOwner",
    "Reason",
    "Record",
    "Scope",
    "ShmError",
    "Stale",
    "State",
    "Top",
    "UnknownSymbol",
    "attach",
    "feeds",
]

# The reader's names need NumPy. A worker imports its own parts of this package and none of these: it starts
# 0.1 s sooner, and when it is killed it is gone, and its feed DOWN, milliseconds sooner.
_LATER = dict.fromkeys(
    ("Batch", "Book", "Cursor", "Feed", "FeedInfo", "Record", "Top", "attach", "feeds"), "shm.reader"
) | {"Fold": "shm.fold"}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module 'shm' has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(_LATER[name]), name)
    return value


def __dir__() -> list[str]:
    return __all__
