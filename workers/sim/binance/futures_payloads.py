"""Builds Binance USD-M futures' payloads. The order of the fields is that of a recording of 2021; it has no
mark prices, liquidations and single trades (undocumented), which follow the venue's documentation and
published traffic. Numbers have the decimals of tick and lot."""

from __future__ import annotations

from workers.sim.binance.spot_payloads import boolean, levels
from workers.sim.book import Depth, Diff
from workers.sim.funding import Mark
from workers.sim.market import Listing, Trade, decimal_text


def book_ticker(symbol: str, ms: int, update: int, bid: str, bid_size: str, ask: str, ask_size: str) -> bytes:
    """``<s>@bookTicker``; T is the matching engine's time, E the event's."""
    return (
        f'{{"e":"bookTicker","u":{update},"s":"{symbol}","b":"{bid}","B":"{bid_size}",'
        f'"a":"{ask}","A":"{ask_size}","T":{ms},"E":{ms}}}'
    ).encode()


def depth_update(symbol: str, ms: int, diff: Diff, previous: int) -> bytes:
    """``<s>@depth[@100ms|@500ms]``; `pu` is the last id of the event before in this stream."""
    return (
        f'{{"e":"depthUpdate","E":{ms},"T":{ms},"s":"{symbol}","U":{diff.first_id},"u":{diff.last_id},'
        f'"pu":{previous},"b":{levels(diff.bids)},"a":{levels(diff.asks)}}}'
    ).encode()


def partial_depth(symbol: str, ms: int, depth: Depth, diff: Diff, previous: int) -> bytes:
    """``<s>@depth<n>[@100ms|@500ms]``: in the shape of a change, but the best levels whole."""
    return depth_update(symbol, ms, diff._replace(bids=depth.bids, asks=depth.asks), previous)


def rest_depth(depth: Depth, ms: int = 0) -> bytes:
    """``/fapi/v1/depth``"""
    return (
        f'{{"lastUpdateId":{depth.last_id},"E":{ms},"T":{ms},'
        f'"bids":{levels(depth.bids)},"asks":{levels(depth.asks)}}}'
    ).encode()


def trade(symbol: str, ms: int, match: Trade, price: str, size: str) -> bytes:
    """``<s>@trade``"""
    return (
        f'{{"e":"trade","E":{ms},"T":{ms},"s":"{symbol}","t":{match.id},"p":"{price}","q":"{size}",'
        f'"X":"MARKET","m":{boolean(match.buyer_is_maker)}}}'
    ).encode()


def agg_trade(symbol: str, ms: int, number: int, first: Trade, last: Trade, price: str, size: str) -> bytes:
    """``<s>@aggTrade``: one taker order at one price."""
    return (
        f'{{"e":"aggTrade","E":{ms},"a":{number},"s":"{symbol}","p":"{price}","q":"{size}",'
        f'"f":{first.id},"l":{last.id},"T":{ms},"m":{boolean(first.buyer_is_maker)}}}'
    ).encode()


def mark_price(symbol: str, ms: int, mark: Mark, decimals: int) -> bytes:
    """``<s>@markPrice@1s``: 8 decimals whatever the tick; `P` is the estimated settlement price."""
    price, index = decimal_text(mark.mark, decimals), decimal_text(mark.spot, decimals)
    return (
        f'{{"e":"markPriceUpdate","E":{ms},"s":"{symbol}","p":"{price}","i":"{index}","P":"{index}",'
        f'"r":"{mark.rate_text}","T":{mark.next_ms}}}'
    ).encode()


def contract(listing: Listing, ms: int) -> bytes:
    """``!contractInfo``: a contract's status, without brackets, which are sent only when they change."""
    return (
        f'{{"e":"contractInfo","E":{ms},"s":"{listing.venue_symbol}","ct":"PERPETUAL","dt":4133404800000,'
        f'"ot":1569398400000,"cs":"{listing.status or "TRADING"}","st":1}}'
    ).encode()


def liquidation(symbol: str, ms: int, match: Trade, price: str, size: str) -> bytes:
    """``<s>@forceOrder``: the order that closed a position, filled at once."""
    side = "SELL" if match.buyer_is_maker else "BUY"
    return (
        f'{{"e":"forceOrder","E":{ms},"o":{{"s":"{symbol}","S":"{side}","o":"LIMIT","f":"IOC","q":"{size}",'
        f'"p":"{price}","ap":"{price}","X":"FILLED","l":"{size}","z":"{size}","T":{ms}}}}}'
    ).encode()
