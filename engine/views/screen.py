"""The demo's view: a board redrawn in place on a terminal, lines of text elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from engine.views.board import Board, Line, board_lines, plain_lines


class Screen(Protocol):
    """Where the demo shows prices. `interval` is seconds between two views."""

    interval: float

    def start(self, hints: list[str]) -> None: ...

    def show(self, board: Board) -> None: ...

    def stop(self) -> None: ...


class PlainScreen:
    """Lines on stdout, for pipes and logs."""

    interval = 1.0

    def start(self, hints: list[str]) -> None:
        for hint in hints:
            click.echo(hint)

    def show(self, board: Board) -> None:
        for line in plain_lines(board):
            click.echo(line)

    def stop(self) -> None:
        click.echo("stopped")


class RichScreen:
    """The board, as large as the terminal is now; `recent` are log lines shown below."""

    interval = 0.25

    def __init__(self, recent: Sequence[str], console: Console | None = None) -> None:
        self._recent = recent
        self._console = console or Console()
        self._live = Live(console=self._console, auto_refresh=False, redirect_stderr=False)
        self._hints: list[str] = []
        self._last: dict[str, tuple[float, int]] = {}

    def start(self, hints: list[str]) -> None:
        self._hints = hints
        self._live.start()
        self._live.update(Text("waiting for the first prices ..."), refresh=True)

    def show(self, board: Board) -> None:
        width, height = self._console.size
        # One line less: the cursor's.
        lines = board_lines(board, self._rates(board), self._hints, self._recent, width, height - 1)
        self._live.update(Text("\n").join(map(_styled, lines)), refresh=True)

    def stop(self) -> None:
        self._live.stop()
        click.echo("stopped")

    def _rates(self, board: Board) -> dict[str, float]:
        """Messages a second since the view before."""
        now = time.monotonic()
        rates = {}
        for feed in board.feeds:
            before, counted = self._last.get(feed.name, (now, feed.messages))
            rates[feed.name] = max(0, feed.messages - counted) / max(now - before, 1e-3)
            self._last[feed.name] = (now, feed.messages)
        return rates


def _styled(line: Line) -> Text:
    return Text.assemble(*line, no_wrap=True, overflow="crop")
