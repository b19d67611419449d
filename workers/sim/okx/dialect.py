"""OKX v5 public data, simulated: spot, linear and inverse perpetuals."""

from __future__ import annotations

from workers.sim import assets
from workers.sim.dialect import Dialect
from workers.sim.hub import Hub, Rules
from workers.sim.market import Listing, short_text
from workers.sim.okx.decoder import OkxDecoder
from workers.sim.okx.names import canonical, streams, subscribe_request
from workers.sim.okx.protocol import OkxProtocol
from workers.sim.okx.publisher import OkxPublisher
from workers.sim.okx.rest import OkxRest

NEVER = float("inf")
SPOT = {
    "BTC": (1, 8), "ETH": (2, 6), "SOL": (2, 6), "BNB": (1, 6), "XRP": (4, 6), "ADA": (4, 6), "DOGE": (5, 6),
    "LTC": (2, 6), "LINK": (3, 6), "AVAX": (3, 6),
}  # fmt: skip
"""Spot pairs with USDT: decimals of tick and lot."""
LINEAR = {"BTC": (1, 2, "0.01"), "ETH": (2, 2, "0.1"), "SOL": (2, 2, "1"), "DOGE": (5, 2, "1000")}
INVERSE = {"BTC": (1, 0, "100"), "ETH": (2, 0, "10")}
"""Perpetual swaps: decimals of tick and lot, size of a contract."""


def _listings() -> dict[str, Listing]:
    found = [assets.listing(base, "USDT", *places, spelled=f"{base}-USDT") for base, places in SPOT.items()]
    for base, (price, size, contract) in LINEAR.items():
        name = f"{base}-USDT-SWAP"
        found.append(
            assets.listing(base, "USDT", price, size, settle="USDT", spelled=name, contract=contract)
        )
    for base, (price, size, contract) in INVERSE.items():
        name = f"{base}-USD-SWAP"
        found.append(assets.listing(base, "USD", price, size, settle=base, spelled=name, contract=contract))
    return {listing.symbol: listing for listing in found}


LISTINGS = _listings()
"""What the synthetic market can list, by canonical symbol."""


def _protocol(hub: Hub) -> OkxProtocol:
    return OkxProtocol(hub, DIALECT.symbols)


DIALECT = Dialect(
    feed="okx",
    listings=LISTINGS,
    default_symbols=("BTC/USDT", "BTC/USDT:USDT", "ETH/USDT"),
    rules=Rules(
        messages_per_second=1000,  # the venue has no such rule; `OkxProtocol` counts its 480 operations
        ping_every=NEVER,
        max_life=NEVER,
        subscribe_within=30.0,
        idle_timeout=30.0,
        idle_code=4004,
    ),
    protocol=_protocol,
    publisher=OkxPublisher,
    rest=OkxRest,
    decoder=OkxDecoder,
    streams=streams,
    subscribe_request=subscribe_request,
    canonical=canonical,
    text=short_text,
    faults=("bad_checksum", "repeat_price", "reset_ids"),
    salt="okx/",
    halted="suspend",
)
"""See `dialect.Dialect`. Channels, answers, texts, limits: venue docs, "API v5", 2026-07.

The fault ``reset_ids``: with a book's next change its ``seqId`` is reset, as after maintenance.
"""
