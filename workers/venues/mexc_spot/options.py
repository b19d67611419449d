"""Settings that only MEXC spot has: the table ``[options]`` of ``config/venues/mexc_spot.toml``."""

from __future__ import annotations

from typing import Literal

from workers.config.venue import VenueConfig
from workers.venues.from_config import Options, make_options


class MexcSpotOptions(Options, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The settings.

    Attributes:
        interval: how often the venue sends changes of tops and books, and trades.
        ticker_window: of the ticker's statistics: ``24H``, or a day of one of the venue's time zones.
        topics_per_message: at most so many topics in one subscription message.
    """

    interval: Literal["100ms", "10ms"] = "100ms"
    ticker_window: str = "24H"
    topics_per_message: int = 1


def options(config: VenueConfig) -> MexcSpotOptions:
    """The venue's own settings. Raises ValueError, which names the key and the allowed values."""
    return make_options(config, MexcSpotOptions)
