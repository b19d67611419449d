"""The compiled `talk.pyx`."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.native import ROOT, load, module

SOURCE = Path(__file__).with_suffix(".pyx")
_CIMPORTED = (
    *(
        ROOT / "workers/decode" / name
        for name in ("message.pxd", "native.pxd", "symbols.pxd", "scan.pxd", "scan.h")
    ),
    *(ROOT / "workers/books" / name for name in ("book.pxd", "checksum.pxd")),
)


def native() -> ModuleType:
    """The module: `Talk`, and the checksum `Sum`."""
    if elsewhere := os.environ.get("TICKRING_TALK"):  # under a sanitizer
        return load("talk", Path(elsewhere))
    return module("talk", SOURCE, _CIMPORTED)


def talk(**options: Any) -> Any:
    """A `Talk` decoder."""
    return native().Talk(**options)
