"""Whether the venues of a configuration can be run: their code is loaded before a worker would fail at it."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from engine import broken
from engine.settings.placement import assign
from engine.settings.problems import SettingsError, allowed, nearest, text
from engine.settings.settings import Settings, hints
from engine.settings.settings import load as load_settings
from workers.config.venue import DERIVATIVES

if TYPE_CHECKING:
    from workers.config.venue import VenueConfig
    from workers.venues.from_config import Options
    from workers.venues.venue import Venue

OF_A_VENUE = re.compile(r"/workers/venues/\w+/")  # a file of one venue alone; what they share lies beside


def load_and_check(file: Path | None, environ: Mapping[str, str], instance: str | None = None) -> Settings:
    """`engine.settings.settings.load` and `check`; what the one finds wrong does not hide what the other
    does.

    Raises:
        SettingsError: every problem found, a line each.
    """
    try:
        settings = load_settings(file, environ, instance)
    except SettingsError as error:
        if error.rest is not None:
            error.problems += _found(error.rest)
        raise SettingsError(error.problems) from error
    check(settings)
    return settings


def check(settings: Settings) -> None:
    """Loads every enabled venue, and compares its keys with what it has.

    Raises:
        SettingsError: every problem found, a line each.
    """
    if problems := _found(settings):
        raise SettingsError(problems)


def check_here(settings: Settings) -> None:
    """Whether these settings can be run on this machine: something to run, and cores that there are.

    Raises:
        SettingsError: every problem found, a line each.
    """
    if not settings.enabled:
        raise SettingsError(["no venue is enabled: set enabled = true in one of the [venues.<name>] tables"])
    assign({name: venue.cpu for name, venue in settings.enabled.items()}, os.sched_getaffinity(0))


def warnings(settings: Settings) -> list[str]:
    """What can be run and will not do what was perhaps meant, a line each."""
    from workers.venues.venue import load

    found = []
    for name, config in settings.enabled.items():
        most = load(name).books.make_sync(config).max_depth
        if "book" in config.channels and 0 < most < config.depth:
            where = f"{_source(settings, name, 'depth')}venues.{name}.depth = {config.depth}"
            found.append(f"{where}: the book that is subscribed has {most} levels a side, and shows no more")
        if any(":" in symbol for symbol in config.symbols):
            continue
        where = f"{_source(settings, name, 'channels')}venues.{name}.channels"
        found += [
            f"{where}: {channel!r} is of derivatives, and every symbol is spot: it will bring nothing"
            for channel in DERIVATIVES
            if channel in config.channels
        ]
    return found


def _found(settings: Settings) -> list[str]:
    from workers.venues.venue import load

    problems: list[str] = []
    for name, config in settings.enabled.items():
        try:
            venue = load(name)
        except Exception as error:  # a venue's own code may raise anything
            if (cause := broken.by_import(error)) is not None and broken.ours(cause):
                raise
            problems.append(f"venues.{name}: {place(error)}: {type(error).__name__}: {error}")
            continue
        problems += [
            f"{_source(settings, name, 'channels')}venues.{name}.channels: {channel!r} is no channel of this "
            f"venue (allowed: {', '.join(sorted(venue.data.channels))})"
            for channel in config.channels
            if channel not in venue.data.channels
        ]
        problems += _markets(settings, name, config, venue)
        own = _options(settings, name, config, venue.options) or _parts(name, config, venue)
        problems += own or _window(settings, name, config, venue)
    return problems


def _markets(settings: Settings, name: str, config: VenueConfig, venue: Venue) -> list[str]:
    """Derivatives of a venue that has none: whoever has them has their channels."""
    derivatives = [symbol for symbol in config.symbols if ":" in symbol]
    if not derivatives or venue.data.channels & {*DERIVATIVES}:
        return []
    spot = derivatives[0].partition(":")[0]
    where = f"{_source(settings, name, 'symbols')}venues.{name}.symbols"
    return [f"{where}: {', '.join(derivatives)}: this venue has spot markets only, such as {spot}"]


def _window(settings: Settings, name: str, config: VenueConfig, venue: Venue) -> list[str]:
    """Where snapshots are fetched, to begin a book or to check it, they must fill the window."""
    if venue.books.snapshot is None:
        return []
    if config.snapshot_limit < config.depth:
        key, problem = (
            "snapshot_limit",
            f"expected at least depth = {config.depth}: the snapshot must fill the window",
        )
    elif (tiers := venue.books.snapshot_tiers) is not None and tiers.deepest < config.depth:
        key, problem = (
            "depth",
            f"expected at most {tiers.deepest}: the venue's snapshots have no more levels",
        )
    else:
        return []
    where = _source(settings, name, key)
    return [f"{where or 'default: '}venues.{name}.{key} = {text(getattr(config, key))}: {problem}"]


def _options(settings: Settings, name: str, config: VenueConfig, kind: type[Options]) -> list[str]:
    """What is wrong with a venue's own keys."""
    from workers.venues.from_config import make_options

    known = hints(kind)
    problems = []
    for key, value in config.options.items():
        problem = None
        if key not in known:
            problem = f"unknown key{nearest(key, known)}"
        else:
            try:
                msgspec.convert(value, known[key])
            except msgspec.ValidationError as error:
                problem = allowed(known[key], error)
        if problem is not None:
            source = _source(settings, name, "options", key)
            problems.append(f"{source}venues.{name}.options.{key} = {text(value)}: {problem}")
    if not problems:
        try:
            make_options(config, kind)
        except ValueError as error:  # a rule between keys
            problems.append(f"venues.{name}.{error}")
    return problems


def _parts(name: str, config: VenueConfig, venue: Venue) -> list[str]:
    """What the venue's own parts have against its keys: they are made, and nothing is connected."""
    problems: dict[str, None] = {}
    for part in (
        lambda: venue.data.websocket(config, {}),
        lambda: venue.rest.strategies(config),
        lambda: venue.books.make_sync(config),
    ):
        try:
            part()
        except ValueError as error:
            problems[f"venues.{name}: {error}"] = None
        except Exception as error:  # a venue's own code may raise anything
            if (cause := broken.by_import(error)) is not None and broken.ours(cause):
                raise
            problems[f"venues.{name}: {place(error)}: {type(error).__name__}: {error}"] = None
    return list(problems)


def _source(settings: Settings, *path: str) -> str:
    """The file or variable that says so, as an error line begins."""
    origin = settings.origins.get(("venues", *path))
    return f"{origin}: " if origin else ""


def place(error: BaseException) -> str:
    """The innermost line of a venue's own code, or of ours."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if OF_A_VENUE.search(frame.filename)] or list(frames)
    place = Path(own[-1].filename)
    return f"{'/'.join(place.parts[-4:])}:{own[-1].lineno}"
