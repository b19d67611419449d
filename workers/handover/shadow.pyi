"""A book without update ids, kept beside the published one (native)."""

from typing import Self

from typing_extensions import disjoint_base

from workers.books.book import Book
from workers.books.sync import BookSync

@disjoint_base
class Shadow:
    def __new__(cls, sync: BookSync, depth: int, max_levels: int) -> Self: ...
    @property
    def book(self) -> Book: ...
    @property
    def fault(self) -> str: ...
    @property
    def unfit(self) -> bool: ...
    @property
    def ts_event(self) -> int: ...
    @property
    def ts_recv(self) -> int: ...

@disjoint_base
class Fingerprint: ...
