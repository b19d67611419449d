"""The face for programs: every name is the real one, a reader loads the reader alone, and what else is called
as our packages is named in one line or does no harm."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import shm
import tickring

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str, cwd: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Python as a user has it, with a folder of the user's own first on the path."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, filter(None, (path, ROOT))))}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A user's own packages, called as ours are."""
    folder = tmp_path / "own"
    for name in ("shm", "workers", "engine"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(f"MINE = {name!r}\n")
    return folder


def test_every_name_is_the_one_that_it_stands_for() -> None:
    assert set(shm.__all__) < set(tickring.__all__) == set(dir(tickring))
    for name in tickring.__all__:
        real = shm if name in shm.__all__ else import_module(tickring._EXCHANGE[name])
        assert getattr(tickring, name) is getattr(real, name)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        tickring.Nothing  # noqa: B018


@pytest.mark.parametrize("use", ["", "tickring.attach, tickring.feeds, tickring.Stale"])
def test_a_reader_loads_the_reader_alone(tmp_path: Path, use: str) -> None:
    """As many of our modules as reading needs: not one of the engine's or the workers', no client library."""
    packages = ("shm", "workers", "engine", "aiohttp", "picows", "uvloop", "click")
    program = (
        f"import sys, tickring; {use or None}; names = [name.split('.')[0] for name in sys.modules]; "
        f"print(*(names.count(name) for name in {packages}))"
    )
    done = run("-c", program, cwd=tmp_path)
    ours, *others = map(int, done.stdout.split())
    assert others == [0] * 6, done.stderr
    assert ours == 0 if not use else 5 < ours < 20


def test_a_foreign_reader_is_reported_in_one_line(tmp_path: Path, foreign: Path) -> None:
    done = run("-c", "import tickring", cwd=tmp_path, path=foreign)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: tickring: 'shm' is {foreign}/shm/__init__.py, not tickring's (expected in {ROOT}): "
        "rename yours or move it back on the path"
    )


def test_a_program_with_workers_of_its_own_reads_all_the_same(tmp_path: Path, foreign: Path) -> None:
    """It keeps its own; only what needs ours says that they are hidden."""
    (foreign / "shm" / "__init__.py").unlink()
    (foreign / "shm").rmdir()
    program = (
        "import tickring, workers, engine; print(tickring.attach.__name__, workers.MINE, engine.MINE)\n"
        "try:\n    tickring.TransportFactory\nexcept ImportError as error:\n    print(error)"
    )
    done = run("-c", program, cwd=tmp_path, path=foreign)
    assert done.stderr == ""
    first, second = done.stdout.splitlines()
    assert first == "attach workers engine"
    assert second.startswith(f"tickring: 'workers' is {foreign}/workers/__init__.py, not tickring's")


def test_the_command_begins_with_ours(tmp_path: Path, foreign: Path) -> None:
    """The console script is a module of its own: no package of the user's comes before it."""
    for place in (tmp_path, foreign):
        done = run("-P", "-m", "tickring_command", "venues", cwd=place, path=foreign)
        assert done.returncode == 0, done.stderr
        assert "binance_spot" in done.stdout


def test_without_the_command_the_users_come_first(tmp_path: Path, foreign: Path) -> None:
    """Negative control."""
    done = run("-P", "-c", "import engine; print(engine.__file__)", cwd=tmp_path, path=foreign)
    assert done.stdout.strip() == f"{foreign}/engine/__init__.py"


def test_the_doctor_names_what_is_called_the_same(tmp_path: Path, foreign: Path) -> None:
    done = run("-P", "-m", "tickring_command", "doctor", cwd=tmp_path, path=foreign)
    lines = [line for line in done.stdout.splitlines() if " packages " in line]
    assert [line.split()[2] for line in lines] == [
        f"{foreign}/{name}/__init__.py" for name in ("shm", "workers", "engine")
    ]
    assert all(line.startswith("note") for line in lines)
    clean = run("-P", "-m", "tickring_command", "doctor", cwd=tmp_path)
    assert f"packages   shm, workers, engine and tickring are those of {ROOT}" in clean.stdout
