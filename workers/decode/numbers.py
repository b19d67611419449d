"""A message's numbers for reference decoders: text by text into mantissas, and the worst that happened."""

from __future__ import annotations

from collections.abc import Iterable

from shm.instruments import mark_exp
from workers.decode.decimals import MAX_EXPONENT, Verdict, to_mantissa
from workers.decode.normal import (
    CHAINED,
    PAYLOAD,
    DecodeCode,
    Decoded,
    Levels,
    MessageFlag,
    Scale,
    TickerField,
    absent,
)


class Numbers:
    """Turns the texts of one message into mantissas at an instrument's scale.

    Attributes:
        worst: EXACT as long as every number fitted; else the worst verdict so far, and the mantissas mean
            nothing.
        flags: of a ticker: which of its numbers are absent, and whether one does not fit.
    """

    __slots__ = ("flags", "scale", "worst")

    def __init__(self, scale: Scale) -> None:
        self.scale = scale
        self.worst = Verdict.EXACT
        self.flags = 0

    def price(self, text: str) -> int:
        """A price at the instrument's `price_exp`."""
        return self._take(text, self.scale.price_exp)

    def mark(self, text: str) -> int:
        """A mark, index or liquidation price at the instrument's `mark_exp`."""
        return self._take(text, mark_exp(self.scale.price_exp))

    def size(self, text: str) -> int:
        """A size at the instrument's `size_exp`."""
        return self._take(text, self.scale.size_exp)

    def level(self, level: tuple[str, str]) -> tuple[int, int]:
        """One level of a book, (price, size). A price of zero is malformed: in shared memory it stands for
        "no price", and no venue has such a level."""
        before, self.worst = self.worst, Verdict.EXACT
        price = self.price(level[0])
        if price == 0 and self.worst is Verdict.EXACT:
            self.worst = Verdict.MALFORMED
        self.worst = max(before, self.worst)
        return price, self.size(level[1])

    def traded(self, price: str, size: str) -> tuple[int, int]:
        """Price and size of a trade; a price of zero is malformed, as a level's."""
        return self.level((price, size))

    def levels(self, levels: Iterable[tuple[str, str]]) -> Levels:
        """One side of a book, in the order sent."""
        return tuple(map(self.level, levels))

    def statistic(self, field: TickerField, text: str) -> int:
        """A number of a ticker up to the quote volume, which is at `price_exp` + `size_exp`: any product of a
        price and a size is exact there. Absent, and 0: an empty text, a price of zero, and what does not fit,
        which is UNFIT unless it is the quote volume."""
        if not text:
            return self.lacks(field)
        scale = self.scale
        volume = TickerField.VOLUME
        exponent = (
            scale.price_exp if field < volume else scale.size_exp if field == volume else sum(scale[1:])
        )
        verdict, mantissa = to_mantissa(text, min(exponent, MAX_EXPONENT))
        if verdict is Verdict.MALFORMED:
            self.worst = verdict
        elif verdict is Verdict.EXACT and exponent <= MAX_EXPONENT:
            return mantissa if mantissa or field >= volume else self.lacks(field)
        elif field < TickerField.QUOTE_VOLUME:
            self.flags |= MessageFlag.UNFIT
        return self.lacks(field)

    def lacks(self, *fields: TickerField) -> int:
        """These numbers of a ticker are absent: 0."""
        self.flags |= absent(*fields)
        return 0

    def judged(self, decoded: Decoded | None) -> Decoded:
        """`decoded` if every number fitted; else what is known of it: malformed, or that it does not fit.
        None is malformed."""
        if decoded is None or self.worst is Verdict.MALFORMED:
            return Decoded(DecodeCode.MALFORMED)
        if self.worst is Verdict.EXACT:
            return decoded
        code = DecodeCode.OVERFLOW if self.worst is Verdict.OVERFLOW else DecodeCode.INEXACT
        if decoded.kind not in CHAINED:
            return Decoded(code, decoded.kind, self.scale.instrument)
        flags = decoded.flags & MessageFlag.SNAPSHOT
        return decoded._replace(code=code, flags=int(flags), payload=(0,) * PAYLOAD, bids=(), asks=())

    def _take(self, text: str, exponent: int) -> int:
        verdict, mantissa = to_mantissa(text, exponent)
        self.worst = max(self.worst, verdict)
        return mantissa
