"""What two connections have delivered (native); see witness.pyx."""

from collections.abc import Callable, Iterable
from typing import Any, Self

from typing_extensions import disjoint_base

from workers.books.hotpath import Observer
from workers.books.publish import Publisher

LAG: int
HELD: int
MEMORY: int

@disjoint_base
class HandoverTracker(Observer):
    def __new__(
        cls,
        publisher: Publisher,
        topics: Iterable[tuple[int, str]],
        *,
        max_messages: int = 200_000,
        max_latency: float = 1.0,
        clock: Callable[[], int] = ...,
        **_: Any,
    ) -> Self: ...
    @property
    def publisher(self) -> Publisher: ...
    @property
    def failed(self) -> str: ...
    @property
    def max_messages(self) -> int: ...
    def watch(self) -> None: ...
    def leave(self, index: int) -> None: ...
