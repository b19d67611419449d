"""The running engine: carries out what the supervisor decides, and reports what happens.

One event loop in the main thread: process exits through pidfds, signals, and a tick every 100 ms that looks
at heartbeats. Nothing here decides: decisions are in `engine.supervision.supervisor`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping

import msgspec

from engine.errors import EngineError
from engine.settings import placement
from engine.settings.settings import Settings
from engine.settings.validation import geometry, parse_listen
from engine.supervision.kinds import HTTP, WORKER
from engine.supervision.memory import Memory
from engine.supervision.process import Process, spawn
from engine.supervision.status import EngineStatus, WorkerStatus
from engine.supervision.supervisor import (
    Action,
    Alert,
    Beat,
    Event,
    Exited,
    Kill,
    MarkDown,
    Start,
    StartFailed,
    Stop,
    Supervisor,
    Terminate,
    Tick,
)
from workers.config.venue import WorkerConfig

HTTP_NAME = "http"  # of its process
TICK = 0.1  # s
MESSAGE = 500  # characters of a worker's last line of stderr that are kept

log = logging.getLogger("engine")


class Engine:
    """One instance: its workers, its HTTP server and the supervisor over them.

    `address` is the HTTP server's URL, known once `started` is set.

    Args:
        settings: the whole tree.
        memory: shared memory.
        worker: what follows the interpreter for a worker (tests give a dummy).
        stderr: a descriptor for what the children say on stderr; None is ours.
        structured: log what they say as lines of the engine's own log, for a log that is JSON.
        on_event: called with every event, for tests and the demo.
    """

    def __init__(
        self,
        settings: Settings,
        memory: Memory,
        *,
        worker: tuple[str, ...] = ("-m", WORKER.module),
        stderr: int | None = None,
        structured: bool = False,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        self.settings = settings
        self.instance = settings.engine.instance
        self.address: str | None = None
        self.processes: dict[str, Process] = {}
        self._memory = memory
        self._worker = worker
        self._stderr = stderr
        self._structured = structured
        self._last_stderr: dict[str, str] = {}  # by child: the last line it wrote
        self._last_action: dict[str, str] = {}  # by child: what the supervisor did about it last
        self._published: EngineStatus | None = None
        self._on_event = on_event
        self._venues = settings.enabled
        self._cores: Mapping[str, int | None] = {}
        self._socket: socket.socket | None = None
        self.started = asyncio.Event()
        self._finished = asyncio.Event()
        children = dict.fromkeys(self._venues, WORKER)
        if settings.engine.listen != "off":
            children[HTTP_NAME] = HTTP
        self.machine = Supervisor(children)
        self._spawners = {WORKER: self._spawn_worker, HTTP: self._spawn_http}

    def __repr__(self) -> str:
        return f"<Engine {self.instance} {self.machine!r}>"

    async def run(self) -> None:
        """Start everything, and return when everything has stopped (`stop()`, SIGTERM or SIGINT).

        Raises:
            EngineError: it cannot start; nothing was started.
        """
        if not self._venues:
            raise EngineError("no venue is enabled: set enabled = true in one of the [venues.<name>] tables")
        self._cores, warnings = placement.assign(
            {name: venue.cpu for name, venue in self._venues.items()}, os.sched_getaffinity(0)
        )
        stale = self._memory.claim(self._venues)
        try:
            self._memory.check_room({name: geometry(venue).size for name, venue in self._venues.items()})
            self._socket = self._listen()
            for name in stale:
                log.info("removed the stale segment %s", name)
            for warning in warnings:
                log.warning("%s", warning)
            await self._supervise()
        finally:
            self._memory.release(remove=self.started.is_set())
            if self._socket is not None:
                self._socket.close()
        log.info("stopped", extra={"instance": self.instance})

    def stop(self) -> None:
        """Order everything to stop; a second order kills what is left."""
        self._handle(Stop())

    async def _supervise(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        try:
            log.info(
                "started: %s",
                ", ".join(self._venues),
                extra={"instance": self.instance, "pid": os.getpid(), "address": self.address},
            )
            self._carry_out(self.machine.start(time.monotonic()))
            self._publish_status()
            self.started.set()
            while not self._finished.is_set():
                self._look()
                try:
                    due = self.machine.wake_after(time.monotonic())
                    await asyncio.wait_for(self._finished.wait(), TICK if due is None else min(TICK, due))
                except TimeoutError:
                    self._handle(Tick())
        finally:
            for process in self.processes.values():  # only after an error of our own
                process.end()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def _look(self) -> None:
        """Report the heartbeats that shared memory shows."""
        for name, process in list(self.processes.items()):
            if name in self._venues:
                age = self._memory.heartbeat_age(name, process.pid)
                if age is not None:
                    self._handle(Beat(name, age))

    def _handle(self, event: Event) -> None:
        if self._on_event is not None:
            self._on_event(event)
        self._carry_out(self.machine.handle(event, time.monotonic()))
        if not isinstance(event, Beat):
            self._publish_status()
        if self.machine.finished:
            self._finished.set()

    def _carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case MarkDown(name):
                    self._memory.mark_down(name)
                case Start(name, restart):
                    self._start(name, restart)
                case Terminate(name):
                    self.processes[name].send(signal.SIGTERM)
                case Kill(name):
                    self.processes[name].send(signal.SIGKILL)
                case Alert(name, level, text):
                    self._last_action[name] = text
                    log.log(logging.getLevelNamesMapping()[level.upper()], "%s", text, extra={"feed": name})

    def _start(self, name: str, restart: int) -> None:
        kind = self.machine.children[name].kind
        try:
            process = self._spawners[kind](name)
        except OSError as error:
            # Not from inside the machine's own turn: it has yet to finish this one.
            failed = StartFailed(name, error.strerror or str(error))
            asyncio.get_running_loop().call_soon(self._handle, failed)
            return
        self.processes[name] = process
        self._last_stderr.pop(name, None)  # of the one before
        process.watch(
            asyncio.get_running_loop(),
            on_exit=lambda code: self._exited(name, code),
            on_beat=lambda: self._handle(Beat(name, 0.0)),
            on_line=lambda line: self._on_line(name, line),
        )
        log.info(
            "%s started",
            kind.title,
            extra={
                "feed": name,
                "pid": process.pid,
                "cpu": self._cores.get(name),
                "restarts": restart or None,
            },
        )

    def _on_line(self, name: str, line: str) -> None:
        """A line of a child's stderr. As text it goes on as it came; a reader of JSON gets JSON."""
        if line.strip():
            self._last_stderr[name] = line.removeprefix(f"worker {name}: ")
        if self._structured:
            if line.strip():
                log.warning("%s", self._last_stderr[name], extra={"feed": name})
            return
        with contextlib.suppress(OSError):  # a terminal that is gone
            _write(self._stderr, f"{line}\n".encode())

    def _publish_status(self) -> None:
        """Publish how the feeds stand, when that has changed."""
        feeds = {
            name: WorkerStatus(
                phase=child.phase.value,
                restarts=max(0, child.restarts),
                last_action=self._last_action.get(name, ""),
                last_stderr=self._last_stderr.get(name, "")[:MESSAGE],
            )
            for name, child in self.machine.children.items()
            if child.kind.writes_feed
        }
        require = self.settings.engine.require
        status = EngineStatus(pid=os.getpid(), address=self.address, require=require, feeds=feeds)
        if status != self._published:
            self._published = status
            self._memory.publish_status(status)

    def _exited(self, name: str, code: int) -> None:
        del self.processes[name]
        self._handle(Exited(name, code))

    def _spawn_worker(self, name: str) -> Process:
        config = WorkerConfig(
            instance=self.instance,
            feed=name,
            venue=self._venues[name],
            cpu=self._cores[name],
            parent_pid=os.getpid(),
        )
        return spawn(name, self._worker, msgspec.json.encode(config))

    def _spawn_http(self, name: str) -> Process:
        assert self._socket is not None
        fd = self._socket.fileno()
        arguments = ["-m", HTTP.module, "--instance", self.instance, "--feeds", ",".join(self._venues)]
        arguments += ["--require", self.settings.engine.require]
        return spawn(name, [*arguments, "--socket", str(fd)], pass_fds=(fd,))

    def _listen(self) -> socket.socket | None:
        """The HTTP server's socket is made here and handed down: a port that is taken is an error at the
        start, and a restart of the server keeps its port."""
        where = parse_listen(self.settings.engine.listen)
        if where is None:
            return None
        try:
            made = socket.create_server(where, family=socket.AF_INET6 if ":" in where[0] else socket.AF_INET)
        except OSError as error:
            raise EngineError(
                f"engine.listen = {self.settings.engine.listen}: {error.strerror or error}; "
                'choose another port, port 0 for a free one, or "off"'
            ) from error
        host, port = made.getsockname()[:2]
        self.address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        return made


def _write(fd: int | None, data: bytes) -> None:
    """All of it, to that descriptor or to our stderr."""
    if fd is None:
        if sys.__stderr__ is None:  # we were started without one
            return
        fd = sys.__stderr__.fileno()
    while data:
        data = data[os.write(fd, data) :]


def run(engine: Engine) -> None:
    """Run to the end on a fresh event loop in this, the main, thread."""
    asyncio.run(engine.run())
