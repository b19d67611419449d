"""Binance spot's requests."""

from __future__ import annotations

from workers.strategies import HTTPMethod
from workers.venues.binance_spot.request import BinanceSpotRequests


def test_parameters_become_text_in_order_and_absent_ones_go() -> None:
    prepared = BinanceSpotRequests("https://api.binance.com/").prepare_request(
        HTTPMethod.GET,
        "/api/v3/exchangeInfo",
        {"symbols": ["BTCUSDT", "ETHUSDT"], "limit": 5, "flag": True, "none": None},
        None,
    )
    assert prepared.path == "/api/v3/exchangeInfo"
    assert prepared.params == (("symbols", '["BTCUSDT","ETHUSDT"]'), ("limit", "5"), ("flag", "true"))


def test_the_context_is_what_was_asked() -> None:
    context = BinanceSpotRequests(
        "https://api.binance.com/", timeout=3.0, max_concurrent=4
    ).create_request_context()
    assert (context.base_url, context.timeout, context.max_concurrent) == ("https://api.binance.com", 3.0, 4)
