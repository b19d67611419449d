"""The way of a message inside the socket callback (native); see publish.pyx."""

from collections.abc import Callable
from typing import Self

from typing_extensions import disjoint_base

from shm._ring import Writer
from workers.books.sync import BookSync, Listener
from workers.books.window import WindowPublisher
from workers.decode.native import NativeDecoder
from workers.decode.sink import FrameSink

@disjoint_base
class Observer: ...

@disjoint_base
class HotPath(FrameSink):
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
    def windows(self) -> WindowPublisher: ...
    @property
    def writer(self) -> Writer: ...
    @property
    def depth(self) -> int: ...
    @property
    def decoder(self) -> NativeDecoder | None: ...
    @property
    def max_levels(self) -> int: ...
    @property
    def commit_every(self) -> int: ...
    @property
    def book_updates(self) -> int: ...
    @property
    def errors(self) -> int: ...
    @property
    def last_error(self) -> Exception | None: ...
    def frame(self, data: bytes, recv_ns: int) -> int: ...
    def frames(self, messages: list[bytes], recv_ns: int) -> int: ...
    def batch_end(self) -> None: ...
