"""Fixtures that every part uses: an instance of its own for each test, and the shared captures."""

from __future__ import annotations

import gc
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.instances import mine, remove_left_over

ROOT = Path(__file__).resolve().parent.parent

# What `make test` leaves to `make test-slow`: processes that run for seconds, compilers, model checking, long
# random runs. Beginnings of test ids, measured (--durations): the others end in five minutes on two cores.
SLOW = (
    "tests/bench/",
    "tests/conformance/",
    "tests/docs/",
    "tests/e2e/test_capture.py",
    "tests/e2e/test_compose_stack.py",
    "tests/e2e/test_demo_terminal.py",
    "tests/e2e/test_demo_venues.py",
    "tests/e2e/test_faults.py",
    "tests/e2e/test_field_defects.py",
    "tests/e2e/test_never_twice.py",
    "tests/e2e/test_readme.py",
    "tests/e2e/test_recovery.py",
    "tests/e2e/test_sdist.py",
    "tests/engine/test_broken.py::test_a_command",
    "tests/engine/test_broken.py::test_an_engine",
    "tests/engine/test_broken.py::test_the_doctor_survives",
    "tests/engine/test_demo.py::test_a_demo",
    "tests/engine/test_demo.py::test_ctrl_c",
    "tests/engine/test_demo.py::test_the_demo",
    "tests/engine/test_hostile_feed.py::test_a_corrupt_feed_takes_nothing_along[3000]",
    "tests/engine/test_service.py",
    "tests/faults/",
    "tests/fuzz/",
    "tests/quiet/",
    "tests/shm/test_hostile.py::test_random_damage[10000]",
    "tests/shm/test_kill.py",
    "tests/shm/test_model.py",
    "tests/shm/test_mutants.py",
    "tests/shm/test_protocol_steps.py",
    "tests/shm/test_stub.py",
    "tests/soak/",
    "tests/test_slow.py",
    "tests/workers/books/test_handover_random.py",
    "tests/workers/books/test_native_mutants.py",
    "tests/workers/decode/test_protobuf_fuzz.py",
    "tests/workers/decode/test_scan_fuzz.py",
    "tests/workers/decode/test_symbols.py::test_the_sanitizer",
    "tests/workers/decode/test_symbols.py::test_without_memory",
    "tests/workers/rest/test_circuit.py::test_negative_control",
    "tests/workers/test_deepening_live.py",
    "tests/workers/test_listing_changes.py",
    "tests/workers/test_quiet.py",
    "tests/workers/test_starts.py",
    "tests/workers/venues/test_best_prices.py::test_many_quiet_symbols",
    "tests/workers/venues/kraken/test_quiet_kraken.py",
    "tests/workers/venues/mexc_spot/test_protobuf_mexc_spot.py::test_generated",
    "tests/workers/websocket/test_first_events.py::test_a_fresh_connection",
    "tests/workers/websocket/test_renewal_live.py",
)


def pytest_sessionstart() -> None:
    remove_left_over()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(SLOW):
            item.add_marker(pytest.mark.slow)


# A test run says the same of the same code every time; ``TICKRING_HYPOTHESIS=random`` looks further. No
# deadlines: how long an example takes on a busy machine is not what these tests are about.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile("random", deadline=None)
settings.load_profile(os.environ.get("TICKRING_HYPOTHESIS", "fixed"))


@pytest.fixture(autouse=True)
def collecting() -> Iterator[None]:
    """A worker in the test's own process turns the garbage collection off for good; what later tests leave in
    circles would keep its files open."""
    yield
    if not gc.isenabled():
        gc.unfreeze()
        gc.enable()


@pytest.fixture
def instance() -> Iterator[str]:
    """An instance name that nobody else uses; what is left of it in /dev/shm goes with the test."""
    name = mine(uuid.uuid4().hex[:8])
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
