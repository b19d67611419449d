"""One look at shared memory, as plain values: what `/metrics`, `/status` and `tickring status` render."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import shm
from shm.errors import ShmError
from shm.layout import Reason, Scope, State


@dataclass(frozen=True, slots=True)
class CellSample:
    """One cell of one instrument. `age`: seconds since its last event was received, None before the first."""

    state: State
    age: float | None


@dataclass(frozen=True, slots=True)
class InstrumentSample:
    """One instrument: its cells by channel (``top``, ``book``) and its counters."""

    symbol: str
    cells: dict[str, CellSample]
    counters: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HistogramSample:
    """Nanoseconds: `buckets` are (largest value, how many), ascending, those that are not empty."""

    count: int
    sum: int
    buckets: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class FeedSample:
    """One feed. `problem` says why it could not be read; then all but the name is empty.

    `state` is what a reader is told: DOWN too when the heartbeat is late.
    """

    name: str
    state: State = State.DOWN
    reason: Reason = Reason.NONE
    generation: int = 0
    epoch: int = 0
    pid: int = 0
    heartbeat_age: float | None = None
    counters: dict[str, int] = field(default_factory=dict)
    histograms: dict[str, HistogramSample] = field(default_factory=dict)
    instruments: list[InstrumentSample] = field(default_factory=list)
    problem: str | None = None


def take(instance: str, names: Iterable[str] | None = None) -> list[FeedSample]:
    """Sample feeds of an instance, by default all; one that is missing is a sample with a problem."""
    if names is None:
        names = [info.name for info in shm.feeds(instance)]
    return [take_one(instance, name) for name in names]


def take_one(instance: str, name: str) -> FeedSample:
    """Attach, look, detach: a generation that was replaced meanwhile is never looked at again."""
    try:
        feed = shm.attach(name, instance)
    except ShmError as error:
        return FeedSample(name, problem=str(error))
    try:
        counters = feed.counters()
        return FeedSample(
            name=name,
            state=feed.state,
            reason=feed.reason,
            generation=feed.generation,
            epoch=feed.epoch,
            pid=feed.pid,
            heartbeat_age=feed.heartbeat_age,
            counters=dict(counters.feed),
            histograms={
                key: HistogramSample(value.count, value.sum, list(value.buckets))
                for key, value in feed.histograms().items()
            },
            instruments=[
                InstrumentSample(symbol, _cells(feed, symbol), dict(counters.instruments.get(symbol, {})))
                for symbol in feed.symbols
            ],
        )
    except ShmError as error:
        return FeedSample(name, problem=str(error))
    finally:
        feed.close()


def _cells(feed: shm.Feed, symbol: str) -> dict[str, CellSample]:
    return {
        channel: CellSample(feed.cell_state(symbol, scope), feed.cell_age(symbol, scope))
        for channel, scope in (("top", Scope.TOP), ("book", Scope.BOOK))
    }


def status_document(instance: str, samples: Iterable[FeedSample]) -> dict[str, object]:
    """The stable JSON of `tickring status --json`, `feeds --json` and `/status`."""
    feeds = []
    for sample in samples:
        age = sample.heartbeat_age
        feed: dict[str, object] = {
            "name": sample.name,
            "state": sample.state.name,
            "generation": sample.generation,
            "epoch": sample.epoch,
            "pid": sample.pid,
            "heartbeat_age_ms": None if age is None else round(age * 1e3, 3),
            "messages": sample.counters.get("messages", 0),
            "instruments": len(sample.instruments),
            "restarts": sample.counters.get("restarts", 0),
        }
        if sample.problem is not None:
            feed["problem"] = sample.problem
        elif sample.state is not State.LIVE:
            feed["reason"] = sample.reason.name
        feeds.append(feed)
    return {"instance": instance, "feeds": feeds}


def not_ready(sample: FeedSample) -> str | None:
    """Why a feed is not ready to be traded on, or None: it is LIVE and no instrument is still to come.

    STALE instruments do not count against it: a quiet market is not an outage, and readers refuse those
    prices by themselves.
    """
    if sample.problem is not None:
        return sample.problem
    if sample.state is not State.LIVE:
        return f"is {sample.state.name} ({sample.reason.name})"
    return None
