"""Binance USD-M futures's frames for its tests: one of each shape, and the market's decoders."""

from __future__ import annotations

import json

from tests.workers.venues.binance.decoder_kit import Market
from workers.decode.normal import Scale
from workers.venues.binance_futures import schema
from workers.venues.binance_futures._decode import Decoder
from workers.venues.binance_futures.instruments import instruments, symbol_of
from workers.venues.binance_futures.parser import DIALECT, normalise

SCALES = {"SUSHIUSDT": Scale(0, 3, 0), "BTCUSDT": Scale(7, 4, 3), "BTCUSDT_261225": Scale(3, 1, 3)}
# Shapes of 2021, as captured, and as the venue documents them.
TOP = (
    b'{"e":"bookTicker","u":600859600576,"s":"SUSHIUSDT","b":"7.6110","B":"2","a":"7.6120","A":"297",'
    b'"T":1626992741012,"E":1626992741017}'
)
TOP_DOCUMENTED = (
    b'{"e":"bookTicker","u":400900217,"E":1568014460893,"T":1568014460891,"s":"BTCUSDT","b":"25.35190000",'
    b'"B":"31.210","a":"25.36520000","A":"40.660"}'
)
DEPTH = (
    b'{"e":"depthUpdate","E":1626992741037,"T":1626992741024,"s":"SUSHIUSDT","U":600859599090,"u":600859600917,'
    b'"pu":600859598061,"b":[["7.5040","813"],["7.6090","0"]],"a":[["7.6150","1563"]]}'
)
TRADE = (
    b'{"e":"trade","E":1676160600276,"T":1676160600269,"s":"BTCUSDT","t":3280342045,"p":"21845.10","q":"0.001",'
    b'"X":"MARKET","m":false}'
)
AGG_TRADE = (
    b'{"e":"aggTrade","E":1626992741575,"a":16599292,"s":"SUSHIUSDT","p":"7.61100","q":"10","f":23961322,'
    b'"l":23961324,"T":1626992741421,"m":true}'
)
AGG_TRADE_DOCUMENTED = (
    b'{"e":"aggTrade","E":123456789,"s":"BTCUSDT","a":5933014,"p":"0.001","q":"100","f":100,"l":105,'
    b'"T":123456785,"m":true}'
)
TICKER = (
    b'{"e":"24hrTicker","E":1787492324171,"s":"BTCUSDT","p":"355.50","P":"-0.461","w":"76764.07","c":"77490.00",'
    b'"Q":"0.001","o":"77134.50","h":"77771.60","l":"75588.00","v":"115619.606","q":"88754314.20",'
    b'"O":1787405880000,"C":1787492324171,"F":8003360342,"L":8006170931,"n":2798861}'
)
MARK = (
    b'{"e":"markPriceUpdate","E":1771263510000,"s":"BTCUSDT","p":"68005.80802899","P":"67836.82194783",'
    b'"i":"68035.14043478","r":"-0.00004435","T":1771286400000}'
)
MARK_DOCUMENTED = (
    b'{"e":"markPriceUpdate","E":1562305380000,"s":"BTCUSDT","p":"11794.15000000","i":"11784.62659091",'
    b'"P":"11784.25641265","r":"0.00038167","T":1562306400000}'
)
LIQUIDATION = (
    b'{"e":"forceOrder","E":1568014460893,"o":{"s":"BTCUSDT","S":"SELL","o":"LIMIT","f":"IOC","q":"0.190",'
    b'"p":"82338.30","ap":"82651.90","X":"FILLED","l":"0.155","z":"0.190","T":1568014460893}}'
)
OLD = [
    TOP, TOP_DOCUMENTED, DEPTH, TRADE, AGG_TRADE, AGG_TRADE_DOCUMENTED, TICKER, MARK, MARK_DOCUMENTED,
    LIQUIDATION,
]  # fmt: skip


def of_2026(event: bytes) -> bytes:
    """The same as it is today, with the fields that have come since."""
    data = json.loads(event)
    inner = data.get("o") if isinstance(data.get("o"), dict) else data
    new = {}
    for key, value in inner.items():
        new[key] = value
        if key == "s" and inner is data:
            new["ps"] = value[:7]
        elif key == "q" and data["e"] == "aggTrade":
            new["nq"] = value
        elif key == "p" and data["e"] == "markPriceUpdate":
            new["ap"] = value
    if inner is not data:
        new["ps"] = inner["s"][:7]
    new["st"] = 1
    whole = new if inner is data else {**data, "o": new}
    return json.dumps(whole, separators=(",", ":")).encode()


EVENTS = OLD + [of_2026(event) for event in OLD]

FUTURES = Market(
    name="binance_futures",
    decoder=Decoder,
    dialect=DIALECT,
    normalise=normalise,
    read_listing=schema.read_listing,
    instruments=instruments,
    symbol_of=symbol_of,
    scales=SCALES,
    events=EVENTS,
    depth=DEPTH,
    stream="sushiusdt@depth@100ms",
    level=b'["%d.5","1"]',
)
