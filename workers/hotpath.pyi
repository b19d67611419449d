"""The way of a message inside the socket callback (native); see publish.pyx."""

from collections.abc import Callable
from typing import Self

from typing_extensions import disjoint_base

from shm._ring import Writer
from workers.decode.native import NativeDecoder
from workers.decode.normal import Decoded
from workers.sync import BookSync, Listener
from workers.window import Windows

@disjoint_base
class HotPath(Windows):
    listener: Listener | None
    wall_offset: int
    def __new__(
        cls,
        writer: Writer,
        decoder: NativeDecoder | None = None,
        make_sync: Callable[[], BookSync] | None = None,
        *,
        listener: Listener | None = None,
        max_levels: int = 65_536,
    ) -> Self: ...
    @property
    def decoder(self) -> NativeDecoder | None: ...
    @property
    def max_levels(self) -> int: ...
    @property
    def commit_every(self) -> int: ...
    @property
    def errors(self) -> int: ...
    @property
    def last_error(self) -> Exception | None: ...
    def publish_message(self, message: Decoded, recv_ns: int, frame: bytes = b"") -> bool: ...
    def top(
        self,
        instrument: int,
        bid: int,
        bid_size: int,
        ask: int,
        ask_size: int,
        update_id: int,
        ts_event: int,
        recv_ns: int,
        flags: int = 0,
    ) -> bool: ...
    def depth_update(
        self,
        instrument: int,
        first_id: int,
        last_id: int,
        bids: list[tuple[int, int]],
        asks: list[tuple[int, int]],
        ts_event: int,
        recv_ns: int,
    ) -> bool: ...
    def trade(
        self,
        instrument: int,
        price: int,
        size: int,
        trade_id: int,
        ts_event: int,
        recv_ns: int,
        flags: int = 0,
    ) -> bool: ...
    def frame(self, data: bytes, recv_ns: int) -> int: ...
    def frames(self, messages: list[bytes], recv_ns: int) -> int: ...
    def batch_end(self) -> None: ...
