"""One lock of all versions: it has all that pyproject.toml asks for, within its bounds, with hashes.

The kind: an upstream release breaks a clone, as something that is installed, or built with, is not pinned.
"""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tools import dependencies
from tools.dependencies import Row, blame, canonical, changed, pins, table, wanted

ROOT = Path(__file__).parents[2]
GROUPS = ("build", "run", "dev", "http", "fuzz")
LOCK = (ROOT / "requirements.lock").read_text()
EXAMPLE = """\
# made by a tool
aiohttp==3.14.5 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
    # via tickring (pyproject.toml)
numpy==2.4.6 ; python_full_version < '3.12' \\
    --hash=sha256:cc
numpy==2.5.5 ; python_full_version >= '3.12' \\
    --hash=sha256:dd
Posix_IPC==1.3.2 \\
    --hash=sha256:ee
"""


# -- the lock ---------------------------------------------------------------------------------------------
def test_the_lock_has_everything_within_its_bounds() -> None:
    pinned: dict[str, list[str]] = {}
    for pin in pins(LOCK):
        pinned.setdefault(pin.name, []).append(pin.version)
    for requirement in map(Requirement, wanted(GROUPS)):
        versions = pinned.get(canonical(requirement.name))
        assert versions, f"{requirement.name} is not in requirements.lock; run: make lock"
        for version in versions:
            assert requirement.specifier.contains(version), f"{requirement} does not allow {version}"


def test_the_lock_is_closed() -> None:
    """Whatever a pinned package needs on this machine is pinned, too, in a version that it allows."""
    pinned = dependencies._versions(LOCK, here=True)
    for name, version in pinned.items():
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # of another machine, or of the fuzzers
        if found.version != version:
            continue
        for requirement in map(Requirement, found.requires or ()):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                assert requirement.specifier.contains(pinned[canonical(requirement.name)], prereleases=True)


def test_every_pin_has_hashes_and_nothing_says_where_from() -> None:
    for pin in pins(LOCK):
        assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}(?= |$)", pin.lines, re.MULTILINE)) >= 1, pin.name
    assert "://" not in LOCK
    assert "--index-url" not in LOCK
    assert "--find-links" not in LOCK
    meant = [line for line in LOCK.splitlines() if line and line.lstrip()[0] not in "#-"]
    assert len(meant) == len(pins(LOCK)), "every line is understood"


def test_what_is_built_with_is_pinned_too() -> None:
    names = {pin.name for pin in pins(LOCK)}
    assert {"pip", "setuptools", "cython", "numpy", "picows"} <= names


def test_every_bound_has_two_ends() -> None:
    """The lower and the upper one of what was tested."""
    for requirement in map(Requirement, wanted(GROUPS)):
        signs = {one.operator for one in requirement.specifier}
        assert signs & {">=", "=="}, requirement
        assert signs & {"<", "=="}, requirement


def test_what_is_imported_is_declared() -> None:
    """A library that only another one brings along goes when that one no longer needs it."""
    ours = {"shm", "workers", "engine"}
    distributions = importlib.metadata.packages_distributions()
    declared = {canonical(Requirement(each).name) for each in wanted(["run", "http"])}
    for top in ours:
        for path in (ROOT / top).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    names = [node.module]
                for root in {name.partition(".")[0] for name in names} - ours - sys.stdlib_module_names:
                    assert {canonical(each) for each in distributions[root]} & declared, f"{path}: {root}"


@pytest.mark.parametrize("file", ["Makefile", "Dockerfile"])
def test_all_that_installs_takes_the_lock(file: str) -> None:
    """No line of these lets an installer choose a version by itself."""
    text = (ROOT / file).read_text()
    assert "tools/dependencies.py install" in text
    for line in text.replace("\\\n", " ").splitlines():
        for command in re.split(r"&&|;", line):
            if re.search(r"\bpip\b.* (install|wheel)\b", command):
                assert "--no-deps" in command, command
                assert re.search(r"--no-build-isolation|\.whl", command), command


# -- the tool ---------------------------------------------------------------------------------------------
def test_pins_of_a_lock() -> None:
    found = pins(EXAMPLE)
    assert [(pin.name, pin.version, pin.marker) for pin in found] == [
        ("aiohttp", "3.14.5", ""),
        ("numpy", "2.4.6", "python_full_version < '3.12'"),
        ("numpy", "2.5.5", "python_full_version >= '3.12'"),
        ("posix-ipc", "1.3.2", ""),
    ]
    assert found[0].lines == "aiohttp==3.14.5 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
    here = "2.4.6" if sys.version_info < (3, 12) else "2.5.5"
    assert dependencies._versions(EXAMPLE, here=True)["numpy"] == here
    assert dependencies._versions(EXAMPLE)["numpy"] == "2.4.6 or 2.5.5"


@pytest.mark.parametrize(
    ("requirement", "mode", "expected"),
    [
        ("picows>=2.3,<2.4", "within", "picows>=2.3,<2.4"),
        ("picows>=2.3,<2.4", "beyond", "picows>=2.3"),
        ("picows>=2.3,<2.4", "oldest", "picows==2.3.*"),
        ("httpx[http2]>=0.28,<0.29", "beyond", "httpx[http2]>=0.28"),
        ("a==1.0", "beyond", "a"),
        ("a>=1,!=1.2,<2; python_version < '3.12'", "beyond", "a>=1,!=1.2; python_version < '3.12'"),
        ("a", "oldest", "a"),
    ],
)
def test_bounds(requirement: str, mode: str, expected: str) -> None:
    assert changed(requirement, mode) == expected


def test_an_unknown_group_names_those_that_there_are() -> None:
    with pytest.raises(SystemExit, match=r"no group 'prod'.*build, run, dev"):
        wanted(["prod"])


class Fake:
    """An environment in which `broken` packages, in any version but the locked one, make tests fail."""

    def __init__(self, broken: dict[str, set[str]], always: Sequence[str] = ()) -> None:
        self.broken = broken
        self.always = set(always)
        self.now: dict[str, str] = {}

    def put(self, package: str, version: str) -> bool:
        self.now[package] = version
        return True

    def failing(self, names: Sequence[str]) -> set[str]:
        found = set(self.always)
        for package, tests in self.broken.items():
            if self.now.get(package) != "1":
                found |= tests
        return found & set(names)


def test_the_package_that_breaks_a_test_is_named() -> None:
    fake = Fake({"curl-cffi": {"t::stray"}, "mypy": {"make check"}}, always=["t::flaky"])
    differing = dict.fromkeys(("click", "curl-cffi", "mypy"), ("1", "2"))
    rows = blame(differing, ["make check", "t::flaky", "t::stray"], fake.put, fake.failing)
    assert rows == [
        Row("click", "1", "2", "breaks nothing found"),
        Row("curl-cffi", "1", "2", "breaks t::stray"),
        Row("mypy", "1", "2", "breaks make check"),
        Row("(no one of them)", "", "", "fails all the same: t::flaky"),
    ]
    assert fake.now == dict.fromkeys(differing, "2"), "as it was before"


def test_when_nothing_fails_all_pass() -> None:
    fake = Fake({})
    assert blame({"click": ("1", "2")}, [], fake.put, fake.failing) == [Row("click", "1", "2", "passes")]
    assert fake.now == {}


def test_a_version_that_cannot_be_had_is_not_blamed() -> None:
    fake = Fake({"click": {"t"}})
    rows = blame({"click": ("1", "2")}, ["t"], lambda *_: False, fake.failing)
    assert [row.verdict for row in rows] == ["breaks nothing found", "fails all the same: t"]


def test_the_summary_stands_in_columns() -> None:
    rows = [Row("click", "8.1", "8.5.1", "passes"), Row("curl-cffi", "0.16.3", "0.17.0", "breaks t::stray")]
    assert table(rows, ("package", "locked", "newest", "verdict")).splitlines() == [
        "package    locked  newest  verdict",
        "click      8.1     8.5.1   passes",
        "curl-cffi  0.16.3  0.17.0  breaks t::stray",
    ]
