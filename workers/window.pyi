"""The published windows of a feed (native); see publish.pyx."""

from shm._ring import Writer
from workers.wire import FrameSink

class Windows(FrameSink):
    @property
    def writer(self) -> Writer: ...
    @property
    def depth(self) -> int: ...
