"""Following a feed's ring for `tickring tail`."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from typing import Any

import shm
from engine.views.views import Scales, record_document
from shm.layout import NO_INSTRUMENT

WAIT = 0.5  # s, so that Ctrl-C is never late


def follow(
    feed: shm.Feed,
    show: Callable[[dict[str, object]], None],
    *,
    symbol: str | None = None,
    count: int | None = None,
    from_oldest: bool = False,
) -> int:
    """Show records until `count` were shown or Ctrl-C; returns how many records were lost on the way.

    With a `symbol`, only its records and those of the whole feed are shown; `lost` is always the feed's.
    """
    if symbol is not None:
        feed.instrument(symbol)  # an unknown one is an error before anything is shown
    cursor = feed.cursor(from_oldest=from_oldest)
    # An order to stop is an order to say what was lost, whoever gives it.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    instruments: Mapping[int, Scales] = _by_index(feed)
    shown = 0
    try:
        while True:
            batch = cursor.poll()
            if not len(batch):
                cursor.wait(WAIT)
                continue
            for record in batch:
                index = int(record["instrument"])
                if index != NO_INSTRUMENT and index not in instruments:
                    instruments = _by_index(feed)
                if symbol is not None and index != NO_INSTRUMENT and _symbol(instruments, index) != symbol:
                    continue
                show(record_document(record, instruments))
                shown += 1
                if shown == count:
                    return int(cursor.lost)
    except KeyboardInterrupt:
        return int(cursor.lost)
    finally:
        signal.signal(signal.SIGTERM, before)


def _by_index(feed: shm.Feed) -> dict[int, Any]:
    return {instrument.index: instrument for instrument in feed.slots}


def _symbol(instruments: Mapping[int, Scales], index: int) -> str | None:
    return instruments[index].symbol if index in instruments else None
