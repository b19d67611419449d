"""Make before break (native); see handover.pyx."""

from collections.abc import Callable, Iterable

from typing_extensions import disjoint_base

from workers.books.publish import Publisher
from workers.contract.protocols import ParsedMessage
from workers.decode.normal import Decoded
from workers.decode.sink import FrameSink
from workers.handover.tracker import HandoverTracker

FORGET: int

@disjoint_base
class Holder(FrameSink):
    def frame(self, data: bytes, recv_ns: int) -> int: ...

@disjoint_base
class Handover(HandoverTracker):
    def __init__(
        self,
        publisher: Publisher,
        topics: Iterable[tuple[int, str]],
        *,
        normalise: Callable[[ParsedMessage], list[Decoded]] | None = None,
        max_messages: int = 200_000,
        max_bytes: int = 67_108_864,
        max_latency: float = 1.0,
        clock: Callable[[], int] = ...,
    ) -> None: ...
    @property
    def sink(self) -> Holder: ...
    @property
    def max_bytes(self) -> int: ...
    def keep(self, message: ParsedMessage) -> None: ...
    def subscribed(self) -> None: ...
    def ready(self) -> bool: ...
    def complete(self) -> FrameSink: ...
    def abandon(self) -> None: ...
