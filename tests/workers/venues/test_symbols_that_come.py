"""Kind: what is known of symbols when a worker starts is not all that it will know. One that comes later,
when the venue lists it, is known to every part of a venue that is given the mapping of symbols."""

from __future__ import annotations

import pytest

from workers.config.venue import VenueConfig
from workers.contract.protocols import SubscriptionAction
from workers.sim.mexc_spot import payloads
from workers.venues import venue as venues
from workers.venues.venue import CanonicalNames

FRAMES = {
    "binance_spot": (
        "ETH/USDT",
        "ETHUSDT",
        b'{"stream":"ethusdt@trade","data":{"e":"trade","E":1,"s":"ETHUSDT","t":1,"p":"1.0","q":"1.0","T":1,'
        b'"m":true,"M":true}}',
    ),
    "binance_futures": (
        "ETH/USDT:USDT",
        "ETHUSDT",
        b'{"stream":"ethusdt@trade","data":{"e":"trade","E":1,"T":1,"s":"ETHUSDT","t":1,"p":"1.0","q":"1.0",'
        b'"X":"MARKET","m":true}}',
    ),
    "okx": (
        "ETH/USDT",
        "ETH-USDT",
        b'{"arg":{"channel":"trades","instId":"ETH-USDT"},"data":[{"instId":"ETH-USDT","tradeId":"1","px":"1",'
        b'"sz":"1","side":"buy","ts":"1","count":"1","seqId":1}]}',
    ),
    "kraken": (
        "ETH/USD",
        "ETH/USD",
        b'{"channel":"trade","type":"update","data":[{"symbol":"ETH/USD","side":"buy","price":1.0,"qty":1.0,'
        b'"ord_type":"limit","trade_id":1,"timestamp":"2023-09-25T07:49:37.708706Z"}]}',
    ),
    "mexc_spot": (
        "ETH/USDT",
        "ETHUSDT",
        payloads.wrapper("spot@public.aggre.bookTicker.v3.api.pb@100ms@ETHUSDT", "ETHUSDT", 1),
    ),
}


@pytest.mark.parametrize("feed", venues.names())
def test_the_parts_of_a_venue_know_symbols_that_come_later(feed: str) -> None:
    symbol, venue_symbol, frame = FRAMES[feed]
    symbols: dict[str, str] = {}
    config = VenueConfig(ws_url="wss://x", rest_url="https://x", symbols=[symbol])
    strategies = venues.load(feed).data.websocket(config, symbols)
    assert strategies.message_parser.extract_symbol(frame) is None
    with pytest.raises(KeyError):
        strategies.subscription_strategy.create_subscription_messages(
            SubscriptionAction.SUBSCRIBE, [symbol], ["trades"]
        )
    symbols[symbol] = venue_symbol
    assert strategies.message_parser.extract_symbol(frame) == symbol
    assert strategies.subscription_strategy.create_subscription_messages(
        SubscriptionAction.SUBSCRIBE, [symbol], ["trades"]
    )


def test_canonical_names_follow() -> None:
    symbols = {"BTC/USDT": "BTCUSDT"}
    names = CanonicalNames(symbols)
    assert (names["BTCUSDT"], names.get("ETHUSDT"), len(names)) == ("BTC/USDT", None, 1)
    symbols["ETH/USDT"] = "ETHUSDT"
    assert (names["ETHUSDT"], list(names)) == ("ETH/USDT", ["BTCUSDT", "ETHUSDT"])
    symbols["ETH/USDT"] = "ETHUSDT2"  # it is called otherwise now
    assert (names.get("ETHUSDT"), names["ETHUSDT2"]) == (None, "ETH/USDT")
