"""Whether the venues of a configuration can be run: their code is loaded before a worker would fail at it."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from engine.errors import SettingsError
from engine.problems import allowed, nearest, text
from engine.settings import Settings, hints

if TYPE_CHECKING:
    from workers.config import VenueConfig
    from workers.service import Options
    from workers.venue import Venue


def check(settings: Settings) -> None:
    """Loads every enabled venue, and compares its channels and options with what it has.

    Raises:
        SettingsError: every problem found, a line each.
    """
    from workers.venue import load

    problems: list[str] = []
    for name, keys in settings.enabled.items():
        try:
            venue = load(name)
        except Exception as error:  # a venue's own code may raise anything
            problems.append(f"venues.{name}: {place(error)}: {type(error).__name__}: {error}")
            continue
        problems += [
            f"{_source(settings, name, 'channels')}venues.{name}.channels: {channel!r} is no channel of this "
            f"venue (allowed: {', '.join(sorted(venue.channels))})"
            for channel in keys.channels
            if channel not in venue.channels
        ]
        problems += _options(settings, name, keys, venue.options) or _parts(name, keys, venue)
    if problems:
        raise SettingsError(problems)


def _options(settings: Settings, name: str, keys: VenueConfig, kind: type[Options]) -> list[str]:
    """What is wrong with a venue's own keys."""
    from workers.service import make_options

    known = hints(kind)
    problems = []
    for key, value in keys.options.items():
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
            make_options(keys, kind)
        except ValueError as error:  # a rule between keys
            problems.append(f"venues.{name}.{error}")
    return problems


def _parts(name: str, keys: VenueConfig, venue: Venue) -> list[str]:
    """What the venue's own parts have against its keys: they are made, and nothing is connected."""
    problems: dict[str, None] = {}
    for part in (
        lambda: venue.websocket(keys, {}),
        lambda: venue.rest(keys),
        lambda: venue.make_sync(keys),
    ):
        try:
            part()
        except ValueError as error:
            problems[f"venues.{name}: {error}"] = None
        except Exception as error:  # a venue's own code may raise anything
            problems[f"venues.{name}: {place(error)}: {type(error).__name__}: {error}"] = None
    return list(problems)


def _source(settings: Settings, *path: str) -> str:
    """The file or variable that says so, as an error line begins."""
    origin = settings.origins.get(("venues", *path))
    return f"{origin}: " if origin else ""


def place(error: BaseException) -> str:
    """The innermost line of a venue's own code, or of ours."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/workers/venues/" in frame.filename] or list(frames)
    place = Path(own[-1].filename)
    return f"{'/'.join(place.parts[-4:])}:{own[-1].lineno}"
