"""Binance USD-M futures, simulated: perpetual swaps settled in USDT or USDC."""

from __future__ import annotations

import random
from collections.abc import Iterator

from workers.sim.assets import listing
from workers.sim.binance import names
from workers.sim.binance.decoder import FUTURES_CHANNELS, BinanceDecoder
from workers.sim.binance.protocol import NEW_FIELDS, ROUTES, BinanceProtocol
from workers.sim.binance.rest import BinanceRest
from workers.sim.binance_futures.publisher import FuturesPublisher
from workers.sim.binance_futures.rest import REST_SPEC
from workers.sim.dialect import Dialect
from workers.sim.hub import Hub, Rules
from workers.sim.market import Listing
from workers.sim.rest import RestContext

LISTINGS: dict[str, Listing] = {
    one.symbol: one
    for one in (
        listing("BTC", "USDT", 1, 3, settle="USDT", min_notional="100"),
        listing("ETH", "USDT", 2, 3, settle="USDT", min_notional="20"),
        listing("SOL", "USDT", 2, 0, settle="USDT", min_notional="5"),
        listing("BNB", "USDT", 2, 2, settle="USDT", min_notional="5"),
        listing("XRP", "USDT", 4, 1, settle="USDT", min_notional="5"),
        listing("DOGE", "USDT", 5, 0, settle="USDT", min_notional="5"),
        listing("BTC", "USDC", 1, 3, settle="USDC", min_notional="100"),
    )
}
"""What the synthetic market can list, by canonical symbol. A contract is one unit of the base."""
CHANNELS = ("top", "book", "trades", "agg_trades", "ticker", "mark", "liquidations")


def _ids(seed: int) -> Iterator[int]:
    """Ids of the whole market: between two of one symbol there are always others'."""
    chance = random.Random(f"ids/{seed}")
    last = 8_000_000_000_000 + seed % 1000
    while True:
        last += chance.randint(2, 9)
        yield last


def _protocol(hub: Hub) -> BinanceProtocol:
    return BinanceProtocol(hub, DIALECT.symbols, ROUTES, micro=False)


def _rest(context: RestContext) -> BinanceRest:
    return BinanceRest(context, REST_SPEC)


def _decoder() -> BinanceDecoder:
    return BinanceDecoder(FUTURES_CHANNELS, settled=True)


DIALECT = Dialect(
    feed="binance_futures",
    listings=LISTINGS,
    default_symbols=("BTC/USDT:USDT", "ETH/USDT:USDT", "SOL/USDT:USDT"),
    rules=Rules(messages_per_second=10, ping_every=180.0, pong_within=600.0),
    protocol=_protocol,
    publisher=FuturesPublisher,
    rest=_rest,
    decoder=_decoder,
    streams=lambda symbol: names.streams(symbol, CHANNELS),
    subscribe_request=names.subscribe_request,
    canonical=names.canonical_swap,
    snapshot_path=lambda symbol: f"/fapi/v1/depth?symbol={symbol}&limit=1000",
    faults=("repeat_price", NEW_FIELDS),
    ids=_ids,
    salt="binance_futures/",
    halted="SETTLING",
)
"""See `dialect.Dialect`. Streams, routes, rules: venue docs, USD-M "Websocket Market Streams", 2026."""
