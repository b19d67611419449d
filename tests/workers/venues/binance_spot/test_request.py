"""Binance spot's requests."""

from __future__ import annotations

from workers.contract.protocols import HTTPMethod, RequestContext
from workers.venues.binance.request import BinanceRequests


def test_parameters_become_text_in_order_and_absent_ones_go() -> None:
    prepared = BinanceRequests(RequestContext(base_url="https://x")).prepare_request(
        HTTPMethod.GET,
        "/api/v3/exchangeInfo",
        {"symbols": ["BTCUSDT", "ETHUSDT"], "limit": 5, "flag": True, "none": None},
        None,
    )
    assert prepared.path == "/api/v3/exchangeInfo"
    assert prepared.params == (("symbols", '["BTCUSDT","ETHUSDT"]'), ("limit", "5"), ("flag", "true"))


def test_the_context_is_what_was_given() -> None:
    context = RequestContext(base_url="https://x", timeout=3.0)
    assert BinanceRequests(context).create_request_context() is context
