"""The demo on a terminal of 80 x 24: every venue, every symbol and all hints are on the screen at once."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import sys
import termios
from pathlib import Path

from e2e_stack import ROOT, environment

from engine.demo import BASES, choose_markets
from tests.instances import mine

INSTANCE = mine("terminal")
WIDTH, HEIGHT = 80, 24


def run(*arguments: str) -> tuple[int, str]:
    """The exit code and what was written on a terminal of that size."""
    pid, terminal = pty.fork()
    if pid == 0:
        env = environment() | {"TERM": "xterm-256color"}
        env.pop("COLUMNS", None)
        env.pop("LINES", None)
        os.chdir(ROOT)
        program = "import os, sys; sys.stdin.readline(); from engine.cli import main; main()"
        os.execve(sys.executable, [sys.executable, "-c", program, *arguments], env)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
    os.write(terminal, b"\n")  # the size is set: begin
    output = b""
    while True:
        try:
            output += os.read(terminal, 65536)
        except OSError:  # the other side has gone
            break
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), output.decode()


def test_everything_is_on_one_screen() -> None:
    code, output = run("demo", "--instance", INSTANCE, "--seconds", "1")
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output)
    assert code == 0, plain[-2000:]
    markets = choose_markets()
    last = plain[plain.rindex("feed  LIVE") :]
    screen = last.replace("\r", "").splitlines()
    above = plain[: plain.rindex("feed  LIVE")].splitlines()[-2:]
    for feed in markets:
        assert all(part in " ".join(above) for part in feed.split("_")), feed
    assert screen[0].count("LIVE") == len(markets)
    for base in BASES:
        assert any(line.startswith(f"{base} ") for line in screen)
    assert sum("buy " in line and "sell " in line and " bp" in line for line in screen) == len(BASES)
    hints = [
        line for line in screen if line.split(" ")[0] in ("metrics", "status", "follow", "book", "python")
    ]
    assert len(hints) == 5
    assert any(line.startswith("stop      Ctrl-C") for line in screen)
    assert not any(mark in plain for mark in ("…", "... "))
    assert len(screen) + 2 <= HEIGHT
    assert max(map(len, screen)) <= WIDTH
    assert not list(Path("/dev/shm").glob(f"tickring.{INSTANCE}.*"))
