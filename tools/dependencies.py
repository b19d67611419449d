"""Dependencies: what `pyproject.toml` allows, what `requirements.lock` pins, what is newest.

    python tools/dependencies.py install run dev    into this Python, exactly what the lock pins
    python tools/dependencies.py lock               write it anew: the newest that the bounds allow
    python tools/dependencies.py newest [--beyond]  check and test with the newest; say what breaks

The lock holds every package of every group with the hashes of its files, for all Pythons and machines that we
support. `newest` works in ``build/newest``, on a copy of the files with its own environment; `--beyond`
ignores upper bounds, `--oldest` takes the releases of the lower bound of everything that we name.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
WORK = ROOT / "build"

_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)\s*(?:;\s*([^\\]*?))?\s*\\?$")
_REQUIREMENT = re.compile(r"^\s*([A-Za-z0-9._-]+)\s*(\[[^\]]*\])?\s*([^;]*?)\s*(;.*)?$")
BLAMED = 20  # failures that are tried again for each package: a broken one rarely shows in more ways
WITHIN, BEYOND, OLDEST = "within", "beyond", "oldest"


# -- what is wanted, what is pinned -----------------------------------------------------------------------
def canonical(name: str) -> str:
    """The name as registries compare it: ``posix_ipc`` and ``posix-ipc`` are one."""
    return re.sub(r"[-_.]+", "-", name).lower()


def wanted(groups: Iterable[str], pyproject: Path = ROOT / "pyproject.toml") -> list[str]:
    """The requirements of these groups: ``build``, ``run``, or the name of an extra.

    Raises `SystemExit` for a group that there is not.
    """
    document = tomllib.loads(pyproject.read_text())
    project = document["project"]
    known = {
        "build": document["build-system"]["requires"],
        "run": project["dependencies"],
        **project["optional-dependencies"],
    }
    found: dict[str, None] = {}
    for group in groups:
        if group not in known:
            raise SystemExit(f"no group {group!r} in {pyproject.name}; there are: {', '.join(known)}")
        found.update(dict.fromkeys(known[group]))
    return list(found)


@dataclass(frozen=True)
class Pin:
    """One package of the lock: `lines` are its own, with the hashes."""

    name: str
    version: str
    marker: str
    lines: str


def pins(text: str) -> list[Pin]:
    """The packages of a lock; one that differs between Pythons is there more than once."""
    found: list[Pin] = []
    block: list[str] = []
    for line in text.splitlines():
        if not block and not _PIN.match(line):
            continue
        block.append(line)
        if not line.endswith("\\"):
            match = _PIN.match(block[0])
            assert match is not None
            name, version, marker = match.groups()
            found.append(Pin(canonical(name), version, marker or "", "\n".join(block) + "\n"))
            block = []
    return found


def changed(requirement: str, mode: str) -> str:
    """`requirement` with its bounds as `mode` has them.

    >>> changed("picows>=2.3,<2.4", "beyond"), changed("httpx[http2]>=0.28,<1", "oldest")
    ('picows>=2.3', 'httpx[http2]==0.28.*')
    """
    match = _REQUIREMENT.match(requirement)
    assert match is not None, requirement
    name, extras, bounds, marker = (part or "" for part in match.groups())
    each = [bound.strip() for bound in bounds.split(",") if bound.strip()]
    if mode == BEYOND:
        each = [bound for bound in each if bound.startswith((">", "!="))]
    elif mode == OLDEST:
        each = [bound.replace(">=", "==", 1) + ".*" for bound in each if bound.startswith(">=")]
    return name + extras + ",".join(each) + marker


# -- install, lock ----------------------------------------------------------------------------------------
def install(groups: Sequence[str], into: str) -> None:
    """Exactly what the lock pins, verified, into the environment of the Python `into`; nothing is built with
    a tool that is not pinned, too."""
    with tempfile.TemporaryDirectory() as folder:
        first, rest = Path(folder, "pip.txt"), Path(folder, "wanted.txt")
        # The pip that Python brings may be too old to take hashes from constraints.
        first.write_text("".join(pin.lines for pin in pins(LOCK.read_text()) if pin.name == "pip"))
        _pip(sys.executable, "--require-hashes", "--requirement", str(first))
        stages = [wanted(groups)] if into != sys.executable else [wanted(["build"]), wanted(groups)]
        for stage in stages:
            rest.write_text("\n".join(stage) + "\n")
            _pip(
                into,
                "--require-hashes",
                "--no-build-isolation",
                "--constraint",
                str(LOCK),
                "--requirement",
                str(rest),
            )


def _pip(python: str, *arguments: str) -> None:
    there = [] if python == sys.executable else ["--python", python]
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *there, "install", "--quiet"]
    _run([*command, *arguments])


def _run(command: Sequence[str], cwd: Path = ROOT) -> None:
    done = subprocess.run(command, cwd=cwd, check=False)
    if done.returncode:
        raise SystemExit(f"failed ({done.returncode}): {' '.join(command)}")


def lock() -> None:
    """The newest that the bounds allow, for all supported Pythons, with hashes; uv finds it."""
    tool = WORK / "lock"
    if not (tool / "bin" / "uv").exists():
        _run([sys.executable, "-m", "venv", str(tool)])
        _run([str(tool / "bin" / "python"), "-m", "pip", "install", "--quiet", "uv"])
    options = ["--universal", "--generate-hashes", "--all-extras", "--upgrade", "--quiet", "--no-config"]
    options += ["--python-version", "3.11", "--custom-compile-command", "make lock"]
    before = _versions(LOCK.read_text()) if LOCK.exists() else {}
    _run([str(tool / "bin" / "uv"), "pip", "compile", *options, "pyproject.toml", "--output-file", str(LOCK)])
    after = _versions(LOCK.read_text())
    rows = [
        Row(name, before.get(name, "-"), after.get(name, "-"), "")
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]
    print(table(rows, ("package", "before", "now", "")) if rows else "the lock was the newest already")


def _versions(text: str, *, here: bool = False) -> dict[str, str]:
    """Name → version, or versions where Pythons differ; `here`: that of this Python."""
    found: dict[str, str] = {}
    for pin in pins(text):
        if here and pin.marker:
            from pip._vendor.packaging.markers import Marker  # not needed to install

            if not Marker(pin.marker).evaluate():
                continue
        found[pin.name] = f"{found[pin.name]} or {pin.version}" if pin.name in found else pin.version
    return found


# -- newest -----------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Row:
    """A line of the summary."""

    package: str
    locked: str
    now: str
    verdict: str


def table(rows: Sequence[Row], heads: tuple[str, str, str, str]) -> str:
    lines = [heads, *((row.package, row.locked, row.now, row.verdict) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    return "\n".join(
        "  ".join([*(line[column].ljust(widths[column]) for column in range(3)), line[3]]).rstrip()
        for line in lines
    )


def blame(
    differing: dict[str, tuple[str, str]],
    failing: Sequence[str],
    put: Callable[[str, str], bool],
    again: Callable[[Sequence[str]], set[str]],
) -> list[Row]:
    """A verdict for each package that differs: which of the failures end when it alone is as locked.

    Args:
        differing: package → (locked, now).
        failing: what fails with all of them as they are now.
        put: install this version of this package; whether that could be done.
        again: run these; those that fail.
    """
    few = list(failing[:BLAMED])
    rows = []
    explained: set[str] = set()
    for package, (locked, now) in differing.items():
        ended: set[str] = set()
        if few:
            if put(package, locked):
                ended = set(few) - again(few)
            put(package, now)
        explained |= ended
        verdict = f"breaks {', '.join(sorted(ended))}" if ended else "breaks nothing found"
        rows.append(Row(package, locked, now, verdict if few else "passes"))
    if left := [name for name in few if name not in explained]:
        rows.append(Row("(no one of them)", "", "", f"fails all the same: {', '.join(left)}"))
    return rows


class Place:
    """A copy of the files with an environment of its own."""

    def __init__(self, mode: str, tests: Sequence[str]) -> None:
        self.folder = WORK / "newest" / mode
        self.python = str(self.folder / ".venv" / "bin" / "python")
        self.tests = tests
        self.mode = mode

    def make(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file():
                target = self.folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, target)
        _run([sys.executable, "-m", "venv", str(self.folder / ".venv")])
        requirements = self.folder / ".venv" / "wanted.txt"
        requirements.write_text(
            "\n".join(changed(each, self.mode) for each in wanted(["build", "run", "dev"])) + "\n"
        )
        _run([self.python, "-m", "pip", "install", "--quiet", "--upgrade", "pip"])
        _run([self.python, "-m", "pip", "install", "--quiet", "--requirement", str(requirements)])
        command = [self.python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
        _run(["env", "TICKRING_EXT=none", *command, "--editable", "."], self.folder)
        (self.folder / ".venv" / ".tickring-setup").touch()  # `make` has nothing to install any more

    def versions(self) -> dict[str, str]:
        done = subprocess.run(
            [self.python, "-m", "pip", "--disable-pip-version-check", "list", "--format", "json"],
            check=True,
            capture_output=True,
            text=True,
        )
        return {canonical(each["name"]): each["version"] for each in json.loads(done.stdout)}

    def put(self, package: str, version: str) -> bool:
        command = [self.python, "-m", "pip", "install", "--quiet", "--no-deps", f"{package}=={version}"]
        done = subprocess.run(command, cwd=self.folder, check=False, capture_output=True)
        if package in ("cython", "numpy", "picows", "setuptools"):  # the native code is made with them
            (self.folder / ".venv" / ".tickring-build").unlink(missing_ok=True)
            for made in self.folder.glob("build/temp*"):
                shutil.rmtree(made)
        return done.returncode == 0

    def failing(self, names: Sequence[str] | None = None) -> set[str]:
        """Those of `names` (None: the build, the checks, all tests) that fail."""
        failed = set()
        tests = list(self.tests) if names is None else [name for name in names if "make " not in name]
        for target in ("build", "check"):
            if names is None or f"make {target}" in names or target == "build":
                done = self._run(["make", "--no-print-directory", target])
                if done.returncode:
                    failed.add(f"make {target}")
                    print(done.stdout[-4000:], file=sys.stderr)
                    if target == "build":
                        return failed
        if names is None or tests:
            done = self._run([self.python, "-m", "pytest", "-rfE", "--no-header", *tests])
            found = re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", done.stdout, re.MULTILINE)
            if done.returncode not in (0, 1) or (done.returncode == 1 and not found):
                failed.add("make test")
                print(done.stdout[-4000:], file=sys.stderr)
            failed.update(found)
        return failed

    def _run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            check=False,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )


def newest(mode: str, tests: Sequence[str]) -> int:
    """Prints a line a package that differs from the lock; 1 when something breaks."""
    place = Place(mode, tests)
    print(f"making an environment in {place.folder.relative_to(ROOT)} ...", flush=True)
    place.make()
    locked, now = _versions(LOCK.read_text(), here=True), place.versions()
    differing = {
        name: (locked[name], version) for name, version in now.items() if locked.get(name, version) != version
    }
    unknown = sorted(set(now) - set(locked) - {"tickring"})
    if not differing and not unknown:
        print("nothing differs from the lock: there is nothing to try")
        return 0
    print(f"{len(differing)} packages differ from the lock; check and tests, some minutes ...", flush=True)
    failing = sorted(place.failing())
    if failing:
        print(f"{len(failing)} fail; looking for the package that does it ...", flush=True)
    rows = blame(differing, failing, place.put, place.failing)
    rows += [Row(name, "-", now[name], "new, not in the lock") for name in unknown]
    print(table(rows, ("package", "locked", mode if mode == OLDEST else "newest", "verdict")))
    print(f"{len(failing)} failures" if failing else "all pass")
    return 1 if failing else 0


def main(arguments: Sequence[str] | None = None) -> int:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("install")
    one.add_argument("groups", nargs="+", help="build, run, or the name of an extra")
    one.add_argument("--into", default=sys.executable, help="the Python of another environment")
    commands.add_parser("lock")
    one = commands.add_parser("newest")
    which = one.add_mutually_exclusive_group()
    which.add_argument("--beyond", dest="mode", action="store_const", const=BEYOND, default=WITHIN)
    which.add_argument("--oldest", dest="mode", action="store_const", const=OLDEST)
    one.add_argument("tests", nargs="*", help="only these tests")
    chosen = parser.parse_args(arguments)
    if chosen.command == "install":
        install(chosen.groups, chosen.into)
    elif chosen.command == "lock":
        lock()
    else:
        return newest(chosen.mode, chosen.tests)
    return 0


if __name__ == "__main__":
    sys.exit(main())
