"""Fixtures that every part uses: an instance of its own for each test, and the shared captures."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

# A test run says the same of the same code every time; ``TICKRING_HYPOTHESIS=random`` looks further. No
# deadlines: how long an example takes on a busy machine is not what these tests are about.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile("random", deadline=None)
settings.load_profile(os.environ.get("TICKRING_HYPOTHESIS", "fixed"))


@pytest.fixture
def instance() -> Iterator[str]:
    """An instance name that nobody else uses; what is left of it in /dev/shm goes with the test."""
    name = f"test-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    yield name
    for path in Path("/dev/shm").glob(f"tickring.{name}.*"):
        path.unlink()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The captures and documents beside the repository (``TICKRING_SHARED`` names another place)."""
    path = Path(os.environ.get("TICKRING_SHARED") or ROOT.parent / "shared")
    if not path.is_dir():
        pytest.skip(f"{path} is not there; TICKRING_SHARED names another place")
    return path
