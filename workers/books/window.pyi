"""The published windows of a feed (native); see publish.pyx."""

from typing_extensions import disjoint_base

from shm._ring import Writer
from workers.decode.sink import FrameSink

@disjoint_base
class Windows(FrameSink):
    @property
    def writer(self) -> Writer: ...
    @property
    def depth(self) -> int: ...
