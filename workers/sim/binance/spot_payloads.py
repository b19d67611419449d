"""Builds Binance spot's payloads, as recorded: order of fields, numbers as text, no spaces."""

from __future__ import annotations

from workers.sim.book import Depth, Diff, Level
from workers.sim.market import Trade


def levels(side: list[Level]) -> str:
    """``[["0.35","12.0"],…]``"""
    return "[" + ",".join(f'["{price}","{size}"]' for price, size in side) + "]"


def book_ticker(symbol: str, ms: int, update: int, bid: str, bid_size: str, ask: str, ask_size: str) -> bytes:
    """``<s>@bookTicker``: no event time, no `e`."""
    return (
        f'{{"u":{update},"s":"{symbol}","b":"{bid}","B":"{bid_size}","a":"{ask}","A":"{ask_size}"}}'
    ).encode()


def depth_update(symbol: str, ms: int, diff: Diff, previous: int) -> bytes:
    """``<s>@depth[@100ms]``; `previous` is not sent: U is the id after it."""
    return (
        f'{{"e":"depthUpdate","E":{ms},"s":"{symbol}","U":{diff.first_id},"u":{diff.last_id},'
        f'"b":{levels(diff.bids)},"a":{levels(diff.asks)}}}'
    ).encode()


def partial_depth(symbol: str, ms: int, depth: Depth, diff: Diff, previous: int) -> bytes:
    """``<s>@depth<n>``: the same as a REST snapshot."""
    return rest_depth(depth)


def rest_depth(depth: Depth, ms: int = 0) -> bytes:
    """``/depth``: no symbol, no time."""
    return (
        f'{{"lastUpdateId":{depth.last_id},"bids":{levels(depth.bids)},"asks":{levels(depth.asks)}}}'
    ).encode()


def trade(symbol: str, ms: int, match: Trade, price: str, size: str) -> bytes:
    """``<s>@trade``; `m`: the buyer was the maker, so the taker sold."""
    return (
        f'{{"e":"trade","E":{ms},"s":"{symbol}","t":{match.id},"p":"{price}","q":"{size}","T":{ms},'
        f'"m":{boolean(match.buyer_is_maker)},"M":true}}'
    ).encode()


def agg_trade(symbol: str, ms: int, number: int, first: Trade, last: Trade, price: str, size: str) -> bytes:
    """``<s>@aggTrade``: one taker order at one price."""
    return (
        f'{{"e":"aggTrade","E":{ms},"s":"{symbol}","a":{number},"p":"{price}","q":"{size}",'
        f'"f":{first.id},"l":{last.id},"T":{ms},"m":{boolean(first.buyer_is_maker)},"M":true}}'
    ).encode()


def boolean(value: bool) -> str:
    """A JSON boolean."""
    return "true" if value else "false"
