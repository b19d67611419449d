"""The configuration that ships: where its folder is, and what it says of a venue.

The engine reads the same files; a program that uses a venue without the engine (`workers.exchange.factory`)
takes its addresses and limits from here.
"""

from __future__ import annotations

import sysconfig
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from workers.config.venue import VenueConfig
from workers.contract.errors import WorkerError

MAIN = "tickring.toml"


class ConfigError(WorkerError):
    """The shipped configuration is missing, or a key over it is unknown or wrong; one line."""


def directory() -> Path:
    """The shipped `config/` folder: beside the packages in a checkout, `share/tickring` when installed.

    Raises:
        ConfigError: the text names the places looked at.
    """
    root = Path(__file__).resolve().parents[2]
    candidates = [
        root / "config",
        Path(sysconfig.get_path("data")) / "share" / "tickring",
        root / "share" / "tickring",  # pip install --target
        Path(sysconfig.get_path("data", sysconfig.get_preferred_scheme("user"))) / "share" / "tickring",
    ]
    for candidate in candidates:
        if (candidate / MAIN).is_file():
            return candidate
    where = ", ".join(str(candidate) for candidate in candidates)
    raise ConfigError(f"{MAIN}: the shipped configuration is missing (looked in {where}); reinstall")


def venue_config(name: str, **keys: Any) -> VenueConfig:
    """What `config/venues/<name>.toml` says, with `keys` over it; `options` key by key.

    Raises:
        ConfigError: the file is missing, or a key is unknown or has a wrong value.
    """
    file = directory() / "venues" / f"{name}.toml"
    try:
        shipped = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        shipped = {}  # a venue need not have one; its addresses are then among `keys`
    options = {**shipped.get("options", {}), **keys.get("options", {})}
    try:
        return msgspec.convert({**shipped, **keys, "options": options}, VenueConfig)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{name}: {str(error)[:1].lower()}{str(error)[1:]}") from error
