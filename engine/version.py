"""The version, as installed."""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    """The installed version, ``unknown`` in a checkout that was never installed."""
    try:
        return metadata.version("tickring")
    except metadata.PackageNotFoundError:
        return "unknown"
