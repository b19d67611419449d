"""The compiled `talk.pyx`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.native import ROOT, load, module

SOURCE = Path(__file__).with_suffix(".pyx")
_CIMPORTED = ("message.pxd", "native.pxd", "symbols.pxd", "scan.pxd", "scan.h")


def talk(**options: Any) -> Any:
    """A `Talk` decoder."""
    import os

    if elsewhere := os.environ.get("TICKRING_TALK"):  # under a sanitizer
        return load("talk", Path(elsewhere)).Talk(**options)
    return module("talk", SOURCE, [ROOT / "workers/decode" / name for name in _CIMPORTED]).Talk(**options)
