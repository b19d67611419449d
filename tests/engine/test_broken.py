"""A broken installation: one clear line for every command, and a doctor that survives it.

The kind: whatever is missing, built for another Python, or raises while it is imported (a native module of
ours, a library that we declare) is named, and nobody sees a traceback.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from engine import broken
from engine.settings.settings import available_venues
from tests.instances import mine

ROOT = Path(__file__).parents[2]
VENUES = available_venues()
# Breaks the module that BROKEN names, in every Python that is started: ``missing`` as if it were not there,
# ``raises`` as if what it was built for were not there.
HOOK = """
import importlib.abc, importlib.machinery, os, sys

name, how = os.environ["BROKEN"].split("=")


class Loader(importlib.abc.Loader):
    def create_module(self, spec):
        return None

    def exec_module(self, module):
        exec(compile("raise RuntimeError('built for\\\\nanother')", "broken", "exec"), module.__dict__)


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, wanted, path, target=None):
        if wanted != name:
            return None
        if how == "missing":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return importlib.machinery.ModuleSpec(name, Loader())


sys.meta_path.insert(0, Finder())
"""
MODULES = (*broken.NATIVE, *broken.LIBRARIES)
COMMANDS = (
    ("demo", "--seconds", "0.1", "--instance", mine("broken")),
    ("status", "--instance", mine("broken")),
    ("feeds", "--instance", mine("broken")),
    ("book", "venue", "BTC/USDT", "--instance", mine("broken")),
    ("tail", "venue", "--instance", mine("broken")),
    ("events", "venue", "--instance", mine("broken")),
    ("sim", "binance_spot", "--nonsense"),
    ("config", "check"),
    ("config", "show"),
    ("venues",),
)
FEW = (
    "shm._ring",
    "workers.books.book",
    "workers.venues.okx._decode",
    "aiohttp",
    "click",
    "msgspec",
    "numpy",
)


@pytest.fixture
def hook(tmp_path: Path) -> Path:
    (tmp_path / "sitecustomize.py").write_text(HOOK)
    return tmp_path


def run(hook: Path, module: str, how: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(hook), "BROKEN": f"{module}={how}"}
    return subprocess.run(
        [sys.executable, "-m", "engine.cli", *arguments],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_every_native_module_and_every_library_is_looked_at() -> None:
    """What is added is added to the doctor, too."""
    sources = [path.relative_to(ROOT) for top in ("shm", "workers") for path in (ROOT / top).rglob("*.pyx")]
    assert sorted(broken.NATIVE) == sorted(".".join(path.with_suffix("").parts) for path in sources)
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.split(r"[<>=\[; ]", requirement)[0].replace("-", "_").lower() for requirement in declared}
    of_module = importlib.metadata.packages_distributions()
    looked_at = {
        distribution.replace("-", "_").lower()
        for module in broken.LIBRARIES
        for distribution in of_module[module.partition(".")[0]]
    }
    assert names <= looked_at


@pytest.mark.parametrize("how", ["missing", "raises"])
@pytest.mark.parametrize("module", MODULES)
def test_the_doctor_survives_it_and_names_it(module: str, how: str, hook: Path) -> None:
    done = run(hook, module, how, "doctor", "--json")
    assert (done.returncode, done.stderr) == (1, "")
    document = json.loads(done.stdout)
    assert not document["ok"]
    problems = [check for check in document["checks"] if check["level"] == "problem"]
    kind = "build" if module in broken.NATIVE else "libraries"
    assert {check["name"] for check in problems} == {kind}
    why = f"no module {module}" if how == "missing" else f"{module}: RuntimeError: built for"
    assert any(check["text"].startswith(why) for check in problems), problems
    assert all("run: make" in check["text"] for check in problems)


def test_the_doctor_prints_lines_without_click_too(hook: Path) -> None:
    done = run(hook, "click", "missing", "doctor")
    assert (done.returncode, done.stderr) == (1, "")
    assert "problem  libraries  no module click; run: make setup" in done.stdout.splitlines()


@pytest.mark.parametrize("how", ["missing", "raises"])
@pytest.mark.parametrize("module", MODULES)
def test_an_engine_does_not_begin_with_it(module: str, how: str, hook: Path, tmp_path: Path) -> None:
    """A worker or a server that could not be imported would be started again and again; what a worker imports
    only when a connection is replaced would end it then."""
    config = tmp_path / "engine.toml"
    nowhere = "ws_url = 'ws://127.0.0.1:1'\nrest_url = 'http://127.0.0.1:1'"
    venues = [f"[venues.{name}]\n{nowhere}" for name in VENUES]
    engine = f"[engine]\ninstance = '{mine('broken')}'\nlisten = '127.0.0.1:0'"
    config.write_text("\n".join([engine, *venues]))
    done = run(hook, module, how, "up", "--config", str(config))
    why = f"no module {module}" if how == "missing" else f"{module}: RuntimeError: built for"
    assert done.stderr == f"tickring: the installation is broken ({why}); run: tickring doctor\n"
    assert (done.returncode, done.stdout) == (1, "")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize("module", FEW)
def test_a_command_that_needs_it_says_so_in_one_line(
    module: str, command: tuple[str, ...], hook: Path
) -> None:
    """One that does not need it works as ever."""
    done = run(hook, module, "raises", *command)
    assert "Traceback" not in done.stderr, done.stderr
    line = f"tickring: the installation is broken ({module}: RuntimeError: built for); run: tickring doctor"
    if line in done.stderr:
        assert (done.returncode, done.stderr) == (1, f"{line}\n")
    else:
        healthy = run(hook, "none", "raises", *command)
        assert (done.returncode, done.stderr) == (healthy.returncode, healthy.stderr)


def test_a_venue_that_somebody_writes_is_no_broken_installation() -> None:
    """Its errors are reported with their place, as settings that do not hold."""
    with pytest.raises(ImportError) as raised:
        exec(compile("import nothing_of_this_name", "venue.py", "exec"), {"__name__": "my_venue"})
    assert broken.by_import(raised.value) is raised.value
    assert not broken.ours(raised.value)


def test_an_error_that_no_import_has_raised_is_not_hidden() -> None:
    with pytest.raises(ValueError, match="ours") as raised:
        raise ValueError("a fault of ours")
    assert broken.by_import(raised.value) is None
