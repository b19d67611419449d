"""One look at shared memory, as plain values: what `/metrics`, `/status` and `tickring status` render."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import shm
from engine.supervision.status import EngineStatus, WorkerStatus
from engine.views.views import shortened
from shm.channels import CELLS, Delivery
from shm.errors import NotFound, ShmError
from shm.layout import InstrumentStatus, Reason, State
from shm.readiness import Cell, Require, Subject, Topic, Verdict, judge


@dataclass(frozen=True, slots=True)
class CellSample:
    """One cell of one instrument. `age`: seconds since its last event was received, None before the first."""

    state: State
    age: float | None
    reason: Reason = Reason.NONE


@dataclass(frozen=True, slots=True)
class InstrumentSample:
    """One instrument: its cells by channel (``top``, ``book``), its counters, and what each subscribed
    channel delivered last and owes."""

    symbol: str
    cells: dict[str, CellSample]
    counters: dict[str, int] = field(default_factory=dict)
    status: InstrumentStatus = InstrumentStatus.ACTIVE
    channels: dict[str, Delivery] = field(default_factory=dict)

    @property
    def subject(self) -> Subject:
        """What readiness is judged by."""
        cells = {channel: Cell(cell.state, cell.reason) for channel, cell in self.cells.items()}
        return Subject(self.symbol, self.status, cells, self.channels)


@dataclass(frozen=True, slots=True)
class HistogramSample:
    """Nanoseconds: `buckets` are (largest value, how many), ascending, those that are not empty."""

    count: int
    sum: int
    buckets: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class FeedSample:
    """One feed. `problem`: why it could not be read; then all but the name is empty.

    `state` is what a reader sees: DOWN too when the heartbeat is late. `worker` is what the engine publishes
    of its worker, None where no engine runs.
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
    worker: WorkerStatus | None = None

    @property
    def verdict(self) -> Verdict:
        """What is delivered, what is not, and what is not tradable (`shm.readiness`)."""
        return judge(instrument.subject for instrument in self.instruments)


def take(
    instance: str, names: Iterable[str] | None = None, engine: EngineStatus | None = None
) -> list[FeedSample]:
    """Sample feeds of an instance, by default all that are in shared memory or that the engine is to run; one
    that is missing is a sample with a problem."""
    workers: Mapping[str, WorkerStatus] = engine.feeds if engine is not None else {}
    if names is None:
        names = sorted({info.name for info in shm.feeds(instance)} | workers.keys())
    return [take_one(instance, name, workers.get(name)) for name in names]


def take_one(instance: str, name: str, worker: WorkerStatus | None = None) -> FeedSample:
    """Attach, look, detach: a generation that was replaced meanwhile is never looked at again."""
    try:
        feed = shm.attach(name, instance)
    except NotFound as error:
        return FeedSample(name, problem=str(error) if worker is None else str(worker), worker=worker)
    except ShmError as error:
        return FeedSample(name, problem=str(error), worker=worker)
    try:
        counters = feed.counters()
        return FeedSample(
            name=name,
            worker=worker,
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
                    feed.delivery(each.symbol),
                )
                for each in feed.instruments
            ],
        )
    except ShmError as error:
        return FeedSample(name, problem=str(error), worker=worker)
    finally:
        feed.close()


def _cells(feed: shm.Feed, symbol: str) -> dict[str, CellSample]:
    return {
        channel: CellSample(
            feed.cell_state(symbol, scope), feed.cell_age(symbol, scope), feed.cell_reason(symbol, scope)
        )
        for channel, scope in CELLS.items()
    }


def status_document(
    instance: str, samples: Iterable[FeedSample], engine: EngineStatus | None = None
) -> dict[str, object]:
    """The stable JSON of `tickring status --json`, `feeds --json` and `/status`.

    ``engine`` is null where no running engine could be asked: then a feed that never came up is not there.
    """
    require: Require = "listed" if engine is None else engine.require
    feeds = []
    for sample in samples:
        age = sample.heartbeat_age
        verdict = sample.verdict
        reason = not_ready(sample, require, verdict)
        feed: dict[str, object] = {
            "name": sample.name,
            "state": sample.state.name,
            "ready": reason is None,
            "generation": sample.generation,
            "epoch": sample.epoch,
            "pid": sample.pid,
            "heartbeat_age_ms": None if age is None else round(age * 1e3, 3),
            "messages": sample.counters.get("messages", 0),
            "instruments": len(sample.instruments),
            "restarts": sample.counters.get("restarts", 0),
            "cells": cells_by_state(sample),
            "symbols": {each.symbol: symbol_document(each) for each in _counted(sample)},
            **verdict_document(verdict),
        }
        if gone := unsubscribed(sample):
            feed["unsubscribed"] = gone
        if reason is not None:
            feed["not_ready"] = reason
        unfit = {each.symbol: each.counters.get("precision", 0) for each in sample.instruments}
        if any(unfit.values()):  # messages with a number that does not fit the slot
            feed["precision"] = {symbol: count for symbol, count in unfit.items() if count}
        if sample.problem is not None:
            feed["problem"] = sample.problem
        elif sample.state is not State.LIVE:
            feed["reason"] = sample.reason.name
        if sample.worker is not None:
            feed["worker"] = {
                "phase": sample.worker.phase,
                "restarts": sample.worker.restarts,
                "last_action": sample.worker.last_action,
                "last_stderr": sample.worker.last_stderr,
            }
        feeds.append(feed)
    document = None if engine is None else {"pid": engine.pid, "address": engine.address}
    return {"instance": instance, "engine": document, "feeds": feeds}


def symbol_document(instrument: InstrumentSample) -> dict[str, object]:
    """One symbol: its status, the states of its cells, and each subscribed channel's age and expectation in
    seconds (``within`` null: nothing is owed)."""
    cells = {channel: cell for channel, cell in instrument.subject.cells.items() if cell.carried}
    return {
        "status": instrument.status.name,
        "cells": {channel: cell_text(cell) for channel, cell in cells.items()},
        "channels": {
            channel: {
                "age": round(delivery.age, 3),
                "within": None if delivery.within is None else round(delivery.within, 3),
            }
            for channel, delivery in instrument.channels.items()
        },
    }


def verdict_document(verdict: Verdict) -> dict[str, object]:
    """What a feed's verdict names: ``missing`` symbol -> channel -> state, ``waiting`` and ``overdue`` symbol
    -> channels, ``not_listed`` and ``halted`` symbols."""
    missing: dict[str, dict[str, str]] = {}
    for topic, cell in verdict.missing.items():
        missing.setdefault(topic.symbol, {})[topic.channel] = cell_text(cell)
    return {
        "missing": missing,
        "waiting": _by_symbol(verdict.waiting),
        "overdue": _by_symbol(verdict.overdue),
        "not_listed": verdict.not_listed,
        "halted": verdict.halted,
    }


def readyz_document(samples: Iterable[FeedSample], require: Require) -> dict[str, object]:
    """The body of `/readyz`: ``ready``, ``not_ready`` feed -> why, and of `verdict_document`'s keys those
    that have something to name, each feed -> what."""
    reasons: dict[str, str] = {}
    named: dict[str, dict[str, object]] = {}
    for sample in samples:
        verdict = sample.verdict
        if (reason := not_ready(sample, require, verdict)) is not None:
            reasons[sample.name] = reason
        if sample.state is State.DOWN:  # then all of it is: its cells are no news
            verdict = Verdict(not_listed=verdict.not_listed, halted=verdict.halted)
        for key, value in verdict_document(verdict).items():
            if value:
                named.setdefault(key, {})[sample.name] = value
    return {"ready": not reasons, "not_ready": reasons, **named}


def cells_by_state(sample: FeedSample) -> dict[str, dict[str, int]]:
    """channel -> state -> how many: ``{"top": {"LIVE": 4}, "book": {"LIVE": 3, "RESYNC": 1}}``.

    Left out is what nobody can have: channels that the feed does not have, symbols that it carries no more or
    that the venue does not list.
    """
    found: dict[str, dict[str, int]] = {}
    for instrument in _counted(sample):
        if instrument.status is InstrumentStatus.NOT_LISTED:
            continue
        for channel, cell in instrument.subject.cells.items():
            if cell.carried:
                states = found.setdefault(channel, {})
                states[cell.state.name] = states.get(cell.state.name, 0) + 1
    return found


def _counted(sample: FeedSample) -> Iterable[InstrumentSample]:
    """The instruments that the configuration names."""
    return (instrument for instrument in sample.instruments if instrument.subject.counts)


def unsubscribed(sample: FeedSample) -> list[str]:
    """Symbols that have a slot from before and that the configuration does not name any more."""
    return [
        each.symbol
        for each in sample.instruments
        if not each.subject.counts and each.status is not InstrumentStatus.SUPERSEDED
    ]


def _by_symbol(topics: Iterable[Topic]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for topic in topics:
        found.setdefault(topic.symbol, []).append(topic.channel)
    return found


def cell_text(cell: Cell) -> str:
    """``LIVE``, ``RESYNC (GAP)``, ``STALE``."""
    known = cell.reason is not Reason.NONE and cell.state is not State.LIVE
    return f"{cell.state.name} ({cell.reason.name})" if known else cell.state.name


def not_ready(sample: FeedSample, require: Require, verdict: Verdict | None = None) -> str | None:
    """Why a feed is not ready, or None: it is LIVE, and `shm.readiness` says ready of its instruments."""
    if sample.problem is not None:
        return sample.problem
    verdict = sample.verdict if verdict is None else verdict
    parts = []
    if sample.state is not State.LIVE:
        idle = sample.worker is not None and sample.worker.phase != "running"
        words = f"is {sample.state.name} ({sample.reason.name})"
        parts.append(f"{words}; its worker is {sample.worker}" if idle else words)
    if sample.state is not State.DOWN:
        if verdict.missing:
            cells = [f"{topic} {cell_text(cell)}" for topic, cell in verdict.missing.items()]
            parts.append(f"not delivered: {shortened(cells)}")
        if verdict.overdue:
            parts.append(f"overdue: {shortened([str(topic) for topic in verdict.overdue])}")
    if require == "all":
        parts += [
            f"{what}: {shortened(symbols)}"
            for what, symbols in (("not listed", verdict.not_listed), ("halted", verdict.halted))
            if symbols
        ]
    return "; ".join(parts) or None
