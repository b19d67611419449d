"""The demo's view: a live table on a terminal, a line a second and symbol elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

import shm
from engine.views import fixed
from shm.layout import State

COLOURS = {State.LIVE: "green", State.STALE: "yellow", State.RESYNC: "cyan", State.DOWN: "red"}
LEVELS = 8


class Screen(Protocol):
    """Where the demo shows prices. `interval` is seconds between two views."""

    interval: float

    def start(self, hints: list[str]) -> None: ...

    def show(self, feed: shm.Feed) -> None: ...

    def stop(self) -> None: ...


def tops(feed: shm.Feed) -> Sequence[tuple[str, State, str, str, str, str, float | None]]:
    """(symbol, state, bid size, bid, ask, ask size, age in s) of every instrument."""
    rows = []
    for instrument in feed.instruments:
        top = feed.top(instrument.symbol, allow_stale=True)
        bid, bid_size, ask, ask_size = top.exact
        rows.append(
            (
                instrument.symbol,
                top.state,
                fixed(bid_size, instrument.size_exp),
                fixed(bid, instrument.price_exp),
                fixed(ask, instrument.price_exp),
                fixed(ask_size, instrument.size_exp),
                top.age,
            )
        )
    return rows


class PlainScreen:
    """Lines on stdout, for pipes and logs."""

    interval = 1.0

    def start(self, hints: list[str]) -> None:
        for hint in hints:
            click.echo(hint)

    def show(self, feed: shm.Feed) -> None:
        for symbol, state, bid_size, bid, ask, ask_size, _ in tops(feed):
            click.echo(f"{symbol:<10} {state.name:<6} bid {bid_size} @ {bid}  ask {ask} @ {ask_size}")

    def stop(self) -> None:
        click.echo("stopped")


class RichScreen:
    """A table of tops and the first book, redrawn in place; `recent` are log lines shown below."""

    interval = 0.25

    def __init__(self, recent: Sequence[str], console: Console | None = None) -> None:
        self._recent = recent
        self._live = Live(console=console, auto_refresh=False, redirect_stderr=False)
        self._hints: list[str] = []
        self._last = (time.monotonic(), 0)

    def start(self, hints: list[str]) -> None:
        self._hints = hints
        self._live.start()
        self._live.update(Text("waiting for the first tick ..."), refresh=True)

    def show(self, feed: shm.Feed) -> None:
        table = Table(title=f"{feed.name}  {feed.state.name}  {self._rate(feed):,.0f} messages/s")
        for heading in ("symbol", "state"):
            table.add_column(heading)
        for heading in ("bid size", "bid", "ask", "ask size", "age"):
            table.add_column(heading, justify="right")
        for symbol, state, bid_size, bid, ask, ask_size, age in tops(feed):
            shown = "-" if age is None else f"{age * 1e3:.0f} ms"
            table.add_row(symbol, Text(state.name, COLOURS[state]), bid_size, bid, ask, ask_size, shown)
        parts: list[Table | Text] = [table, self._book(feed), Text("\n".join(self._hints), "dim")]
        parts += [Text(line, "yellow") for line in self._recent]
        self._live.update(Group(*parts), refresh=True)

    def stop(self) -> None:
        self._live.stop()
        click.echo("stopped")

    def _book(self, feed: shm.Feed) -> Table:
        instrument = feed.instruments[0]
        book = feed.book(instrument.symbol, depth=LEVELS, allow_stale=True)
        table = Table(title=f"{instrument.symbol} book  {book.state.name}")
        for heading in ("bid size", "bid", "ask", "ask size"):
            table.add_column(heading, justify="right")
        sides = [
            [(fixed(int(p), instrument.price_exp), fixed(int(s), instrument.size_exp)) for p, s in side]
            for side in book.exact
        ]
        for row in range(max(map(len, sides))):
            bid, ask = (side[row] if row < len(side) else ("", "") for side in sides)
            table.add_row(bid[1], Text(bid[0], "green"), Text(ask[0], "red"), ask[1])
        return table

    def _rate(self, feed: shm.Feed) -> float:
        """Messages a second since the view before."""
        now, messages = time.monotonic(), feed.counters().feed["messages"]
        (before, counted), self._last = self._last, (now, messages)
        return max(0, messages - counted) / max(now - before, 1e-3) if counted else 0.0
