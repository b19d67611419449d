"""`python -m tests.conformance.table`: its help is help, not a run of the suite."""

from __future__ import annotations

import pytest

from tests.conformance import table


@pytest.mark.parametrize(("argument", "code"), [("--help", 0), ("--no-such", 2)])
def test_only_a_plain_call_runs_the_suite(
    argument: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(table.subprocess, "run", lambda *_, **__: pytest.fail("the suite was run"))
    with pytest.raises(SystemExit) as left:
        table.main([argument])
    assert left.value.code == code
    assert "tests.conformance.table" in "".join(capsys.readouterr())
