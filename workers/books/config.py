"""The settings of the book manager."""

from __future__ import annotations

import msgspec


class BookManagerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """All times are in seconds.

    Attributes:
        limit: levels a side of a snapshot, at most. proof_limit: the same of a snapshot that only proves a
            quiet book, which has to reach no further than the published window.
        tiers: the numbers of levels a side that snapshots are requested with, ascending, `limit` at most;
            none: `limit` alone.
        concurrency: snapshot requests in flight, at most.
        max_attempts: after so many failures in a row a snapshot is tried every `max_delay` only.
        first_delay, max_delay: bounds of the exponential backoff.
        stale_after: a cell without proof of delivery for so long is STALE, until its stream's own rate is
            known; 0: never.
        stale_after_min, stale_after_max: bounds of the learnt threshold; equal: none is learnt.
        stale_factor: the learnt threshold as a multiple of the longest gap between a stream's events.
        audit_interval: from one audit of a book to the next; 0: no audits.
        settle: how long the stream may be behind a REST snapshot.
        instead_of: up to so many quiet books are proven by a snapshot each instead of a sweep
            (`Sweep.instead_of`).
        proofs_per_second: snapshots and new subscriptions that prove quiet books, at most; 0: no limit.
        lag: how far a REST answer is behind the stream at most; None: unknown (`Sweep.lag`).
        first_top: a subscription of a top brings a first event whatever the market does (`MarketData.owes`).
    """

    limit: int = 1000
    proof_limit: int = 100
    tiers: tuple[int, ...] = ()
    concurrency: int = 4
    max_attempts: int = 8
    first_delay: float = 0.25
    max_delay: float = 30.0
    stale_after: float = 30.0
    stale_after_min: float = 1.0
    stale_after_max: float = 600.0
    stale_factor: float = 4.0
    audit_interval: float = 0.0
    settle: float = 3.0
    instead_of: int = 1
    proofs_per_second: float = 0.0
    lag: float | None = None
    first_top: bool = False
