"""Decimal text -> mantissa: the twin against `Decimal`, the native code against the twin."""

from __future__ import annotations

from decimal import Context, Decimal, Inexact

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.decode import _scan
from workers.decode.decimals import INT64_MAX, MAX_EXPONENT, Verdict, decimals, to_mantissa

EXPONENTS = st.integers(0, MAX_EXPONENT)
DIGITS = st.text("0123456789", min_size=1, max_size=24)
EIGHT = st.text("0123456789", min_size=8, max_size=8)
# Well-formed, nearly well-formed, and anything.
TEXTS = st.one_of(
    st.builds("{}.{}".format, DIGITS, st.one_of(EIGHT, DIGITS)),
    DIGITS,
    st.integers(0, 2**66).map(str),
    st.builds(
        lambda value, places: format(Decimal(value).scaleb(-places), "f"),
        st.integers(2**63 - 200, 2**63 + 200) | st.integers(2**64 - 200, 2**64 + 200),
        EXPONENTS,
    ),
    st.text("0123456789.-+e ", max_size=12),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)


def oracle(text: str, exponent: int) -> tuple[Verdict, int]:
    """By `Decimal`, on a grammar check of its own."""
    if not text.isascii() or any(byte not in "0123456789." for byte in text):
        return Verdict.MALFORMED, 0
    parts = text.split(".")
    if len(parts) > 2 or not all(parts):
        return Verdict.MALFORMED, 0
    context = Context(prec=200, traps=[Inexact])
    scaled = Decimal(text, context).scaleb(exponent, context)
    if int(scaled) > INT64_MAX:
        return Verdict.OVERFLOW, 0
    if scaled != int(scaled):
        return Verdict.INEXACT, 0
    return Verdict.EXACT, int(scaled)


@given(TEXTS, EXPONENTS)
def test_twin_equals_decimal(text: str, exponent: int) -> None:
    assert to_mantissa(text, exponent) == oracle(text, exponent)


@given(TEXTS, EXPONENTS)
def test_native_equals_twin(text: str, exponent: int) -> None:
    assert _scan.to_mantissa(text, exponent) == to_mantissa(text, exponent)


@pytest.mark.parametrize(
    ("text", "exponent", "verdict", "mantissa"),
    [
        ("0.35270000", 4, Verdict.EXACT, 3527),
        ("0.35270000", 8, Verdict.EXACT, 35_270_000),
        ("9602.00000000", 0, Verdict.EXACT, 9602),
        ("0.00000001", 8, Verdict.EXACT, 1),
        ("0.00000001", 7, Verdict.INEXACT, 0),
        ("1.000000000000000000000000000", 0, Verdict.EXACT, 1),
        ("9223372036854775807", 0, Verdict.EXACT, INT64_MAX),
        ("9223372036854775808", 0, Verdict.OVERFLOW, 0),
        ("92233720368.54775807", 8, Verdict.EXACT, INT64_MAX),
        ("92233720368.54775808", 8, Verdict.OVERFLOW, 0),
        # Beyond 2^64 only when the fraction is added: must not wrap around to 83.
        ("184467440737095516.99000000", 2, Verdict.OVERFLOW, 0),
        ("00000000000000000000000000001.5", 1, Verdict.EXACT, 15),
        ("0", 18, Verdict.EXACT, 0),
        *[
            (text, 8, Verdict.MALFORMED, 0)
            for text in (
                "",
                ".",
                "1.",
                ".5",
                "1.2.3",
                "1e5",
                "-1",
                "+1",
                " 1",
                "1 ",
                "0x1",
                "1_0",
                "NaN",
                "٣",
            )
        ],
    ],
)
def test_named_cases(text: str, exponent: int, verdict: Verdict, mantissa: int) -> None:
    assert to_mantissa(text, exponent) == (verdict, mantissa)
    assert _scan.to_mantissa(text, exponent) == (verdict, mantissa)


def test_very_long_texts() -> None:
    for text in ("9" * 10_000, "0" * 10_000 + "7", "1." + "0" * 10_000, "1." + "0" * 10_000 + "1"):
        assert _scan.to_mantissa(text, 3) == to_mantissa(text, 3)


def test_a_wrong_twin_is_noticed() -> None:
    def through_a_float(text: str, exponent: int) -> tuple[Verdict, int]:
        return Verdict.EXACT, round(float(text) * 10**exponent)

    wrong = [
        text
        for text in ("90071992547409.93000001", "0.12345678", "1.00000001")
        if through_a_float(text, 8 if "9007" in text else 4) != to_mantissa(text, 8 if "9007" in text else 4)
    ]
    assert wrong


def test_decimals() -> None:
    assert [decimals(text) for text in ("0.00010000", "1.00", "100", "0.00000001")] == [4, 0, 0, 8]
    for text in ("", "1e-5", "1.", "-1"):
        with pytest.raises(ValueError, match="not a decimal"):
            decimals(text)


def test_no_such_exponent() -> None:
    for function in (to_mantissa, _scan.to_mantissa):
        with pytest.raises(ValueError, match="exponent must be 0 to 18"):
            function("1", 19)
