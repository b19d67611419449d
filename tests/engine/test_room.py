"""Room in /dev/shm is looked at before anything starts."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from engine.errors import EngineError
from engine.settings.settings import EngineSettings, Settings
from engine.settings.validation import geometry
from engine.supervision.engine import Engine
from engine.supervision.memory import SharedMemory
from shm.layout import PAGE
from tests.instances import mine
from workers.config.venue import VenueConfig

VENUE = VenueConfig(ws_url="ws://none", rest_url="http://none", symbols=["BTC/USDT"], cpu="none")
NEEDED = geometry(VENUE).size


@pytest.fixture
def instance() -> Iterator[str]:
    name = mine("room")
    yield name
    left = list(Path("/dev/shm").glob(f"tickring.{name}.*"))
    for path in left:
        path.unlink()
    assert left == []


def free(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=size))


def test_too_small_is_one_line_and_starts_nothing(instance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(
        engine=EngineSettings(instance=instance, listen="off"), venues={"one": VENUE, "two": VENUE}
    )
    free(monkeypatch, NEEDED + PAGE)  # for one of the two
    engine = Engine(settings, SharedMemory(instance))
    with pytest.raises(
        EngineError, match=r"MiB free, the segments of one, two need 8\.4 MiB: enlarge"
    ) as error:
        asyncio.run(engine.run())
    assert "\n" not in str(error.value)
    assert engine.processes == {}


def test_exactly_enough_is_enough(instance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = SharedMemory(instance)
    free(monkeypatch, NEEDED + PAGE)
    memory.check_room({"one": NEEDED})
    free(monkeypatch, NEEDED + PAGE - 1)
    with pytest.raises(EngineError):
        memory.check_room({"one": NEEDED})


def test_a_segment_that_will_be_adopted_needs_no_room(instance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = SharedMemory(instance)
    path = Path(f"/dev/shm/tickring.{instance}.one")
    free(monkeypatch, 0)
    try:
        path.touch()
        os.truncate(path, NEEDED)
        memory.check_room({"one": NEEDED})
        os.truncate(path, NEEDED - PAGE)  # another geometry: it stays until its successor is whole
        with pytest.raises(EngineError):
            memory.check_room({"one": NEEDED})
    finally:
        path.unlink()


def test_a_directory_that_says_no_is_not_taken_for_another_users_file(
    instance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tmpfs volume that got the mode of an image's folder, say."""

    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    memory = SharedMemory(instance)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(EngineError) as error:
            memory.claim(["one"])
    assert "/dev/shm may not be written to by this user" in str(error.value)
    assert "another user" not in str(error.value)
