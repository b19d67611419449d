"""Settings that only OKX has: the table ``[options]`` of ``config/venues/okx.toml``."""

from __future__ import annotations

from typing import Literal

from workers.config.venue import VenueConfig
from workers.venues.from_config import Options, make_options
from workers.venues.okx.connection import PATH


class OkxOptions(Options, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The settings.

    Attributes:
        book_channel: ``"books"``, 400 levels, sent as changes; ``"books5"``, the best five in each message.
        ws_path: after `ws_url`.
    """

    book_channel: Literal["books", "books5"] = "books"
    ws_path: str = PATH


def options(config: VenueConfig) -> OkxOptions:
    """The venue's own settings. Raises ValueError, which names the key and the allowed values."""
    return make_options(config, OkxOptions)
