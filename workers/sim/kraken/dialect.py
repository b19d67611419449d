"""Kraken spot, simulated."""

from __future__ import annotations

from workers.sim.assets import listing
from workers.sim.dialect import Dialect
from workers.sim.hub import Hub, Rules
from workers.sim.kraken import names
from workers.sim.kraken.decoder import KrakenDecoder
from workers.sim.kraken.protocol import MAINTENANCE, REFUSE_DEPTH, KrakenProtocol
from workers.sim.kraken.publisher import KrakenPublisher
from workers.sim.kraken.rest import REST_ERROR, KrakenRest
from workers.sim.market import Listing

NEVER = float("inf")
LISTINGS: dict[str, Listing] = {
    one.symbol: one
    for one in (
        listing(base, quote, decimals, 8, spelled=f"{base}/{quote}", min_notional="0.5")
        for base, quote, decimals in (
            ("BTC", "USD", 1), ("ETH", "USD", 2), ("SOL", "USD", 2), ("XRP", "USD", 5), ("ADA", "USD", 6),
            ("DOGE", "USD", 7), ("LTC", "USD", 2), ("LINK", "USD", 5), ("AVAX", "USD", 2), ("USDT", "USD", 5),
            ("BTC", "EUR", 1), ("ETH", "EUR", 2), ("BTC", "USDT", 1), ("ETH", "USDT", 2), ("SOL", "USDT", 2),
            ("ETH", "BTC", 5), ("BTC", "GBP", 1),
        )
    )
}  # fmt: skip
"""What the synthetic market can list, by canonical symbol; sizes have eight decimals everywhere."""


def _protocol(hub: Hub) -> KrakenProtocol:
    return KrakenProtocol(hub, DIALECT.symbols)


DIALECT = Dialect(
    feed="kraken",
    listings=LISTINGS,
    default_symbols=("BTC/USD", "ETH/USD", "SOL/USD"),
    rules=Rules(
        messages_per_second=50,  # the venue's limit depends on its load and is not published
        max_streams=100_000,
        ping_every=NEVER,  # no WebSocket ping was ever recorded
        max_life=NEVER,
        subscribe_within=60.0,
    ),
    protocol=_protocol,
    publisher=KrakenPublisher,
    rest=KrakenRest,
    decoder=KrakenDecoder,
    streams=names.streams,
    subscribe_request=names.subscribe_request,
    canonical=lambda symbol: symbol,
    halted="cancel_only",
    faults=("bad_checksum", "repeat_price", REFUSE_DEPTH, MAINTENANCE, REST_ERROR),
)
"""See `dialect.Dialect`. Streams, methods, texts: venue docs, "Spot WebSocket v2" and "Spot REST", 2026."""
