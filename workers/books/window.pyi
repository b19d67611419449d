"""The published windows of a feed (native); see publish.pyx."""

from typing import Self, final

from typing_extensions import disjoint_base

from shm._ring import Writer

@final
@disjoint_base
class WindowPublisher:
    def __new__(cls, writer: Writer) -> Self: ...
    @property
    def writer(self) -> Writer: ...
    @property
    def depth(self) -> int: ...
