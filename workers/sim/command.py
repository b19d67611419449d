"""``tickring sim``: one or several simulated venues in a process.

Several (``--feeds``) listen on free ports, or with ``--port BASE`` on fixed ones: the n-th feed, counted from
0, has WebSocket on ``BASE + 2n`` and REST on ``BASE + 2n + 1``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import uvloop

from workers.capture.reader import CaptureError
from workers.sim.dialects import FEEDS, dialect
from workers.sim.keys import SimKey, read_keys
from workers.sim.venue import SimError, SimVenue

LAST_PORT = 65535


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not speed > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is neither 'max' nor a number above 0")
    return speed


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= LAST_PORT):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: expected 0 to {LAST_PORT}")
    return int(text)


def _rate_of(text: str) -> tuple[str, float]:
    pattern, _, number = text.rpartition("=")
    try:
        rate = float(number)
    except ValueError:
        rate = -1.0
    if not (pattern and 0 <= rate < float("inf")):
        raise argparse.ArgumentTypeError(f"{text!r}: expected PATTERN=N, N actions a second")
    return pattern, rate


def _names(text: str) -> list[str]:
    """Comma-separated names, without repetitions."""
    return list(dict.fromkeys(name.strip() for name in text.split(",")))


def _keys(path: Path) -> list[SimKey]:
    try:
        return read_keys(path)
    except ValueError as error:
        raise SimError(str(error)) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tickring sim",
        description="Serve a simulated venue on loopback until SIGTERM or SIGINT. Prints one JSON line.",
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("feed", nargs="?", help=f"the venue to simulate: {', '.join(FEEDS)}")
    which.add_argument("--feeds", type=_names, help="several venues side by side, comma-separated; synthetic")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--capture", type=Path, help="replay this capture (v1, .gz, .zst or plain)")
    mode.add_argument("--synthetic", action="store_true", help="a seeded market (the default)")
    parser.add_argument(
        "--port",
        type=_port,
        default=0,
        help="WebSocket port; 0 picks a free one. With --feeds the first of all ports: the n-th feed, from 0,"
        " has WebSocket on PORT + 2n and REST on PORT + 2n + 1",
    )
    parser.add_argument("--rest-port", type=_port, default=0, help="REST port; 0 picks a free one")
    parser.add_argument("--speed", type=_speed, default=1.0, metavar="max|N", help="replay speed")
    parser.add_argument(
        "--symbols",
        type=_names,
        help="synthetic: canonical symbols, comma-separated; with --feeds each venue gets those it can list."
        " Minor markets can be listed too: the last default symbol with a base asset of M000 to M999",
    )
    parser.add_argument("--seed", type=int, default=1, help="synthetic: the same seed gives the same market")
    parser.add_argument("--rate", type=float, default=100.0, help="synthetic: actions per second and symbol")
    parser.add_argument(
        "--rate-of",
        type=_rate_of,
        action="append",
        default=[],
        metavar="PATTERN=N",
        help="synthetic: another rate for the symbols that match, such as 'M0*=0' (never) or 'SOL/*=0.1';"
        " can be repeated, the last match counts",
    )
    parser.add_argument("--levels", type=int, default=200, help="synthetic: price levels a side")
    parser.add_argument(
        "--keys", type=Path, help="TOML file of [[keys]]: key, and secret (HMAC) or public_key (PEM)"
    )
    return parser


async def serve(venue: SimVenue) -> None:
    """Serve a venue until SIGTERM or SIGINT.

    When both ports listen, a JSON line goes to standard output: ``{"ws_url": ..., "rest_url": ...}``.
    """
    await _serve([venue], lambda: _urls(venue))


async def serve_all(venues: Sequence[SimVenue]) -> None:
    """Serve several venues; the JSON line is ``{feed: {"ws_url": ..., "rest_url": ...}, ...}``."""
    await _serve(venues, lambda: {venue.feed: _urls(venue) for venue in venues})


def _urls(venue: SimVenue) -> dict[str, str]:
    return {"ws_url": venue.ws_url, "rest_url": venue.rest_url}


async def _serve(venues: Sequence[SimVenue], line: Callable[[], object]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        for venue in venues:
            try:
                await stack.enter_async_context(venue)
            except OSError as error:
                raise OSError(f"{venue.feed}: {error}") from error
        print(json.dumps(line()), flush=True)
        waits = [asyncio.ensure_future(one.wait()) for one in (stop, *(venue.failed for venue in venues))]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()


async def _run(options: argparse.Namespace) -> None:
    if options.feeds is not None:
        await serve_all(_several(options))
        return
    await serve(
        SimVenue(
            options.feed,
            capture=options.capture,
            speed=options.speed,
            symbols=options.symbols,
            seed=options.seed,
            rate=options.rate,
            rates=options.rate_of,
            levels=options.levels,
            port=options.port,
            rest_port=options.rest_port,
            keys=() if options.keys is None else _keys(options.keys),
        )
    )


def _several(options: argparse.Namespace) -> list[SimVenue]:
    """The venues of ``--feeds``, each with its ports."""
    feeds: list[str] = options.feeds
    if options.capture or options.rest_port:
        raise SimError("--feeds goes with --synthetic, --port, --symbols, --seed, --rate and --keys alone")
    if options.port and options.port + 2 * len(feeds) - 1 > LAST_PORT:
        raise SimError(f"--port {options.port}: {len(feeds)} feeds need {2 * len(feeds)} ports from there on")
    keys = () if options.keys is None else _keys(options.keys)
    symbols = _symbols_by_feed(feeds, options.symbols)
    return [
        SimVenue(
            feed, symbols=symbols[feed], seed=options.seed, rate=options.rate, rates=options.rate_of,
            levels=options.levels, keys=keys, together=True,
            port=options.port and options.port + 2 * place,
            rest_port=options.port and options.port + 2 * place + 1,
        )
        for place, feed in enumerate(feeds)
    ]  # fmt: skip


def _symbols_by_feed(feeds: Sequence[str], symbols: Sequence[str] | None) -> dict[str, list[str] | None]:
    """By feed, those of the symbols that it lists; None: the dialect's default symbols."""
    if symbols is None:
        return dict.fromkeys(feeds)
    try:
        listed = {feed: dialect(feed).listings for feed in feeds}
    except LookupError as error:
        raise SimError(str(error)) from None
    for symbol in symbols:
        if not any(symbol in listings for listings in listed.values()):
            raise SimError(f"--symbols: none of {', '.join(feeds)} lists {symbol!r}")
    by_feed: dict[str, list[str] | None] = {}
    for feed, listings in listed.items():
        by_feed[feed] = [symbol for symbol in symbols if symbol in listings]
        if not by_feed[feed]:
            raise SimError(f"--symbols: {feed} lists none of these; it lists {', '.join(listings)}")
    return by_feed


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Exit code: 0 stopped by a signal, 1 a port is taken, 2 wrong arguments."""
    try:
        options = _parser().parse_args(argv)
    except SystemExit as leave:
        return int(leave.code or 0)
    try:
        uvloop.run(_run(options))
    except (SimError, CaptureError) as error:
        print(f"tickring sim: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"tickring sim: cannot listen: {error}; choose another --port", file=sys.stderr)
        return 1
    return 0
