"""One look at shared memory, as plain values: what `/metrics`, `/status` and `tickring status` render."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import shm
from engine.roster import Roster, Told
from shm.errors import NotFound, ShmError
from shm.layout import InstrumentStatus, Reason, Scope, State


@dataclass(frozen=True, slots=True)
class CellSample:
    """One cell of one instrument. `age`: seconds since its last event was received, None before the first."""

    state: State
    age: float | None
    reason: Reason = Reason.NONE

    @property
    def carried(self) -> bool:
        """Whether the feed publishes it, or should."""
        return self.state is not State.DOWN or self.reason is not Reason.NONE


@dataclass(frozen=True, slots=True)
class InstrumentSample:
    """One instrument: its cells by channel (``top``, ``book``) and its counters."""

    symbol: str
    cells: dict[str, CellSample]
    counters: dict[str, int] = field(default_factory=dict)
    status: InstrumentStatus = InstrumentStatus.ACTIVE


@dataclass(frozen=True, slots=True)
class HistogramSample:
    """Nanoseconds: `buckets` are (largest value, how many), ascending, those that are not empty."""

    count: int
    sum: int
    buckets: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class FeedSample:
    """One feed. `problem` says why it could not be read; then all but the name is empty.

    `state` is what a reader is told: DOWN too when the heartbeat is late. `told` is what the engine says of
    its worker, None where no engine tells.
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
    told: Told | None = None


def take(instance: str, names: Iterable[str] | None = None, roster: Roster | None = None) -> list[FeedSample]:
    """Sample feeds of an instance, by default all that are in shared memory or that the engine is to run; one
    that is missing is a sample with a problem."""
    told: Mapping[str, Told] = roster.feeds if roster is not None else {}
    if names is None:
        names = sorted({info.name for info in shm.feeds(instance)} | told.keys())
    return [take_one(instance, name, told.get(name)) for name in names]


def take_one(instance: str, name: str, told: Told | None = None) -> FeedSample:
    """Attach, look, detach: a generation that was replaced meanwhile is never looked at again."""
    try:
        feed = shm.attach(name, instance)
    except NotFound as error:
        return FeedSample(name, problem=str(error) if told is None else str(told), told=told)
    except ShmError as error:
        return FeedSample(name, problem=str(error), told=told)
    try:
        counters = feed.counters()
        return FeedSample(
            name=name,
            told=told,
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
                InstrumentSample(
                    each.symbol,
                    _cells(feed, each.symbol),
                    dict(counters.instruments.get(each.symbol, {})),
                    each.status,
                )
                for each in feed.instruments
            ],
        )
    except ShmError as error:
        return FeedSample(name, problem=str(error), told=told)
    finally:
        feed.close()


def _cells(feed: shm.Feed, symbol: str) -> dict[str, CellSample]:
    return {
        channel: CellSample(
            feed.cell_state(symbol, scope), feed.cell_age(symbol, scope), feed.cell_reason(symbol, scope)
        )
        for channel, scope in (("top", Scope.TOP), ("book", Scope.BOOK))
    }


def status_document(
    instance: str, samples: Iterable[FeedSample], roster: Roster | None = None
) -> dict[str, object]:
    """The stable JSON of `tickring status --json`, `feeds --json` and `/status`.

    ``engine`` is null where no running engine could be asked: then a feed that never came up is not there.
    """
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
            "cells": cells_by_state(sample),
        }
        if sample.problem is not None:
            feed["problem"] = sample.problem
        elif sample.state is not State.LIVE:
            feed["reason"] = sample.reason.name
        if sample.told is not None:
            feed["worker"] = {
                "phase": sample.told.phase,
                "restarts": sample.told.restarts,
                "why": sample.told.why,
                "said": sample.told.said,
            }
        feeds.append(feed)
    engine = None if roster is None else {"pid": roster.pid, "address": roster.address}
    return {"instance": instance, "engine": engine, "feeds": feeds}


def cells_by_state(sample: FeedSample) -> dict[str, dict[str, int]]:
    """channel -> state -> how many: ``{"top": {"LIVE": 4}, "book": {"LIVE": 3, "RESYNC": 1}}``.

    Left out is what nobody asks for: channels that the feed does not have, symbols that it carries no more.
    """
    found: dict[str, dict[str, int]] = {}
    for instrument in sample.instruments:
        for channel, cell in instrument.cells.items():
            gone = cell.reason is Reason.UNSUBSCRIBED and instrument.status is InstrumentStatus.HALTED
            if cell.carried and not gone:
                states = found.setdefault(channel, {})
                states[cell.state.name] = states.get(cell.state.name, 0) + 1
    return found


def not_ready(sample: FeedSample) -> str | None:
    """Why a feed is not ready to be traded on, or None: it is LIVE and no instrument is still to come.

    STALE instruments do not count against it: a quiet market is not an outage, and readers refuse those
    prices by themselves.
    """
    if sample.problem is not None:
        return sample.problem
    if sample.state is not State.LIVE:
        words = f"is {sample.state.name} ({sample.reason.name})"
        idle = sample.told is not None and sample.told.phase != "running"
        return f"{words}; its worker is {sample.told}" if idle else words
    return None
