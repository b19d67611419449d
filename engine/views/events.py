"""A feed's event log in words, for `tickring events`."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import shm
from shm.errors import ShmError
from shm.events import Event

WAIT = 0.2  # s between two looks: the log wakes nobody
MOST = 1 << 16  # more than any log holds


def event_document(event: Event) -> dict[str, object]:
    """The stable JSON of `tickring events`."""
    return {
        "seq": event.seq,
        "time": _time(event.wall_ns),
        "severity": event.severity,
        "code": event.code,
        "symbol": event.symbol,
        "text": event.text,
    }


def event_text(document: dict[str, Any]) -> str:
    """One line: ``2026-11-21T18:01:29.123Z warning BTC/USDT: gap: expected update 10, got 12``."""
    about = f"{document['symbol']}: " if document["symbol"] else ""
    return f"{document['time']} {document['severity']:<7} {about}{document['text']}"


def follow(feed: shm.Feed, show: Callable[[dict[str, object]], None], count: int, go_on: bool) -> None:
    """Show the newest `count` events; with `go_on` every further one, until Ctrl-C or SIGTERM."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    log = _Log(feed)
    try:
        for event in log.newest(count):
            show(event_document(event))
        while go_on:
            time.sleep(WAIT)
            for event in log.newest(MOST):
                show(event_document(event))
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)


class _Log:
    """What was not shown yet. A new generation of the segment has a log of its own, from its beginning."""

    def __init__(self, feed: shm.Feed) -> None:
        self._feed = feed
        self._seen = (0, 0)  # generation, sequence

    def newest(self, count: int) -> Iterator[Event]:
        try:
            events = self._feed.events(count)
        except ShmError:  # in the middle of a restart: the next look
            return
        generation = self._feed.generation
        for event in events:
            if (generation, event.seq) > self._seen:
                self._seen = (generation, event.seq)
                yield event


def _time(wall_ns: int) -> str:
    seconds, rest = divmod(wall_ns, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest // 1_000_000:03d}Z"
