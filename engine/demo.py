"""``tickring demo``: simulated venue, engine and a view of live books in one command."""

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
from pathlib import Path
from typing import Any

import msgspec

import shm
from engine.errors import EngineError
from engine.logging import TextFormatter, configure
from engine.memory import SharedMemory
from engine.process import start_and_read
from engine.screen import PlainScreen, RichScreen, Screen
from engine.service import Engine
from engine.settings import Settings, data_directory, load
from shm.errors import ShmError
from shm.layout import Scope, State

FEED = "binance_spot"
SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT")
PORT = 9464
SIM_START = 15.0  # s
SIM_STOP = 2.0  # s

log = logging.getLogger("engine")


def run_demo(instance: str, seconds: float | None) -> None:
    """Run until Ctrl-C, SIGTERM or `seconds` have passed.

    Raises:
        EngineError: something did not start, or no price was ever LIVE.
    """
    on_terminal = sys.stdout.isatty()
    recent: deque[str] = deque(maxlen=5)
    with tempfile.TemporaryFile() as children, contextlib.ExitStack() as cleanup:
        # On a terminal the view owns the screen: what children say goes to a file, shown if the demo fails.
        stderr = children.fileno() if on_terminal else None
        _log(recent if on_terminal else None)
        sim, urls = _start_sim(stderr)
        cleanup.callback(_stop_sim, sim)
        settings = _settings(instance, urls)
        screen = RichScreen(recent) if on_terminal else PlainScreen()
        engine = Engine(settings, SharedMemory(instance), stderr=stderr)
        try:
            asyncio.run(_Demo(engine, sim, screen, seconds).run())
        except EngineError as error:
            children.seek(0)
            said = children.read()[-2000:].decode("utf-8", "replace").strip()
            raise EngineError(f"{error}\n{said}" if said else str(error)) from error


def _settings(instance: str, urls: dict[str, str]) -> Settings:
    shipped = load(data_directory() / "tickring.toml", {}, instance)
    venue = msgspec.structs.replace(
        shipped.venues[FEED],
        ws_url=urls["ws_url"],
        rest_url=urls["rest_url"],
        symbols=list(SYMBOLS),
        enabled=True,
    )
    listen = f"127.0.0.1:{PORT if _free(PORT) else 0}"
    engine = msgspec.structs.replace(shipped.engine, listen=listen)
    return msgspec.structs.replace(shipped, engine=engine, venues={FEED: venue})


def _free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def _start_sim(stderr: int | None) -> tuple[subprocess.Popen[bytes], dict[str, str]]:
    arguments = ["-m", "workers.sim", FEED, "--synthetic", "--symbols", ",".join(SYMBOLS)]
    process, line = start_and_read(arguments, timeout=SIM_START, stderr=stderr)
    try:
        return process, json.loads(line)
    except ValueError as error:
        _stop_sim(process)
        raise EngineError(f"the simulated venue did not start: it said {line!r}") from error


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
        self.seen_live = False  # a price was LIVE
        self.whole = False  # every price was LIVE at once: from then on it is shown whatever happens
        self.sim_died = False

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
            raise EngineError(f"the simulated venue ended by itself (exit {self.sim.returncode})")
        if self.seconds is not None and not self.seen_live:
            raise EngineError(f"no price was LIVE within {self.seconds:g} s")

    async def _view(self, running: asyncio.Future[None]) -> None:
        deadline = None if self.seconds is None else time.monotonic() + self.seconds
        started = asyncio.ensure_future(self.engine.started.wait())
        waited: set[asyncio.Future[Any]] = {running, started}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if not started.done():
            started.cancel()
            return
        self.screen.start(hints(self.engine.instance, self.engine.address or "off"))
        feed: shm.Feed | None = None
        try:
            while not running.done():
                if self.sim.poll() is not None and not self.sim_died:
                    self.sim_died = True
                    self.engine.stop()
                if deadline is not None and time.monotonic() >= deadline:
                    deadline = None
                    self.engine.stop()
                if feed is None:
                    with contextlib.suppress(ShmError):
                        feed = shm.attach(FEED, self.engine.instance)
                elif not self.engine.machine.stopping:
                    self._show(feed)
                await asyncio.wait([running], timeout=self.screen.interval if self.whole else 0.05)
        finally:
            if feed is not None:
                feed.close()
            self.screen.stop()

    def _show(self, feed: shm.Feed) -> None:
        with contextlib.suppress(ShmError):  # a cell in the middle of a restart: shown the next time
            live = [feed.cell_state(symbol, Scope.TOP) is State.LIVE for symbol in feed.symbols]
            self.seen_live = self.seen_live or any(live)
            self.whole = self.whole or (bool(live) and all(live))
            if self.whole:
                self.screen.show(feed)


def hints(instance: str, address: str) -> list[str]:
    """What the reader of the screen can do next."""
    tickring = Path(sys.argv[0])
    command = "tickring" if tickring.parent == Path() else os.path.relpath(tickring)
    python = os.path.relpath(sys.executable)
    read = f"import shm; print(shm.attach('{FEED}', '{instance}').top('{SYMBOLS[0]}'))"
    return [
        f"metrics   {address}/metrics   (also /readyz, /status)",
        f"follow    {command} tail {FEED} --instance {instance}",
        f"book      {command} book {FEED} {SYMBOLS[0]} --instance {instance}",
        f'attach    {python} -c "{read}"',
        "stop      Ctrl-C",
    ]
