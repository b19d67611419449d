"""A message's numbers, as reference decoders take them."""

from __future__ import annotations

import pytest

from workers.decode.decimals import Verdict
from workers.decode.normal import MessageFlag, Scale, absent
from workers.decode.numbers import Numbers

ABSENT = absent(5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20.5", (2_050_000, 0)),
        ("0.00001", (1, 0)),
        ("0", (0, 0)),
        ("0.000001", (0, ABSENT)),
        ("99999999999999999999", (0, ABSENT)),
    ],
)
def test_a_quote_volume_is_exact_or_absent(text: str, expected: tuple[int, int]) -> None:
    numbers = Numbers(Scale(1, 2, 3))
    assert (numbers.statistic(5, text), numbers.flags) == expected
    assert numbers.worst is Verdict.EXACT


def test_a_quote_volume_that_is_no_number_is_malformed() -> None:
    for text in ("x", "-1"):
        numbers = Numbers(Scale(1, 2, 3))
        numbers.statistic(5, text)
        assert numbers.worst is Verdict.MALFORMED


def test_without_room_for_its_decimals_a_quote_volume_is_absent() -> None:
    numbers = Numbers(Scale(1, 12, 12))
    assert (numbers.statistic(5, "1"), numbers.flags) == (0, ABSENT)
    assert numbers.worst is Verdict.EXACT


@pytest.mark.parametrize(
    ("word", "text", "value", "flags"),
    [
        (0, "1.25", 125, 0),
        (0, "", 0, absent(0)),
        (3, "0.00", 0, absent(3)),  # a price of zero is none
        (1, "1.255", 0, absent(1) | MessageFlag.UNFIT),
        (2, "9" * 20, 0, absent(2) | MessageFlag.UNFIT),
        (4, "0", 0, 0),  # nothing was traded, which is a fact
        (4, "136651248485429227479402823307.68", 0, absent(4) | MessageFlag.UNFIT),
        (5, "", 0, absent(5)),
    ],
)
def test_a_tickers_word_is_absent_by_itself(word: int, text: str, value: int, flags: int) -> None:
    """Kind: a number that is absent or cannot be held, published as 0 without a word."""
    numbers = Numbers(Scale(1, 2, 3))
    assert (numbers.statistic(word, text), numbers.flags) == (value, flags)
    assert numbers.worst is Verdict.EXACT
