"""docs/adding-a-venue.md is executable: its files make a venue that a worker serves, with books without ids.

The exchange's own book is the oracle; what a reader sees must be one of the states that it has had.
"""

from __future__ import annotations

import asyncio
import importlib.util
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import shm
import workers.venues
from engine.cli import cli
from shm import Kind, Reason, State
from workers.config.venue import VenueConfig, WorkerConfig
from workers.venues.venue import load, names
from workers.worker.worker import Worker

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/adding-a-venue.md").read_text()


def files() -> dict[str, str]:
    """path -> text of every block that names its file in the first line."""
    found = re.findall(r"```(?:python|toml)\n# (\S+)\n(.*?)```", PAGE, re.DOTALL)
    return dict(found)


@pytest.fixture
def toyex(tmp_path: Path) -> Iterator[None]:
    for path, text in files().items():
        if path.startswith("workers/venues/"):
            place = tmp_path / Path(path).relative_to("workers/venues")
            place.parent.mkdir(exist_ok=True)
            place.write_text(text)
    workers.venues.__path__.append(str(tmp_path))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        workers.venues.__path__.remove(str(tmp_path))
        for name in [name for name in sys.modules if name.startswith("workers.venues.toyex")]:
            del sys.modules[name]


@pytest.fixture(scope="module")
def exchange() -> ModuleType:
    spec = importlib.util.spec_from_file_location("toy_exchange", ROOT / "examples/toy_exchange.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Serving:
    """The exchange and a worker of it in this process; `book` is what a reader has, `had` what was true."""

    def __init__(self, exchange: ModuleType, instance: str, **keys: Any) -> None:
        self.exchange = exchange.ToyExchange(seed=7, every=0.01)
        self.instance = instance
        self.keys = keys
        self.had: set[tuple[Any, ...]] = set()

    async def __aenter__(self) -> Serving:
        port = await self.exchange.start()
        settings = tomllib.loads(files()["config/venues/toyex.toml"]) | {
            "ws_url": f"ws://127.0.0.1:{port}",
            "rest_url": f"http://127.0.0.1:{port}",
            "ring_slots": 65_536,
        }
        config = VenueConfig(**settings | self.keys)
        self.worker = Worker(WorkerConfig(instance=self.instance, feed="toyex", venue=config), load("toyex"))
        publish = self.exchange.publish

        async def remember(message: dict[str, Any]) -> None:
            self.had.add(self.truth())
            await publish(message)

        self.exchange.publish = remember
        self.running = asyncio.ensure_future(self.worker.run())
        await self.until(
            lambda: f"tickring.{self.instance}.toyex" in {p.name for p in Path("/dev/shm").iterdir()}
        )
        self.feed = shm.attach("toyex", self.instance, wait=5.0)
        await self.until(lambda: self.feed.state is State.LIVE)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.worker.stop()
        await self.running
        await self.exchange.stop()

    async def until(self, happened: Any, seconds: float = 10.0) -> None:
        async with asyncio.timeout(seconds):
            while not happened():
                if self.running_failed():
                    await self.running
                await asyncio.sleep(0.005)

    def running_failed(self) -> bool:
        return hasattr(self, "running") and self.running.done()

    def truth(self) -> tuple[Any, ...]:
        bids, asks = self.exchange.markets["BTC-USD"].sides()
        return tuple((float(p), float(s)) for p, s in bids[:20]), tuple(
            (float(p), float(s)) for p, s in asks[:20]
        )

    def book(self) -> tuple[Any, ...]:
        book = self.feed.book("BTC/USD")
        return tuple(map(tuple, book.bids.tolist())), tuple(map(tuple, book.asks.tolist()))


def test_the_page_makes_a_venue_that_is_served(toyex: None, exchange: ModuleType, instance: str) -> None:
    async def main() -> None:
        async with Serving(exchange, instance) as serving:
            seen = set()
            for _ in range(50):
                seen.add(serving.book())
                assert serving.feed.top("BTC/USD").bid < serving.feed.top("BTC/USD").ask
                await asyncio.sleep(0.005)
            assert len(seen) > 10
            assert seen <= serving.had
            records = serving.feed.cursor(from_oldest=True).poll(1_000_000)
            trades = records[records["kind"] == Kind.TRADE]
            ids = trades["words"][:, 2][trades["instrument"] == 0].tolist()
            assert len(ids) > 10
            assert ids == list(range(ids[0], ids[0] + len(ids)))

    asyncio.run(main())


def test_a_void_book_comes_back_by_a_new_subscription(
    toyex: None, exchange: ModuleType, instance: str
) -> None:
    async def main() -> None:
        async with Serving(exchange, instance) as serving:
            cursor = serving.feed.cursor()
            serving.worker.publisher.invalidate(0, Reason.AUDIT)
            await serving.until(lambda: serving.worker.publisher.state(0, shm.Scope.BOOK) == State.RESYNC)
            await serving.until(lambda: serving.worker.publisher.state(0, shm.Scope.BOOK) == State.LIVE)
            assert serving.book() in serving.had
            assert cursor.poll(1_000_000).lost == 0

    asyncio.run(main())


def test_a_connection_is_replaced_before_its_end_without_update_ids(
    toyex: None, exchange: ModuleType, instance: str
) -> None:
    """Without ids, a shadow of the book takes over: nobody who reads notices, and every book read was one."""

    async def main() -> None:
        async with Serving(exchange, instance, max_connection_age=1.0) as serving:
            await serving.until(lambda: serving.worker.publisher.state(1, shm.Scope.BOOK) == State.LIVE)
            cursor = serving.feed.cursor()
            while serving.feed.counters().feed["renewals"] < 2:
                assert serving.book() in serving.had
                await asyncio.sleep(0.005)
            records = cursor.poll(1_000_000)
            assert records.lost == 0
            assert Kind.STATUS not in records["kind"]
            trades = records[records["kind"] == Kind.TRADE]
            for index in (0, 1):
                ids = trades["words"][:, 2][trades["instrument"] == index].tolist()
                assert ids == list(range(ids[0], ids[0] + len(ids)))

    asyncio.run(main())


def test_the_commands_of_the_page_exist() -> None:
    for line in re.findall(r"^\$ \.venv/bin/tickring (.*)$", PAGE, re.MULTILINE):
        words = shlex.split(line)
        command: Any = cli
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        assert command is not cli, line
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, line


def test_without_the_page_there_is_no_such_venue() -> None:
    assert "toyex" not in names() or (ROOT / "workers/venues/toyex").is_dir()


def test_the_files_of_the_page_pass_the_checks(tmp_path: Path) -> None:
    """As `make check` would judge them in the tree."""
    for place in (".", "workers", "workers/venues"):  # a tree with the page's files in it
        (tmp_path / place).mkdir(exist_ok=True)
        for entry in (ROOT / place).iterdir():
            if entry.name not in (".git", ".venv", ".mypy_cache", "workers", "venues", "toyex"):
                (tmp_path / place / entry.name).symlink_to(entry)
    for path, text in files().items():
        if path.startswith("workers/venues/toyex/"):
            (tmp_path / path).parent.mkdir(exist_ok=True)
            (tmp_path / path).write_text(text)
    tools = Path(sys.executable).parent
    for command in (
        ["ruff", "check", "workers/venues/toyex"],
        ["ruff", "format", "--check", "workers/venues/toyex"],
        ["mypy", "--strict", "-p", "workers.venues.toyex"],
    ):
        done = subprocess.run(
            [tools / command[0], *command[1:]], capture_output=True, text=True, cwd=tmp_path, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
