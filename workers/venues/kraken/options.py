"""Settings that only Kraken has: the table ``[options]`` of ``config/venues/kraken.toml``."""

from __future__ import annotations

from typing import Annotated

import msgspec

from workers.config.venue import VenueConfig
from workers.venues.from_config import Options, make_options

DEPTHS = (10, 25, 100, 500, 1000)  # venue docs, "book": any other depth is refused


class KrakenOptions(Options, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The settings.

    Attributes:
        book_depth: levels a side that are subscribed, one of `DEPTHS`; 0: the fewest that hold `depth`. Fewer
            are less traffic, and the checksum covers ten: at 10 it covers all of the book.
        symbols_per_message: at most so many symbols in one subscription message.
        messages_per_second: that we send; the venue's limit changes with its load and is not documented.
        connects_per_10_minutes: connection attempts.
        rest_per_second, rest_burst: REST requests a second, and at most so many at once. An account's
            counter reportedly goes up to 15 or 20 and decays by 0.33 to 1 a second; public
            requests should be one a second.
        rest_cooldown: seconds without a request after the venue has answered that there were too many.
    """

    book_depth: int = 0
    symbols_per_message: Annotated[int, msgspec.Meta(ge=1)] = 50
    messages_per_second: Annotated[int, msgspec.Meta(ge=2)] = 10
    connects_per_10_minutes: Annotated[int, msgspec.Meta(ge=1)] = 150
    rest_per_second: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    rest_burst: Annotated[int, msgspec.Meta(ge=1)] = 15
    rest_cooldown: Annotated[float, msgspec.Meta(ge=0)] = 5.0


def options(config: VenueConfig) -> KrakenOptions:
    """The venue's own settings, with the depth that is subscribed.

    Raises:
        ValueError: the text names the key and what is allowed.
    """
    own = make_options(config, KrakenOptions)
    if {"top", "book"} <= {*config.channels} and config.max_streams < len(config.channels):
        raise ValueError(
            f"max_streams = {config.max_streams}: Kraken's top and book are one stream, not to come by two "
            f"connections: one must hold the {len(config.channels)} channels of a symbol"
        )
    allowed = ", ".join(map(str, DEPTHS))
    if config.depth > DEPTHS[-1]:
        raise ValueError(f"depth = {config.depth}: Kraken has {DEPTHS[-1]} levels a side at most")
    if own.book_depth and own.book_depth not in DEPTHS:
        raise ValueError(f"options.book_depth = {own.book_depth} is none that Kraken has: {allowed}")
    if 0 < own.book_depth < config.depth:
        raise ValueError(
            f"options.book_depth = {own.book_depth} cannot fill a window of depth = {config.depth}: "
            f"raise book_depth ({allowed}) or lower depth"
        )
    fewest = next(depth for depth in DEPTHS if depth >= config.depth)
    return msgspec.structs.replace(own, book_depth=own.book_depth or fewest)
