"""The README is executable: every console line and the Python example run against a running demo."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from e2e_stack import ROOT, environment, eventually

import shm
from engine.settings.settings import load
from engine.settings.venues import check
from engine.views.catalogue import venue_documents
from shm.instruments import Instrument
from shm.layout import Geometry, InstrumentKind, Reason, State
from shm.segment import open_writer
from tests.instances import mine

README = (ROOT / "README.md").read_text()
PYTHON = Path(sys.executable)
# What a test cannot repeat inside itself, and why.
ELSEWHERE = {
    "make demo": "what it runs, `tickring demo`, is the fixture below",
    "make test": "it would run this test",
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def console_lines() -> list[str]:
    return [line[2:] for block in blocks("console") for line in block.splitlines() if line.startswith("$ ")]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Any:
    instance = mine("readme")
    log = tmp_path_factory.mktemp("demo") / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "engine.cli", "demo", "--instance", instance],
            stdout=out,
            stderr=out,
            env=environment(),
        )
    try:
        feed = shm.attach("binance_spot", instance, wait=15.0)
        eventually(lambda: feed.state is shm.State.LIVE, 15, "the demo is LIVE")
        yield instance
    finally:
        process.terminate()
        assert process.wait(8) == 0, log.read_text()
    assert not list(Path("/dev/shm").glob(f"tickring.{instance}.*"))


def test_every_target_named_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make (\w+)`", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_native_code_is_built_once() -> None:
    """The editable install builds none (`setup.py`): `make build` does."""
    lines = (ROOT / "Makefile").read_text().splitlines()
    installs = [line for line in lines if "--editable" in line]
    assert installs
    assert all("TICKRING_EXT=none " in line for line in installs)


def test_every_file_linked_is_there() -> None:
    for path in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / path).exists(), path


def test_every_file_that_the_architecture_names_is_there() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    rooms = [
        "",
        "shm/",
        "workers/",
        *(str(path.parent.relative_to(ROOT)) for path in ROOT.glob("[ew]*/*/__init__.py")),
    ]
    rooms += ["workers/venues/binance_spot/"]
    for name in re.findall(r"`([\w/]+\.(?:py|pyx|h|md))`", text) + re.findall(r"\]\(([\w/.-]+)\)", text):
        assert any((ROOT / room / name).exists() for room in rooms), name


def test_the_python_example(demo: str) -> None:
    [example, _, _] = blocks("python")
    done = subprocess.run(
        [sys.executable, "-c", example.replace('"demo"', repr(demo))],
        capture_output=True,
        text=True,
        timeout=20,
        env=environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "records" in done.stdout


def test_the_example_of_contracts() -> None:
    """One contract is 0.01 BTC: 2500 of them are 25."""
    [_, example, _] = blocks("python")
    instance = mine("readme-okx")
    writer = open_writer(instance, "okx", Geometry(slots=256, instruments=1), heartbeat_limit=60.0)
    try:
        swap = Instrument(
            symbol="BTC/USDT:USDT",
            venue_symbol="BTC-USDT-SWAP",
            kind=InstrumentKind.PERPETUAL,
            price_exp=1,
            size_exp=2,
            multiplier=1,
            multiplier_exp=2,
        )
        writer.top(writer.add_instrument(swap), 1_000_000, 250_000, 1_000_001, 1)
        writer.set_state(State.LIVE, Reason.SYNCED)
        writer.heartbeat()
        writer.commit()
        done = subprocess.run(
            [sys.executable, "-c", example],
            capture_output=True,
            text=True,
            timeout=20,
            env=environment() | {"TICKRING_INSTANCE": instance},
            check=False,
        )
    finally:
        writer.close(unlink=True)
    assert (done.stdout, done.stderr) == ("25.0 BTC\n", "")


def test_the_example_of_a_venue_without_the_engine() -> None:
    [_, _, example] = blocks("python")
    command = [sys.executable, "-m", "workers.sim", "binance_spot"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as sim:
        assert sim.stdout is not None
        urls = json.loads(sim.stdout.readline())
        where = ", ".join(f"{name}={url!r}" for name, url in urls.items())
        done = subprocess.run(
            [sys.executable, "-c", example.replace('["BTC/USDT"])', f'["BTC/USDT"], {where})')],
            capture_output=True,
            text=True,
            timeout=20,
            env=environment(),
            check=False,
        )
        sim.terminate()
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("best bid (Decimal(")
    assert "<Trade BTC/USDT " in done.stdout


def test_the_table_of_venues_is_so() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \| (.*?) \|$", README, re.MULTILINE)
    documents = {one["name"]: one for one in venue_documents()}
    assert sorted(row[0] for row in rows) == sorted(documents)
    for name, markets, channels, book in rows:
        found = documents[name]
        assert channels.split() == found["channels"]
        assert ("spot" in markets, "perpetual" in markets) == tuple(
            kind in found["kinds"] for kind in ("spot", "perpetual")
        )
        assert ("REST snapshot" in book) is (found["book"]["snapshot"] == "rest")
        assert ("checksum" in book) is found["book"]["checksum"]


def test_the_contract_is_enough_without_our_library(demo: str) -> None:
    """The reader in the wire contract, which imports nothing of ours, sees what ours sees."""
    [example] = re.findall(
        r"```python\n(import mmap.*?)```", (ROOT / "shm" / "README.md").read_text(), re.DOTALL
    )
    checked = (
        "\nimport shm\nfeed = shm.attach('binance_spot', 'DEMO')\nsame = 0\n"
        "for _ in range(20000):\n"
        "    before = feed.top('BTC/USDT').update_id\n"
        "    theirs, ours = top('BTC/USDT'), feed.top('BTC/USDT')\n"
        "    if ours.update_id == before:\n"
        "        assert theirs == (ours.bid, ours.bid_size, ours.ask, ours.ask_size)\n"
        "        same += 1\n"
        "print(same)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", (example + checked).replace(".demo.", f".{demo}.").replace("DEMO", demo)],
        capture_output=True,
        text=True,
        timeout=30,
        env=environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) > 10_000


def test_the_settings_example(tmp_path: Path) -> None:
    [text] = blocks("toml")
    (tmp_path / "engine.toml").write_text(text)
    settings = load(tmp_path / "engine.toml", {}, None)
    check(settings)
    assert settings.venues["binance_spot"].symbols == ["BTC/USDT", "ETH/USDT", "SOL/USDT"]


@pytest.mark.parametrize("line", [line for line in console_lines() if line not in ELSEWHERE])
def test_a_console_line(line: str, demo: str, tmp_path: Path) -> None:
    (tmp_path / "engine.toml").write_text(blocks("toml")[0])
    words = [demo if word == "demo" else word for word in shlex.split(line)]
    assert words[0] in (".venv/bin/python", ".venv/bin/tickring"), "a line that this test does not know"
    command = [sys.executable] if words[0].endswith("python") else [sys.executable, "-m", "engine.cli"]
    arguments = [str(ROOT / word) if (ROOT / word).is_file() and "/" in word else word for word in words[1:]]
    if "up" in arguments:
        # The real venue is out of reach of a test: that it starts, says so in one line and stops is enough.
        process = subprocess.Popen(
            [*command, *arguments, "--instance", f"{demo}-up"],
            stderr=subprocess.PIPE,
            text=True,
            env=environment()
            | {"TICKRING_ENGINE__LISTEN": "off"}
            | {
                f"TICKRING_VENUES__{name.upper()}__{key}": url
                for name in re.findall(r"^\[venues\.(\w+)\]", blocks("toml")[0], re.MULTILINE)
                for key, url in (("WS_URL", "ws://127.0.0.1:1"), ("REST_URL", "http://127.0.0.1:1"))
            },
            cwd=tmp_path,
        )
        feed = shm.attach("binance_spot", f"{demo}-up", wait=15.0)
        eventually(lambda: feed.state is shm.State.DOWN, 15, "unreachable is DOWN")
        process.terminate()
        _, output = process.communicate(timeout=8)
        assert process.returncode == 0, output
        return
    done = subprocess.run(
        [*command, *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        env=environment(),
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert "Traceback" not in done.stderr
