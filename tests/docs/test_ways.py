"""The files that ARCHITECTURE.md shows on a price's and on a snapshot's way are those that run there.

A worker on real sockets, in this process, on the simulated Binance spot. A way is walked several times, and
what was passed each time is on it: what the worker does by the clock meanwhile is not.
"""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from fnmatch import fnmatch
from itertools import chain
from pathlib import Path

from tests.conformance.fixture import load
from tests.conformance.live import Live, run, working
from tests.conformance.report import Case
from tests.docs.passed import in_callback, in_task, recorded
from workers.sim.faults import Fault
from workers.venues import venue as venues

ROOT = Path(__file__).resolve().parents[2]
FEED = "binance_spot"
TIMES = 8  # of a price; a snapshot is asked for after a longer time each time
REQUEST = (  # it has a chapter of its own, "How a request travels"
    "workers/rest/*",
    "workers/http/*",
    "workers/auth/*",
    "workers/contract/*",
    "workers/venues/defaults.py",
    "workers/venues/*/limits.py",
    "workers/venues/*/request.py",
)


def chapter(title: str) -> str:
    """What stands under this heading of ARCHITECTURE.md, up to the next."""
    page = (ROOT / "ARCHITECTURE.md").read_text()
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", page, re.MULTILINE | re.DOTALL)
    assert found is not None, f"ARCHITECTURE.md has no chapter {title!r}"
    return found[1]


def files(text: str) -> list[str]:
    """The source files that it names."""
    return re.findall(r"`(\w+(?:/\w+)*\.pyx?)`", text)


def rows(title: str) -> list[str]:
    """The file that each row of the chapter's table is about: the first that it names."""
    table = [line for line in chapter(title).splitlines() if line.startswith("| ") and files(line)]
    return [files(line)[0] for line in table]


def beside(title: str) -> list[str]:
    """The files that the chapter names in its text, outside the table."""
    return files("\n".join(line for line in chapter(title).splitlines() if not line.startswith("|")))


async def passed(walk: Callable[[], Awaitable[list[str]]], times: int = TIMES) -> tuple[list[str], set[str]]:
    """What is passed each time, in the order of the last one, and what is passed at least once."""
    ways = [await walk() for _ in range(times)]
    return [module for module in ways[-1] if all(module in way for way in ways)], {*chain(*ways)}


def walked(scenario: Callable[[Live], Awaitable[None]], instance: str) -> None:
    async def main() -> None:
        async with working(Case(load(FEED), venues.load(FEED)), instance) as live:
            await live.all_live()
            await scenario(live)

    run(main())


def test_a_price_passes_the_files_that_the_page_shows(instance: str) -> None:
    async def scenario(live: Live) -> None:
        writer = live.worker.writer

        async def walk() -> list[str]:
            before = writer.next_sequence
            with recorded(in_callback) as modules:
                live.pump()
                await asyncio.sleep(0.005)
            assert writer.next_sequence != before, "nothing was published"
            return modules

        way, _ = await passed(walk)
        assert way == rows("A price's way")
        assert len(way) <= 8

    walked(scenario, instance)


def test_a_snapshot_passes_the_files_that_the_page_shows(instance: str) -> None:
    async def scenario(live: Live) -> None:
        symbol = live.symbols[0]
        publisher, tasks = live.worker.publisher, live.worker.books.context.tasks
        index = live.feed.instrument(symbol).index

        async def walk() -> list[str]:
            await live.all_live()
            gaps = live.counted("gaps")
            live.sim.faults.add(Fault("gap", symbol=symbol))
            with recorded(lambda: in_callback() or in_task("_synchronise")) as modules:
                for _ in range(2):  # the event after the one that is missing shows the gap
                    live.pump()
                    await asyncio.sleep(0.005)
                while index in tasks:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
            assert live.counted("gaps") > gaps, "no gap was seen"
            assert publisher.synced(index), "the book is not in step again"
            return modules

        each_time, once = await passed(walk, 4)
        way = [each for each in each_time if not any(fnmatch(each, request) for request in REQUEST)]
        shown = rows("A snapshot's way")
        assert {*way} <= {*shown, *beside("A snapshot's way")} <= once
        python = [
            module for module in shown if module.endswith(".py")
        ]  # native code may run by the clock too
        assert [module for module in way if module in python] == python
        assert {*shown} <= {*way}
        assert len(shown) <= 12

    walked(scenario, instance)


def test_only_what_runs_is_recorded() -> None:
    from workers.books.book import Book
    from workers.books.checksum import Checksum  # noqa: F401  # loaded, and not called

    book = Book(16)
    with recorded() as nothing:
        pass
    with recorded() as one:
        book.set(False, 1, 1)
    book.clear()
    assert (nothing, one) == ([], ["workers/books/book.pyx"])


def test_a_fault_elsewhere_still_ends_the_process() -> None:
    program = "import ctypes; from tests.docs.passed import recorded\nwith recorded(): ctypes.string_at(8)"
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=False)
    assert ended.returncode == -signal.SIGSEGV
