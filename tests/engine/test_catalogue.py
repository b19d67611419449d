"""`tickring venues`: what each venue has, said by its own value, and what proves it, by the suite's table."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import workers.venues
from engine import cli
from engine.views import catalogue
from engine.views.catalogue import proof_table, venue_documents, venues_text
from workers.venues.venue import names

TABLE = """# Conformance

| # | check | binance_spot | kraken |
|---|---|---|---|
| 1 | decodes | ✓ 10/10 | ✓ 3/3 |
| 2 | checksum | – no checksum | ✓ 5/5 |
| 3 | gap |  | ✓ |
"""


@pytest.fixture
def broken(tmp_path: Path) -> Iterator[None]:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/__init__.py").touch()
    (tmp_path / "broken/venue.py").write_text("import nowhere_at_all\n")
    workers.venues.__path__.append(str(tmp_path))
    importlib.invalidate_caches()
    yield
    workers.venues.__path__.remove(str(tmp_path))
    for name in [name for name in sys.modules if name.startswith("workers.venues.broken")]:
        del sys.modules[name]


def document(name: str) -> dict[str, Any]:
    [found] = [one for one in venue_documents() if one["name"] == name]
    return found


def test_every_venue_of_the_registry_is_there_and_loads() -> None:
    documents = venue_documents()
    assert [one["name"] for one in documents] == names()
    assert not [one for one in documents if "problem" in one]
    assert all(one["channels"] and one["kinds"] for one in documents)


def test_what_one_venue_has() -> None:
    found = document("binance_spot")
    assert found["kinds"] == ["spot"]
    assert found["channels"] == ["top", "book", "trades", "agg_trades", "ticker"]
    assert found["book"] == {"snapshot": "rest", "ids": True, "checksum": False}
    assert (found["native"], "snapshot" in found["rest"]) == (True, True)
    assert (found["limits"]["streams"], found["limits"]["messages"], found["limits"]["per"]) == (1024, 5, 1.0)
    assert (found["liveness"]["ping"], found["liveness"]["stale_after"]) == ("frame", 30.0)


def test_proof_is_counted_in_the_table(tmp_path: Path) -> None:
    file = tmp_path / "conformance.md"
    assert proof_table(file) == {}
    file.write_text(TABLE)
    assert proof_table(file) == {
        "binance_spot": {"passed": 1, "not_applicable": 1, "checks": 3},
        "kraken": {"passed": 3, "not_applicable": 0, "checks": 3},
    }


def test_both_tables_name_every_venue(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "conformance.md").write_text(TABLE)
    monkeypatch.setattr(catalogue, "_proof_file", lambda: tmp_path / "conformance.md")
    assert cli.run(["venues"]) == 0
    what, how, note = capsys.readouterr().out.split("\n\n")
    for table in (what, how):
        assert [line.split()[0] for line in table.splitlines()] == ["VENUE", *names()]
        assert max(map(len, table.splitlines())) <= 130, table
    [line] = [line for line in what.splitlines() if line.startswith("binance_spot ")]
    assert line.split() == ["binance_spot", "spot", *["yes"] * 5, "-", "-", "native", "1", "of", "2"]
    assert "docs/conformance.md" in note


def test_on_a_narrow_terminal_it_is_more_tables() -> None:
    documents = venue_documents()
    narrow = venues_text(documents, 80)
    assert max(map(len, narrow.splitlines())) <= 80, narrow
    assert sorted(set(narrow.split())) == sorted(set(venues_text(documents).split()))


def test_the_json_is_stable(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["venues", "--json"]) == 0
    for one in json.loads(capsys.readouterr().out)["venues"]:
        assert list(one) == [
            *("name", "config", "kinds", "channels", "book", "native", "rest", "liveness", "limits", "proof")
        ]


@pytest.mark.usefixtures("broken")
def test_a_venue_that_does_not_load_hides_no_other() -> None:
    assert "nowhere_at_all" in document("broken")["problem"]
    text = venues_text(venue_documents())
    assert "broken: " in text
    assert any(line.split()[:2] == ["binance_spot", "spot"] for line in text.splitlines())
