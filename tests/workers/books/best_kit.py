"""Answers of a sweep that prove nothing of a top or a book whose best is `TRUE`."""

from __future__ import annotations

from workers.books.sync import Best

TRUE = Best("1.00", "1.00", "1.01", "3.00")
WRONG: list[Best | None] = [
    Best("0.99", "1.00", "1.01", "3.00"),
    Best("1.00", "1.01", "1.01", "3.00"),
    Best("1.00", "1.00", "1.02", "3.00"),
    Best("1.00", "1.00", "1.01", "3.01"),
    Best("1.00", "1.00", "", ""),
    Best("1.00", "1.00", "0.00", "0.00"),
    Best("", "", "1.01", "3.00"),
    Best("1.00", "1.00", "1.01", "3.001"),
    Best("1.00", "1.00", "1.01", "much"),
    Best("1.00", "", "1.01", "3.00"),
    None,
]
