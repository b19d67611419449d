"""`examples/spread.py` on a segment of the test's own: what it decides on."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from shm import InstrumentStatus, Reason, State
from shm.instruments import Instrument
from shm.layout import Geometry
from shm.segment import open_writer

PATH = Path(__file__).resolve().parents[2] / "examples/spread.py"
SLOT = Instrument(symbol="BTC/USDT", venue_symbol="BTCUSDT", price_exp=2, size_exp=5, tick=1, lot=1)


@pytest.mark.parametrize("status", [InstrumentStatus.ACTIVE, InstrumentStatus.HALTED])
def test_what_cannot_be_traded_is_not_decided_on(
    instance: str,
    status: InstrumentStatus,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Kind: delivered taken for tradable. The cells of a HALTED market are LIVE."""
    spec = importlib.util.spec_from_file_location("spread", PATH)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    writer = open_writer(instance, "feed", Geometry(slots=64, instruments=2, depth=1), 60.0)
    try:
        index = writer.add_instrument(SLOT)
        writer.set_instrument_status(index, status)
        writer.top(index, 10_000, 1, 10_010, 1)
        writer.top_state(index, State.LIVE, Reason.NONE)
        writer.set_state(State.LIVE, Reason.NONE)
        writer.commit()
        arguments = ["--feed", "feed", "--instance", instance, "--seconds", "0.05"]
        monkeypatch.setattr(sys, "argv", ["spread.py", *arguments])
        assert example.main() == 0
    finally:
        writer.close(unlink=True)
    first, *_, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["state"] == ("LIVE" if status is InstrumentStatus.ACTIVE else "HALTED")
    assert (last["decisions"] > 0) is (status is InstrumentStatus.ACTIVE)
