"""Binance spot, simulated."""

from __future__ import annotations

from workers.sim.binance import names, spot_payloads
from workers.sim.binance.decoder import BinanceDecoder
from workers.sim.binance.protocol import BinanceProtocol
from workers.sim.binance.publisher import BinancePublisher
from workers.sim.binance.rest import BinanceRest
from workers.sim.binance_spot.rest import REST_SPEC
from workers.sim.dialect import Dialect
from workers.sim.hub import Hub, Rules
from workers.sim.market import Listing, decimal_text
from workers.sim.rest import RestContext
from workers.sim.synthetic import Symbol

LISTINGS: dict[str, Listing] = {
    listing.symbol: listing
    for listing in (
        Listing("BTC", "USDT", 2, 5, 9_412_345, 12_000),
        Listing("ETH", "USDT", 2, 4, 321_098, 25_000),
        Listing("SOL", "USDT", 2, 3, 18_765, 20_000),
        Listing("BNB", "USDT", 2, 3, 91_234, 3_000),
        Listing("XRP", "USDT", 4, 1, 23_456, 12_000),
        Listing("ADA", "USDT", 4, 1, 7_654, 20_000),
        Listing("DOGE", "USDT", 5, 0, 21_987, 5_000),
        Listing("LTC", "USDT", 2, 3, 10_432, 5_000),
        Listing("LINK", "USDT", 2, 2, 1_876, 4_000),
        Listing("AVAX", "USDT", 2, 2, 2_345, 6_000),
        Listing("ETH", "BTC", 5, 4, 3_411, 8_000, "0.00010000"),
        Listing("SOL", "BTC", 6, 2, 1_993, 4_000, "0.00010000"),
    )
}
"""What the synthetic market can list, by canonical symbol."""
DEFAULT_SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT")


def _protocol(hub: Hub) -> BinanceProtocol:
    return BinanceProtocol(hub, DIALECT.symbols)


def _publisher(symbol: Symbol, hub: Hub) -> BinancePublisher:
    return BinancePublisher(symbol, hub, spot_payloads, {"@100ms": 1, "": 0}, top=True)


def _rest(context: RestContext) -> BinanceRest:
    return BinanceRest(context, REST_SPEC)


DIALECT = Dialect(
    feed="binance_spot",
    listings=LISTINGS,
    default_symbols=DEFAULT_SYMBOLS,
    rules=Rules(),
    protocol=_protocol,
    publisher=_publisher,
    rest=_rest,
    decoder=BinanceDecoder,
    streams=lambda symbol: names.streams(symbol, ("top", "book", "trades", "agg_trades", "ticker")),
    subscribe_request=names.subscribe_request,
    canonical=names.canonical,
    snapshot_path=lambda symbol: f"/api/v3/depth?symbol={symbol}&limit=5000",
    text=decimal_text,  # 8 decimals on every symbol, as recorded
    faults=("repeat_price",),
)
"""See `dialect.Dialect`. Streams, methods, texts: venue docs, "WebSocket Streams" and "REST API", 2026-07."""
