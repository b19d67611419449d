"""The only place that spawns, signals and waits for processes.

A child gets one end of a socket pair as ``--fd N`` and one JSON line in it. The other end stays open here for
the child's life: its end-of-file is the child's order to leave, so that a supervisor's death, however sudden,
takes its children along. What a child writes into it (the HTTP server does) counts as its heartbeat.

A child's stderr comes through a pipe, line by line, so that the supervisor knows the last one and
can log them in its own format. The pipe is read in the event loop and holds a mebibyte: a child waits for its
reader only when it writes more than that while the supervisor itself stands still.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from engine.errors import EngineError
from workers.worker.process import death_signal

Exit = Callable[[int], None]
OnLine = Callable[[str], None]

PIPE = 1 << 20  # bytes of a child's stderr that wait to be read; the kernel may allow less
LONGEST = 8192  # bytes of a line; what is longer comes in pieces


def child_environment() -> dict[str, str]:
    """Our environment, with the packages found where ours are, and without a thread pool for linear algebra:
    no child computes any, and each thread makes the child slower to end, so that DOWN comes later."""
    root = str(Path(__file__).resolve().parents[2])
    path = os.environ.get("PYTHONPATH")
    threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    return {**os.environ, **threads, "PYTHONPATH": f"{root}{os.pathsep}{path}" if path else root}


def become(arguments: Sequence[str]) -> NoReturn:
    """Go on as ``python <arguments>`` in this same process: signals and exit code are then its own."""
    os.execve(sys.executable, [sys.executable, "-P", *arguments], child_environment())


def start_and_read(
    arguments: Sequence[str], *, timeout: float, stderr: int | None = None
) -> tuple[subprocess.Popen[bytes], bytes]:
    """Start ``python <arguments>`` as a helper that dies with us, and wait for the first line it prints.

    Raises:
        EngineError: it ended, or printed nothing in `timeout` seconds.
    """
    process = subprocess.Popen(
        [sys.executable, "-P", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=child_environment(),
        process_group=0,
        preexec_fn=lambda: death_signal(signal.SIGTERM),
    )
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], timeout)
    line = process.stdout.readline() if ready else b""
    if line:
        return process, line
    process.kill()
    code = process.wait()
    process.stdout.close()
    problem = f"wrote nothing for {timeout:g} s" if not ready else f"ended with {code}"
    raise EngineError(f"python {' '.join(arguments)}: {problem}")


class Process:
    """One running child. Its exit is noticed through a pidfd within the event loop's next turn.

    Attributes:
        name: what it is to the supervisor.
        pid: its process id, which cannot be reused before `on_exit` was called.
    """

    def __init__(
        self, name: str, popen: subprocess.Popen[bytes], channel: socket.socket, stderr: int
    ) -> None:
        self.name = name
        self.pid = popen.pid
        self._popen = popen
        self._channel = channel
        self._stderr = stderr  # the pipe of its stderr
        self._line = b""  # of it, what has no end yet
        self._on_line: OnLine | None = None
        self._pidfd = os.pidfd_open(popen.pid)
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return f"<Process {self.name} pid {self.pid} {'running' if self._pidfd >= 0 else 'ended'}>"

    def watch(
        self,
        loop: asyncio.AbstractEventLoop,
        on_exit: Exit,
        on_beat: Callable[[], None],
        on_line: OnLine | None = None,
    ) -> None:
        """Call `on_exit(returncode)` once, when it has ended, `on_beat()` whenever it writes into its
        channel, and `on_line(text)` with each line of its stderr, the last ones before its exit."""
        self._loop = loop
        self._on_line = on_line
        loop.add_reader(self._stderr, self._read)
        loop.add_reader(self._pidfd, self._ended, on_exit)
        loop.add_reader(self._channel, self._written, on_beat)

    def send(self, number: signal.Signals) -> None:
        """Signal it; nothing happens when it has already ended."""
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def end(self) -> None:
        """Kill it and wait: for the case that nobody watches any more."""
        self.send(signal.SIGKILL)
        self._popen.wait()
        self._drain()
        self._release()

    def _ended(self, on_exit: Exit) -> None:
        # A zombie by now: its files are closed (so the segment's lock is free) and wait() does not block.
        self._drain()
        self._release()
        on_exit(self._popen.wait())

    def _written(self, on_beat: Callable[[], None]) -> None:
        try:
            data = self._channel.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            on_beat()
        elif self._loop is not None:  # it closed its end; its exit is noticed by the pidfd
            self._loop.remove_reader(self._channel)

    def _read(self) -> bool:
        """One piece of its stderr; False when there is no more for now."""
        try:
            data = os.read(self._stderr, 65536)
        except BlockingIOError:
            return False
        if not data:
            if self._loop is not None:
                self._loop.remove_reader(self._stderr)
            return False
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            self._forward(line)
        while len(self._line) >= LONGEST:
            self._forward(self._line[:LONGEST])
            self._line = self._line[LONGEST:]
        return True

    def _drain(self) -> None:
        for _ in range(PIPE // 4096):  # bounded: somebody else may have inherited the other end
            if not self._read():
                break
        if self._line:
            self._forward(self._line)
            self._line = b""

    def _forward(self, line: bytes) -> None:
        if self._on_line is not None:
            self._on_line(line.decode("utf-8", "replace"))

    def _release(self) -> None:
        if self._loop is not None:
            self._loop.remove_reader(self._pidfd)
            self._loop.remove_reader(self._channel)
            self._loop.remove_reader(self._stderr)
        os.close(self._stderr)
        self._channel.close()
        os.close(self._pidfd)
        self._pidfd = -1


def spawn(
    name: str,
    arguments: Sequence[str],
    line: bytes = b"",
    *,
    pass_fds: Sequence[int] = (),
) -> Process:
    """Start ``python <arguments> --fd N`` with `line` waiting in N.

    Args:
        name: what it is to the supervisor.
        arguments: what follows the interpreter, such as ``["-m", "workers.worker"]``.
        line: the one line the child reads first, without its newline.
        pass_fds: further descriptors to inherit.

    Raises:
        OSError: no process could be made.
    """
    # The parent-death signal that a worker asks for follows the thread that made it, not the process.
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("children are spawned from the main thread only")
    ours, theirs = socket.socketpair()
    stderr, write_end = os.pipe2(os.O_CLOEXEC)
    try:
        ours.setblocking(False)
        os.set_blocking(stderr, False)  # our end alone
        with contextlib.suppress(OSError):  # beyond the user's limit: it stays at 64 KiB
            fcntl.fcntl(stderr, fcntl.F_SETPIPE_SZ, PIPE)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * len(line) + 65536)
        if line and ours.send(line + b"\n") <= len(line):
            raise OSError(errno.E2BIG, f"{name}: its settings are too long to hand over ({len(line)} bytes)")
        # -P and the path: a folder of the user's named `workers` must not be taken for ours.
        # An own process group: Ctrl-C in a terminal reaches the supervisor alone, which stops all in order.
        # Its stdout is its stderr: only the command line itself writes results to stdout.
        popen = subprocess.Popen(
            [sys.executable, "-P", *arguments, "--fd", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=write_end,
            stderr=write_end,
            env=child_environment(),
            pass_fds=(theirs.fileno(), *pass_fds),
            process_group=0,
        )
    except BaseException:
        ours.close()
        os.close(stderr)
        raise
    finally:
        theirs.close()
        os.close(write_end)
    try:
        return Process(name, popen, ours, stderr)
    except OSError:  # no pidfd: what cannot be watched must not run
        popen.kill()
        popen.wait()
        ours.close()
        os.close(stderr)
        raise
