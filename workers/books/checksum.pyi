from typing import Self

from typing_extensions import disjoint_base

from workers.books.book import Book

@disjoint_base
class Checksum:
    def __new__(cls, price_exp: int, size_exp: int) -> Self: ...
    @property
    def price_exp(self) -> int: ...
    @property
    def size_exp(self) -> int: ...
    def compute(self, book: Book) -> int: ...
