"""REST: from the permit to the typed answer. `RestManager` is the face; the other modules decide, it acts.

Loaded lazily: a worker's first tick must not wait for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workers.rest.manager import RestManager

__all__ = ["RestManager"]


def __getattr__(name: str) -> Any:
    if name != "RestManager":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from workers.rest.manager import RestManager

    return RestManager
