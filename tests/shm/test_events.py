"""The binary event log."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import shm
from shm.events import TEMPLATES, Code, Severity, describe, pack
from shm.writer import Writer


@pytest.mark.parametrize("code", list(Code))
def test_every_code_has_a_text(code: Code) -> None:
    assert code in TEMPLATES
    words = pack(["because"] if "{text}" in TEMPLATES[code][1] else [1, 2, 3, 4])
    assert "{" not in describe(code, words)


@given(st.text())
def test_text_survives_up_to_32_bytes(text: str) -> None:
    shown = describe(Code.ERROR, pack([text]))
    assert text.encode("utf-8", "surrogatepass")[:32].startswith(shown.encode())
    if len(text.encode("utf-8", "surrogatepass")) <= 32 and not text.endswith("\0"):
        assert shown == text


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4))
def test_ints_survive(args: list[int]) -> None:
    assert list(pack(args)) == args + [0] * (4 - len(args))


def test_ints_beyond_a_word_are_cut_not_an_error() -> None:
    assert pack([2**70, -(2**70)])[:2] == (2**63 - 1, -(2**63))


def test_log_round_trip(instance: str, writer: Writer) -> None:
    writer.log(Code.GAP, 10, 12, instrument=1)
    writer.log(Code.ERROR, "nothing works")
    gap, error = shm.attach("feed", instance).events()
    assert (gap.seq, gap.code, gap.severity, gap.symbol) == (1, "gap", "warning", "ETH/USDT")
    assert gap.text == "gap: expected update 10, got 12"
    assert (error.code, error.severity, error.symbol, error.text) == ("error", "error", None, "nothing works")
    assert gap.wall_ns > gap.mono_ns > 0


def test_unknown_code_and_severity_of_a_newer_writer(instance: str, writer: Writer) -> None:
    writer.log_event(999, 9, 77, 5, 1, 2, 3, 4)
    (event,) = shm.attach("feed", instance).events()
    assert (event.code, event.severity, event.symbol) == ("999", "9", None)
    assert event.text == "event 999: 1, 2, 3, 4"


def test_log_wraps_and_keeps_the_newest(instance: str, writer: Writer) -> None:
    for i in range(100):
        writer.log(Code.SYNCED, i)
    feed = shm.attach("feed", instance)
    # Half of the ring is what a reader may rely on.
    assert [event.text for event in feed.events()] == [
        f"book is in step at update {i}" for i in range(96, 100)
    ]
    assert [event.seq for event in feed.events(last=2)] == [99, 100]


def test_log_outlives_its_writer(instance: str, writer: Writer) -> None:
    writer.log(Code.STARTED, 1, 2)
    feed = shm.attach("feed", instance)
    writer.close()
    assert feed.events()[0].severity == Severity.INFO.name.lower()
