"""Whether the venues of a configuration can be run: their code is loaded before a worker would fail at it."""

from __future__ import annotations

import traceback
from pathlib import Path

from engine.errors import SettingsError
from engine.settings import Settings


def check(settings: Settings) -> None:
    """Loads every enabled venue and compares its channels.

    Raises:
        SettingsError: every problem found, a line each.
    """
    from workers.venue import load

    problems = []
    for name, keys in settings.enabled.items():
        try:
            channels = load(name).channels
        except Exception as error:  # a venue's own code may raise anything
            problems.append(f"venues.{name}: {_place(error)}: {type(error).__name__}: {error}")
            continue
        problems += [
            f"venues.{name}.channels: {channel!r} is no channel of this venue (allowed: "
            f"{', '.join(sorted(channels))})"
            for channel in keys.channels
            if channel not in channels
        ]
    if problems:
        raise SettingsError(problems)


def _place(error: BaseException) -> str:
    """The innermost line of a venue's own code, or of ours."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/workers/venues/" in frame.filename] or list(frames)
    place = Path(own[-1].filename)
    return f"{'/'.join(place.parts[-4:])}:{own[-1].lineno}"
