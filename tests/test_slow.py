"""The list of slow tests: each entry is of tests that there are; quick and slow ones together are all."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
AT_ONCE = " -n $(JOBS) --dist loadfile"


def collected(*options: str) -> set[str]:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-p", "no:cacheprovider", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return {line for line in done.stdout.splitlines() if "::" in line}


def test_every_entry_is_of_tests_that_there_are(request: pytest.FixtureRequest) -> None:
    conftest = next(
        plugin
        for plugin in request.config.pluginmanager.get_plugins()
        if str(getattr(plugin, "__file__", "")) == str(ROOT / "tests" / "conftest.py")
    )
    slow = collected("-m", "slow")
    for entry in conftest.SLOW:
        assert any(name.startswith(entry) for name in slow), entry
    assert not {name for name in slow if not name.startswith(conftest.SLOW)}


def test_the_makefile_runs_each_test_once() -> None:
    """In CI: the quick ones, then the slow ones."""
    makefile, ci = (ROOT / "Makefile").read_text(), (ROOT / ".ci" / "run").read_text()
    assert re.findall(r"pytest -rs(.*)$", makefile, re.MULTILINE) == [
        f' -m "not slow"{AT_ONCE}',
        f" -m slow --ignore=tests/conformance{AT_ONCE}",
        " tests/conformance",
    ]
    assert "\ntest-all: test test-slow\n" in makefile
    assert re.findall(r"^make (\S+)$", ci, re.MULTILINE) == ["check", "test", "test-slow"]


@pytest.mark.parametrize("target", ["test", "test-slow"])
def test_what_is_missing_and_how_long_it_takes_is_reported_before(target: str, tmp_path: Path) -> None:
    """With the commands that make it available."""
    (tmp_path / "sh").symlink_to("/bin/sh")
    makefile = (ROOT / "Makefile").read_text()
    recipe = makefile[makefile.index(f"\n{target}: setup\n") :].split("\n\n")[0].splitlines()
    lines = [line.strip() for line in recipe if line.startswith("\t")]
    assert re.search(r"about \w+", lines[0])
    assert lines[1] == "@$(MISSING)"
    recipe = re.search(r"MISSING := (.*?)\n\n", makefile, re.DOTALL)
    assert recipe is not None
    done = subprocess.run(
        ["/bin/sh", "-c", recipe[1].replace("\\\n", "")],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "apt-get install spin\n" in done.stdout
    assert "apt-get install prometheus\n" in done.stdout
