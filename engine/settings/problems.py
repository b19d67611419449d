"""A problem with a setting in one line of text: its value, what is allowed, what was perhaps meant."""

from __future__ import annotations

import json
from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal, get_args, get_origin

import msgspec

from engine import errors

if TYPE_CHECKING:
    from engine.settings.settings import Settings


class SettingsError(errors.EngineError):
    """Settings that do not hold; `problems` has one line each: file, key, value, what is allowed. `rest` is
    what could be read all the same, to look for further problems in; never to be run."""

    exit_code = errors.USAGE

    def __init__(self, problems: list[str], rest: Settings | None = None) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
        self.rest = rest


SHOWN = 8  # of allowed names; of more, only the nearest
NEAREST = 5


def text(value: object) -> str:
    """A value as TOML writes it (JSON does for every type that settings have)."""
    written = json.dumps(value, ensure_ascii=False, default=str)
    return written if len(written) <= 200 else written[:197] + "..."


# Of keys whose type alone does not show how they are written.
EXAMPLES = {
    "symbols": '["BTC/USDT", "ETH/USDT"]',
    "channels": '["top", "book"]',
    "rest_alternates": '["https://host"]',
    "tls_pins": '["base64 of a SHA-256"]',
    "options": "a table [venues.<name>.options]",
}


def allowed(kind: object, error: msgspec.ValidationError, key: str = "") -> str:
    """What a key of this type may hold."""
    if get_origin(kind) is Literal:
        return f"expected one of {', '.join(get_args(kind))}"
    example = f", such as {EXAMPLES[key]}" if key in EXAMPLES else ""
    return str(error)[:1].lower() + str(error)[1:] + example


def nearest(name: str, names: Iterable[str]) -> str:
    """``; did you mean depth? (allowed: depth, ... and 36 more)``: all names when they are few, else those
    that are nearest, and how many more there are.

    >>> nearest("lisen", ["instance", "listen"])
    '; did you mean listen? (allowed: instance, listen)'
    >>> nearest("x", [])
    ' (none is allowed here)'
    """
    known = sorted(names)
    if not known:
        return " (none is allowed here)"
    near = get_close_matches(name, known, n=1, cutoff=0.6)
    guess = f"; did you mean {near[0]}?" if near else ""
    if len(known) <= SHOWN:
        return f"{guess} (allowed: {', '.join(known)})"
    shown = get_close_matches(name, known, n=NEAREST, cutoff=0.0)
    return f"{guess} (allowed: {', '.join(shown)} and {len(known) - len(shown)} more)"
