"""From the source distribution to prices: it has all that a build needs; its wheel has the native code.

The kind: what is installed lacks what the checkout has (sources, native modules, venues' files), and nobody
notices, as tests run in the checkout.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from engine.broken import NATIVE

ROOT = Path(__file__).parents[2]
# In a process of its own, far from the checkout: a writer and a reader of one segment.
PRICES = """
import sys

import shm
from shm.instruments import Instrument
from shm.layout import Geometry, State
from shm.segment import open_writer

assert shm.__file__.startswith(sys.prefix), shm.__file__
writer = open_writer(sys.argv[1], "feed", Geometry(slots=16, instruments=2, depth=1, events=8), 3600.0)
feed = shm.attach("feed", sys.argv[1])
print(feed.state.name)
feed.close()
writer.close()
"""


def run(*command: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command,
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": "", **environ},
        timeout=600,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made of what the repository has, in a copy: what lies about in the checkout is not in it."""
    folder = tmp_path_factory.mktemp("sdist")
    copy = folder / "copy"
    ignored = shutil.ignore_patterns("*.so", "*.c", "__pycache__", "*.egg-info")
    copy.mkdir()
    for name in ("shm", "workers", "engine", "config", "docs", "examples", "tools"):
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    for path in ROOT.iterdir():
        if path.is_file() and not path.name.startswith("."):
            shutil.copy(path, copy)
    hook = "import setuptools.build_meta as build; build.build_sdist('dist')"
    run(sys.executable, "-c", hook, cwd=copy)
    (made,) = (copy / "dist").iterdir()
    with tarfile.open(made) as archive:
        # Python 3.11.2, which Debian has, knows no filters yet; 3.14 has this one by itself.
        safe: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        archive.extractall(folder, **safe)
    shutil.rmtree(copy)
    (unpacked,) = folder.iterdir()
    return unpacked


def test_the_source_distribution_has_every_source(sdist: Path) -> None:
    for top in ("shm", "workers", "engine"):
        for path in (ROOT / top).rglob("*"):
            if path.suffix in (".py", ".pyx", ".pxd", ".pyi", ".h", ".typed", ".md"):
                assert (sdist / path.relative_to(ROOT)).is_file(), path
    for path in (ROOT / "config").rglob("*.toml"):
        assert (sdist / path.relative_to(ROOT)).is_file(), path
    assert not [*sdist.rglob("*.so"), *sdist.rglob("*.c")]


@pytest.fixture(scope="module")
def wheel(sdist: Path) -> Path:
    """Built from the source distribution, as little optimised as possible: it is to be right, not fast."""
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet")
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(sdist / "wheel"), ".")
    run(*pip, *options, cwd=sdist, TICKRING_CFLAGS="-O0")
    (made,) = (sdist / "wheel").iterdir()
    return made


def test_the_wheel_is_of_this_platform_and_has_all_native_code(wheel: Path) -> None:
    version = f"cp{sys.version_info.major}{sys.version_info.minor}"
    platform = re.sub(r"[-.]", "_", sysconfig.get_platform())
    assert wheel.name.endswith(f"-{version}-{version}-{platform}.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    assert {name for name in names if name.endswith(".so")} == {
        name.replace(".", "/") + suffix for name in NATIVE
    }
    assert not [name for name in names if name.endswith((".c", ".pyx"))]


def test_what_is_installed_runs_far_from_the_checkout(wheel: Path, tmp_path: Path, instance: str) -> None:
    run(sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv"), cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    site = Path(
        run(str(python), "-c", "import site; print(site.getsitepackages()[0])", cwd=tmp_path).stdout.strip()
    )
    # The libraries of this environment, without the .pth file that leads to the checkout.
    (site / "libraries.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python), "install")
    run(*pip, "--quiet", "--no-deps", "--no-index", str(wheel), cwd=tmp_path)
    done = run(str(python), "-c", PRICES, instance, cwd=tmp_path)
    assert done.stdout.splitlines() == ["RESYNC"]
    command = tmp_path / "venv" / "bin" / "tickring"
    done = subprocess.run(
        [str(command), "doctor"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"]},
    )
    lines = dict(line.split(None, 2)[1::-1] for line in done.stdout.splitlines())
    assert (lines["build"], lines["libraries"], lines["settings"]) == ("ok", "ok", "ok"), done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("kept", ["nothing", "another name"])
def test_a_build_that_compiles_nothing_fails(kept: str, tmp_path: Path) -> None:
    """Sources without .pyx, and a module that is not there."""
    shutil.copy(ROOT / "setup.py", tmp_path)
    for name in ("shm", "workers"):
        (tmp_path / name).mkdir()
    environ = {**os.environ, "TICKRING_EXT": "" if kept == "nothing" else "shm._rign"}
    done = subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build_ext"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=environ,
    )
    assert done.returncode == 1
    expected = "nothing to compile" if kept == "nothing" else "no module shm._rign to compile"
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
