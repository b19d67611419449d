"""``tickring demo``: every simulated venue, the engine and a view of live prices in one command, from one
configuration like any other."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import shm
from engine.errors import EngineError, UsageError
from engine.logging import TextFormatter, configure
from engine.settings.settings import Settings, available_venues, load
from engine.settings.validation import check_name
from engine.settings.venues import check
from engine.supervision.engine import Engine
from engine.supervision.memory import SharedMemory
from engine.supervision.process import start_and_read
from engine.views import board
from engine.views.screen import PlainScreen, RichScreen, Screen
from shm.errors import ShmError
from shm.layout import State

BASES = ("BTC", "ETH", "SOL")
PORT = 9464
SIM_START = 20.0  # s
SIM_STOP = 2.0  # s
LIVE_WITHIN = 30.0  # s from the start until every feed must have been LIVE, where the demo ends by itself
FAST = 0.05  # s between two looks until everything has been LIVE

Urls = Mapping[str, Mapping[str, str]]  # feed -> ws_url, rest_url

log = logging.getLogger("engine")


def run_demo(instance: str, seconds: float | None) -> None:
    """Run until Ctrl-C or SIGTERM, or `seconds` after every feed has been LIVE.

    Raises:
        EngineError: something did not start, or a feed was never LIVE.
    """
    if (problem := check_name(instance)) is not None:
        raise UsageError(f"--instance {instance!r}: {problem}")
    on_terminal = sys.stdout.isatty()
    recent: deque[str] = deque(maxlen=5)
    markets = choose_markets()
    with tempfile.TemporaryFile() as children, contextlib.ExitStack() as cleanup:
        # On a terminal the view owns the screen: what children say goes to a file, shown if the demo fails.
        stderr = children.fileno() if on_terminal else None
        _log(recent if on_terminal else None)
        sim, urls = _start_sim(list(markets), stderr)
        cleanup.callback(_stop_sim, sim)
        settings = _settings(instance, markets, urls)
        check(settings)
        screen = RichScreen(recent) if on_terminal else PlainScreen()
        engine = Engine(settings, SharedMemory(instance), stderr=stderr)
        try:
            asyncio.run(_Demo(engine, sim, screen, seconds).run())
        except EngineError as error:
            children.seek(0)
            output = children.read()[-2000:].decode("utf-8", "replace").strip()
            raise EngineError(f"{error}\n{output}" if output else str(error)) from error


def choose_markets() -> dict[str, list[str]]:
    """feed -> symbols: of every venue that can be simulated, a market of each of `BASES`."""
    from workers.sim.dialects import FEEDS, dialect

    return {name: pick_symbols(dialect(name).default_symbols) for name in available_venues() if name in FEEDS}


def pick_symbols(listed: Sequence[str]) -> list[str]:
    """Of each of `BASES` the first spot market, else the first of all.

    >>> pick_symbols(["ETH/USDT:USDT", "BTC/USDT:USDT", "BTC/USDT", "BTC/USD"])
    ['BTC/USDT', 'ETH/USDT:USDT']
    """
    picked = []
    for base in BASES:
        markets = [symbol for symbol in listed if symbol.startswith(f"{base}/")]
        spot = [symbol for symbol in markets if ":" not in symbol]
        picked += (spot or markets)[:1]
    return picked


def configuration(
    instance: str, listen: str, markets: Mapping[str, Sequence[str]], urls: Urls, cpu: str
) -> str:
    """The demo's engine file: what it does not say comes from each venue's own."""
    lines = ["[engine]", f'instance = "{instance}"', f'listen = "{listen}"']
    for feed, symbols in markets.items():
        lines += ["", f"[venues.{feed}]"]
        lines += [f'{key} = "{urls[feed][key]}"' for key in ("ws_url", "rest_url")]
        lines += [f"symbols = {json.dumps(symbols)}", f'cpu = "{cpu}"']
    return "\n".join(lines) + "\n"


def _settings(instance: str, markets: Mapping[str, Sequence[str]], urls: Urls) -> Settings:
    listen = f"127.0.0.1:{PORT if _free(PORT) else 0}"
    # On a core each where there are cores enough; the simulated venues and the view need some, too.
    cpu = "auto" if len(os.sched_getaffinity(0)) > len(markets) + 1 else "none"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "demo.toml"
        file.write_text(configuration(instance, listen, markets, urls, cpu))
        return load(file)


def _free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def _start_sim(feeds: Sequence[str], stderr: int | None) -> tuple[subprocess.Popen[bytes], Urls]:
    arguments = ["-m", "workers.sim", "--feeds", ",".join(feeds), "--synthetic"]
    process, line = start_and_read(arguments, timeout=SIM_START, stderr=stderr)
    try:
        urls: dict[str, dict[str, str]] = json.loads(line)
        missing = [feed for feed in feeds if not urls[feed]["ws_url"]]
    except (ValueError, KeyError, TypeError):
        missing = [*feeds]
    if missing:
        _stop_sim(process)
        raise EngineError(f"the simulated venues did not start: they wrote {line!r}")
    return process, urls


def _stop_sim(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(SIM_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _log(recent: deque[str] | None) -> None:
    """Warnings to stderr, or into the view."""
    configure("warning", "text")
    if recent is not None:
        handler = _Recent(recent)
        handler.setFormatter(TextFormatter())
        logging.getLogger().handlers[:] = [handler]


class _Recent(logging.Handler):
    def __init__(self, lines: deque[str]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record))


class _Demo:
    """The engine and the view on one loop."""

    def __init__(
        self, engine: Engine, sim: subprocess.Popen[bytes], screen: Screen, seconds: float | None
    ) -> None:
        self.engine = engine
        self.sim = sim
        self.screen = screen
        self.seconds = seconds
        self.feeds: dict[str, shm.Feed | None] = dict.fromkeys(engine.settings.enabled)
        self.seen_live: set[str] = set()  # feeds that have been LIVE
        self.sim_died = False
        self.late = ""  # the feeds that were not LIVE in time

    @property
    def whole(self) -> bool:
        """Every feed has been LIVE: from then on prices are shown whatever happens."""
        return self.seen_live == self.feeds.keys()

    async def run(self) -> None:
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.engine.stop)
        running = asyncio.ensure_future(self.engine.run())
        view = asyncio.ensure_future(self._view(running))
        try:
            # The view may fail by itself (nobody reads our output any more): that ends the demo, too.
            await asyncio.wait({running, view}, return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                self.engine.stop()
            await running
        finally:
            await view
        if self.sim_died:
            raise EngineError(f"the simulated venues ended by themselves (exit {self.sim.returncode})")
        if self.late:
            raise EngineError(f"not LIVE within {LIVE_WITHIN:g} s: {self.late}")

    async def _view(self, running: asyncio.Future[None]) -> None:
        started = asyncio.ensure_future(self.engine.started.wait())
        waited: set[asyncio.Future[Any]] = {running, started}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if not started.done():
            started.cancel()
            return
        self.screen.start(hints(self.engine.settings, self.engine.address or "off"))
        deadline = None if self.seconds is None else time.monotonic() + LIVE_WITHIN
        shown = False
        try:
            while not running.done():
                if self.sim.poll() is not None and not self.sim_died:
                    self.sim_died = True
                    self.engine.stop()
                if not self.engine.machine.stopping:
                    self._show()
                if self.whole and not shown:
                    shown = True
                    deadline = None if self.seconds is None else time.monotonic() + self.seconds
                if deadline is not None and time.monotonic() >= deadline:
                    deadline = None
                    self.late = ", ".join(name for name in self.feeds if name not in self.seen_live)
                    self.engine.stop()
                await asyncio.wait([running], timeout=self.screen.interval if self.whole else FAST)
        finally:
            for feed in self.feeds.values():
                if feed is not None:
                    feed.close()
            self.screen.stop()

    def _show(self) -> None:
        for name, feed in self.feeds.items():
            if feed is None:
                with contextlib.suppress(ShmError):
                    self.feeds[name] = shm.attach(name, self.engine.instance)
        seen = board.take(self.feeds)
        self.seen_live |= {line.name for line in seen.feeds if line.state is State.LIVE}
        if self.whole:
            self.screen.show(seen)


def hints(settings: Settings, address: str) -> list[str]:
    """What the reader of the screen can do next."""
    tickring = Path(sys.argv[0])
    command = "tickring" if tickring.parent == Path() else os.path.relpath(tickring)
    markets = [(name, venue.symbols[0]) for name, venue in settings.enabled.items()]
    feed, symbol = min(markets, key=lambda market: len(market[0]) + len(market[1]))  # the shortest to type
    instance = settings.engine.instance
    return [
        f"metrics   {address}/metrics   (also /readyz, /status)",
        f"status    {command} status --instance {instance}",
        f"follow    {command} tail {feed} --instance {instance}",
        f"book      {command} book {feed} {symbol} --instance {instance}",
        f"python    import shm; shm.attach('{feed}', '{instance}').top('{symbol}')",
        "stop      Ctrl-C",
    ]
