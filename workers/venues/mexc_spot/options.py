"""What only MEXC spot is configured by: the table ``[options]`` of ``config/venues/mexc_spot.toml``."""

from __future__ import annotations

from typing import Literal

from workers.config.venue import VenueConfig
from workers.venues.from_config import Options, make_options


class MexcSpotOptions(Options, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Attributes:
    interval: how often the venue sends what has changed of a top, a book, the trades.
    ticker_window: of the ticker's statistics: ``24H``, or a day of one of the venue's time zones.
    topics_per_message: topics that one subscription message asks for.
    """

    interval: Literal["100ms", "10ms"] = "100ms"
    ticker_window: str = "24H"
    topics_per_message: int = 1


def options(config: VenueConfig) -> MexcSpotOptions:
    """The venue's own keys. Raises ValueError, which names the key and what is allowed."""
    return make_options(config, MexcSpotOptions)
