"""A message's numbers, as reference decoders take them."""

from __future__ import annotations

import pytest

from shm.layout import Flag
from workers.decode.decimals import Verdict
from workers.decode.normal import Scale
from workers.decode.numbers import Numbers

ABSENT = int(Flag.ABSENT)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("20.5", (2_050_000, 0)),
        ("0.00001", (1, 0)),
        ("0", (0, 0)),
        ("0.000001", (0, ABSENT)),
        ("99999999999999999999", (0, ABSENT)),
    ],
)
def test_a_quote_volume_is_exact_or_absent(text: str, told: tuple[int, int]) -> None:
    numbers = Numbers(Scale(1, 2, 3))
    assert numbers.quote_volume(text) == told
    assert numbers.worst is Verdict.EXACT


def test_a_quote_volume_that_is_no_number_is_malformed() -> None:
    for text in ("", "x", "-1"):
        numbers = Numbers(Scale(1, 2, 3))
        assert numbers.quote_volume(text) == (0, ABSENT)
        assert numbers.worst is Verdict.MALFORMED


def test_without_room_for_its_decimals_a_quote_volume_is_absent() -> None:
    numbers = Numbers(Scale(1, 12, 12))
    assert numbers.quote_volume("1") == (0, ABSENT)
    assert numbers.worst is Verdict.EXACT
