"""The header under ThreadSanitizer, AddressSanitizer and UBSan: no report, and one for the control."""

from __future__ import annotations

import pytest
import stress_suite as suite


@pytest.mark.parametrize("flags", [suite.THREAD, suite.ADDRESS], ids=["thread", "address-undefined"])
def test_no_report(flags: tuple[str, ...]) -> None:
    reports, first = suite.sanitized(flags, None, 100_000)
    assert reports == 0, first


def test_plain_payload_words_are_a_data_race() -> None:
    """Negative control: ThreadSanitizer sees this code and these threads."""
    reports, _ = suite.sanitized(suite.THREAD, "PLAIN_PAYLOAD", 100_000)
    assert reports > 0
