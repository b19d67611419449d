"""MEXC spot v3, simulated."""

from __future__ import annotations

from workers.sim.assets import listing
from workers.sim.dialect import Dialect
from workers.sim.hub import Rules
from workers.sim.market import Listing, short_text
from workers.sim.mexc_spot import names
from workers.sim.mexc_spot.decoder import MexcDecoder
from workers.sim.mexc_spot.protocol import FAULTS, MexcProtocol
from workers.sim.mexc_spot.publisher import MexcPublisher
from workers.sim.mexc_spot.rest import MexcRest

LISTINGS: dict[str, Listing] = {
    one.symbol: one
    for one in (
        listing("BTC", "USDT", 2, 8, min_notional="1"),
        listing("ETH", "USDT", 2, 5, min_notional="1"),
        listing("SOL", "USDT", 2, 3, min_notional="1"),
        listing("XRP", "USDT", 4, 2, min_notional="1"),
        listing("ADA", "USDT", 4, 2, min_notional="1"),
        listing("DOGE", "USDT", 5, 2, min_notional="1"),
        listing("LTC", "USDT", 2, 3, min_notional="1"),
        listing("LINK", "USDT", 3, 2, min_notional="1"),
        listing("AVAX", "USDT", 3, 2, min_notional="1"),
        listing("BTC", "USDC", 2, 6, min_notional="1"),
        listing("ETH", "BTC", 6, 4, min_notional="0.00001"),
    )
}
"""What the synthetic market can list, by canonical symbol."""
DEFAULT_SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT")

DIALECT = Dialect(
    feed="mexc_spot",
    listings=LISTINGS,
    default_symbols=DEFAULT_SYMBOLS,
    # Docs, "Websocket Market Streams"; 100 messages per second by third parties.
    rules=Rules(
        messages_per_second=100,
        max_streams=30,
        ping_every=float("inf"),
        max_life=86_400.0,
        notice=0.0,
        subscribe_within=30.0,
        idle_timeout=60.0,
        idle_code=1000,
    ),
    protocol=MexcProtocol,
    publisher=MexcPublisher,
    rest=MexcRest,
    decoder=MexcDecoder,
    streams=names.streams,
    subscribe_request=names.subscribe_request,
    canonical=names.canonical,
    snapshot_path=lambda symbol: f"/api/v3/depth?symbol={symbol}&limit=5000",
    text=short_text,  # no needless zeros, as recorded of tops and trades
    faults=FAULTS,
    salt="mexc_spot/",
    halted="2",
)
"""See `dialect.Dialect`."""
