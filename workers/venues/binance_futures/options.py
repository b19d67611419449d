"""Settings that only Binance USD-M futures has: the table ``[options]`` of
``config/venues/binance_futures.toml``."""

from __future__ import annotations

from typing import Literal

from workers.config.venue import VenueConfig
from workers.venues.from_config import Options, make_options


class BinanceFuturesOptions(Options, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The settings.

    Attributes:
        route: ``"routed"``, each stream at the path that the venue has it at, ``/public`` or ``/market``;
            ``"plain"``: all of them on one path, as the venue was until 2026-04, and as replays are.
        trades: the stream of the channel `trades`, ``"trade"`` or ``"aggTrade"``.
    """

    route: Literal["routed", "plain"] = "routed"
    trades: Literal["trade", "aggTrade"] = "trade"


def options(config: VenueConfig) -> BinanceFuturesOptions:
    """The venue's own settings. Raises ValueError, which names the key and the allowed values."""
    return make_options(config, BinanceFuturesOptions)
