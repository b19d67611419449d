"""How long a stream may be silent, learnt from its own rate (native); see staleness.pyx."""

from typing import Self

from typing_extensions import disjoint_base

@disjoint_base
class Rate:
    def __new__(
        cls, start: float = 30.0, least: float = 1.0, most: float = 600.0, factor: float = 4.0
    ) -> Self: ...
    def arrive(self, now: int) -> None: ...
    def interrupt(self) -> None: ...
    @property
    def threshold(self) -> int: ...
    @property
    def learnt(self) -> int: ...
