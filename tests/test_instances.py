"""A killed test run leaves nothing in /dev/shm that the next one does not clean."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.instances import mine, remove_left_over


def test_what_a_run_that_is_gone_has_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = [f"tickring.test{gone.pid}-cli.venue", f"tickring.test{gone.pid}-cli.venue.lock"]
    left += [f"tickring.bench{gone.pid}.readers", f"tickring.test{gone.pid}-says.engine.json"]
    kept = [f"tickring.{mine('cli')}.venue", f"tickring.bench{os.getpid()}.readers", "tickring.default.okx"]
    kept += [
        f"tickring.desk{gone.pid}.okx",
        f"tickring.testing{gone.pid}.okx",
        f"other.test{gone.pid}-cli.venue",
    ]
    for name in left + kept:
        (tmp_path / name).touch()
    assert remove_left_over(tmp_path) == sorted(left)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


def test_the_names_of_this_run_are_its_own() -> None:
    """The pattern knows the names that `mine` makes: else nothing would be found."""
    assert mine("cli") == f"test{os.getpid()}-cli"
    assert mine() == f"test{os.getpid()}"
