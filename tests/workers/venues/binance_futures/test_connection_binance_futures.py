"""Where Binance USD-M futures are connected to, and what is asked for where."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from workers.config.venue import CHANNELS, VenueConfig
from workers.contract.errors import Disconnected, HandshakeRefused
from workers.contract.protocols import (
    Acknowledgement,
    ConnectionContext,
    ReconnectionPolicy,
    SubscriptionAction,
)
from workers.venues.binance.subscription import BinanceSubscription
from workers.venues.binance_futures.connection import BUDGET, PATH, BinanceFuturesConnection
from workers.venues.binance_futures.subscription import ROUTES, STREAMS, TRADES, streams
from workers.venues.binance_futures.venue import VENUE
from workers.venues.defaults import limited

CONTEXT = ConnectionContext(url="wss://x" + PATH)
SYMBOLS = {"BTC/USDT:USDT": "BTCUSDT", "BTC/USDT:USDT-261225": "BTCUSDT_261225"}


def config(**options: Any) -> VenueConfig:
    return VenueConfig(
        ws_url="wss://fstream.binance.com/",
        rest_url="https://x",
        symbols=list(SYMBOLS),
        channels=list(CHANNELS),
        max_streams=200,
        options=options,
    )


def urls(**options: Any) -> dict[str, list[str]]:
    """URL -> channels, as a manager would connect."""
    connection = VENUE.data.websocket(config(**options), SYMBOLS).connection_strategy
    found: dict[str, list[str]] = {}
    for channel in CHANNELS:
        route = connection.route(channel)
        strategy = connection.at(route) if route else connection
        found.setdefault(strategy.context.url, []).append(channel)
    return found


def test_the_venues_limits() -> None:
    """1024 streams a connection, of which one is that of all contracts."""
    budget = BinanceFuturesConnection(CONTEXT, BUDGET).budget
    assert (budget.messages, budget.per, budget.max_streams) == (10, 1.0, 1023)
    assert BinanceFuturesConnection(CONTEXT, limited(BUDGET, 200)).budget.max_streams == 200
    assert BinanceFuturesConnection(CONTEXT, limited(BUDGET, 5000)).budget.max_streams == 1023


def test_each_channel_is_at_its_path() -> None:
    assert urls() == {
        "wss://fstream.binance.com/public/stream": ["top", "book", "trades"],
        "wss://fstream.binance.com/market/stream?streams=!contractInfo": [
            "agg_trades",
            "ticker",
            "mark",
            "liquidations",
        ],
    }
    aggregated = urls(trades="aggTrade")
    assert "trades" in aggregated["wss://fstream.binance.com/market/stream?streams=!contractInfo"]


def test_without_routes_all_is_at_one_path() -> None:
    assert urls(route="plain") == {"wss://fstream.binance.com/stream?streams=!contractInfo": list(CHANNELS)}


@pytest.mark.parametrize("options", [{"route": "public"}, {"trades": "book"}, {"rout": "plain"}])
def test_other_options_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="options"):
        VENUE.data.websocket(config(**options), SYMBOLS)


def test_a_routes_strategy_has_the_venues_limits_and_policy() -> None:
    policy = ReconnectionPolicy(7, 0.5)
    made = BinanceFuturesConnection(CONTEXT, limited(BUDGET, 20), policy, routes={"top": "public"})
    routed = made.at("public")
    assert routed.context == msgspec.structs.replace(CONTEXT, url="wss://x/public/stream")
    assert routed.budget.max_streams == 20
    assert routed.get_reconnection_policy() is policy
    assert not routed.should_reconnect(HandshakeRefused("x", 404))
    assert routed.should_reconnect(Disconnected(1006))
    assert routed.announced_end(b'{"e":"serverShutdown","E":1}') == 0.0


def test_every_stream_has_a_route_and_every_channel_a_stream() -> None:
    assert set(STREAMS) == set(CHANNELS) == VENUE.data.channels
    assert set(ROUTES) == set(STREAMS.values()) >= set(TRADES)


def test_the_complete_message_as_the_venue_documents_it() -> None:
    strategy = BinanceSubscription(STREAMS, SYMBOLS)
    (message,) = strategy.create_subscription_messages(
        SubscriptionAction.SUBSCRIBE, ["BTC/USDT:USDT"], CHANNELS, first_id=7
    )
    assert message.payload == (
        b'{"method":"SUBSCRIBE","params":["btcusdt@bookTicker","btcusdt@depth@100ms","btcusdt@trade",'
        b'"btcusdt@aggTrade","btcusdt@ticker","btcusdt@markPrice@1s","btcusdt@forceOrder"],"id":7}'
    )
    (dated,) = BinanceSubscription(streams("aggTrade"), SYMBOLS).create_subscription_messages(
        SubscriptionAction.UNSUBSCRIBE, ["BTC/USDT:USDT-261225"], ["trades"]
    )
    assert dated.payload == b'{"method":"UNSUBSCRIBE","params":["btcusdt_261225@aggTrade"],"id":1}'


def test_batches_and_acknowledgements() -> None:
    symbols = {f"S{n}/USDT:USDT": f"S{n}USDT" for n in range(90)}
    strategy = BinanceSubscription(STREAMS, symbols, streams_per_message=50)
    messages = strategy.create_subscription_messages(
        SubscriptionAction.SUBSCRIBE, list(symbols), ["top", "book"], first_id=3
    )
    assert [len(msgspec.json.decode(each.payload)["params"]) for each in messages] == [50, 50, 50, 30]
    assert [each.id for each in messages] == [3, 4, 5, 6]
    assert strategy.match_acknowledgement(b'{"result":null,"id":3}') == Acknowledgement(3, True)
    refused = strategy.match_acknowledgement(b'{"error":{"code":2,"msg":"Invalid request"},"id":4}')
    assert refused == Acknowledgement(4, False, 2, "Invalid request")
    with pytest.raises(KeyError, match=r"'tops' is not known; allowed: top, book"):
        strategy.create_subscription_messages(SubscriptionAction.SUBSCRIBE, list(symbols), ["tops"])
