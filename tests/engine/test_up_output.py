"""A venue whose parser raises, run as a user runs it: the engine's output says where, and so do its events.

The venue is a folder of the test's; `sitecustomize` makes every Python of this test know it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.instances import mine

ROOT = Path(__file__).parents[2]
INSTANCE = mine("says")
VENUE = """
from dataclasses import replace
from workers.contract.protocols import WebSocketStrategySet
from workers.venues.binance_spot.venue import VENUE as SPOT

def parse(data, received=0):
    raise RuntimeError("a bug of this venue")

def websocket(config, symbols):
    made = SPOT.data.websocket(config, symbols)
    made.message_parser.parse = parse
    return made

async def snapshot(rest, symbol, levels, priority):
    raise RuntimeError("no book today")

VENUE = replace(
    SPOT,
    name="broken",
    data=replace(SPOT.data, websocket=websocket, decoder=None),
    books=replace(SPOT.books, snapshot=snapshot),
)
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "venues" / "broken").mkdir(parents=True)
    (tmp_path / "venues" / "broken" / "__init__.py").touch()
    (tmp_path / "venues" / "broken" / "venue.py").write_text(VENUE)
    (tmp_path / "sitecustomize.py").write_text(
        f"import workers.venues\nworkers.venues.__path__.append({str(tmp_path / 'venues')!r})\n"
    )
    return os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "TICKRING_INSTANCE": INSTANCE}


@pytest.fixture
def urls(environ: dict[str, str]) -> Iterator[dict[str, str]]:
    command = [sys.executable, "-m", "workers.sim", "binance_spot"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environ) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.terminate()


def test_where_a_parser_raises_and_why_there_is_no_book(
    environ: dict[str, str], urls: dict[str, str], tmp_path: Path
) -> None:
    config = tmp_path / "engine.toml"
    lines = ["[engine]", 'listen = "off"', "[venues.broken]", 'symbols = ["BTC/USDT"]', 'cpu = "none"']
    config.write_text("\n".join(lines + [f'{key} = "{url}"' for key, url in urls.items()]))
    command = [sys.executable, "-m", "engine.cli"]
    with (tmp_path / "output").open("wb") as out:
        engine = subprocess.Popen(
            [*command, "up", "--config", str(config)], stderr=out, cwd=ROOT, env=environ
        )
    try:
        wanted = [
            "a message could not be handled: broken/venue.py:7: RuntimeError: a bug of this venue; it beg"
        ]
        wanted.append("BTC/USDT: snapshot attempt 1 failed: RuntimeError: no book today")
        deadline = time.monotonic() + 20
        while missing := [line for line in wanted if line not in (tmp_path / "output").read_text()]:
            assert time.monotonic() < deadline, (missing, (tmp_path / "output").read_text())
            time.sleep(0.05)
        done = subprocess.run(
            [*command, "events", "broken"], capture_output=True, text=True, cwd=ROOT, env=environ, check=True
        )
        assert "error   broken/venue.py:7: RuntimeError:" in done.stdout
        assert "warning BTC/USDT: snapshot attempt 1 failed" in done.stdout
    finally:
        engine.terminate()
        assert engine.wait(10) == 0
    output = (tmp_path / "output").read_text()
    assert output.count("a message could not be handled") == 1
