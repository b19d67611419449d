from typing import Any, Self

from typing_extensions import disjoint_base

from shm.layout import Geometry, Reason

def now() -> int: ...

@disjoint_base
class Mapping:
    def __new__(cls, fd: int, size: int, writable: bool, path: str = "") -> Self: ...
    @property
    def size(self) -> int: ...
    @property
    def writable(self) -> bool: ...
    @property
    def path(self) -> str: ...
    @property
    def address(self) -> int: ...
    def load(self, offset: int) -> int: ...
    def store(self, offset: int, value: int) -> None: ...
    def read(self, offset: int, length: int) -> bytes: ...
    def write(self, offset: int, data: bytes) -> None: ...
    def lock_memory(self) -> bool: ...
    def wake(self) -> None: ...

@disjoint_base
class Writer:
    def __new__(cls, mapping: Mapping, doorbell: Mapping, geometry: Geometry) -> Self: ...
    @property
    def mapping(self) -> Mapping: ...
    @property
    def doorbell(self) -> Mapping: ...
    @property
    def geometry(self) -> Geometry: ...
    @property
    def epoch(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def head(self) -> int: ...
    @property
    def next_sequence(self) -> int: ...
    def _check(self, instrument: int) -> None: ...
    def take_over(self, reason: Reason = ...) -> None: ...
    def record(
        self,
        kind: int,
        flags: int,
        aux: int,
        instrument: int,
        ts_event: int,
        ts_recv: int,
        w0: int,
        w1: int,
        w2: int,
        w3: int,
    ) -> None: ...
    def top(
        self,
        instrument: int,
        bid: int,
        bid_size: int,
        ask: int,
        ask_size: int,
        *,
        flags: int = 0,
        update_id: int = 0,
        ts_event: int = 0,
        ts_recv: int = 0,
    ) -> None: ...
    def trade(
        self,
        instrument: int,
        price: int,
        size: int,
        id: int = 0,
        *,
        extra: int = 0,
        flags: int = 0,
        ts_event: int = 0,
        ts_recv: int = 0,
    ) -> None: ...
    def level(
        self,
        instrument: int,
        price: int,
        size: int,
        update_id: int,
        *,
        flags: int = 0,
        ts_event: int = 0,
        ts_recv: int = 0,
    ) -> None: ...
    def clear(
        self, instrument: int, update_id: int, *, flags: int = 0, ts_event: int = 0, ts_recv: int = 0
    ) -> None: ...
    def status(self, instrument: int, scope: int, state: int, reason: int, *, flags: int = 0) -> None: ...
    def book_cell(
        self,
        instrument: int,
        bids: Any,
        asks: Any,
        *,
        update_id: int = 0,
        ts_event: int = 0,
        ts_recv: int = 0,
        state: int = ...,
        reason: int = 0,
    ) -> None: ...
    def top_state(self, instrument: int, state: int, reason: int = ...) -> None: ...
    def book_state(self, instrument: int, state: int, reason: int = ...) -> None: ...
    def commit(self) -> None: ...
    def count_up(self, counter: int, n: int = 1) -> None: ...
    def count_instrument(self, instrument: int, counter: int, n: int = 1) -> None: ...
    def observe(self, histogram: int, ns: int) -> None: ...
    def beat(self, now: int, wall_offset: int) -> None: ...
    def log_event(
        self,
        code: int,
        severity: int,
        instrument: int,
        wall_ns: int,
        w0: int = 0,
        w1: int = 0,
        w2: int = 0,
        w3: int = 0,
    ) -> None: ...
    def instrument_added(self) -> None: ...
    def instruments_changed(self) -> None: ...
