"""Messages that come through Python (native); see python_publisher.pyx."""

from typing import Self, final

from typing_extensions import disjoint_base

from workers.books.hotpath import HotPath
from workers.decode.normal import Decoded

@final
@disjoint_base
class PythonPublisher:
    def __new__(cls, hot_path: HotPath) -> Self: ...
    @property
    def hot_path(self) -> HotPath: ...
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
        flags: int = 0,
        checksum: int = 0,
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
