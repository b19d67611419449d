"""Binance spot's frames for its tests: one of each shape, and the market's decoders."""

from __future__ import annotations

from tests.workers.venues.binance.decoder_kit import Market
from workers.decode.normal import Scale
from workers.venues.binance_spot import schema
from workers.venues.binance_spot._decode import Decoder
from workers.venues.binance_spot.instruments import instruments, symbol_of
from workers.venues.binance_spot.parser import DIALECT, normalise

SCALES = {"NKNUSDT": Scale(0, 4, 0), "BLZETH": Scale(1, 8, 0), "BTCUSDT": Scale(7, 2, 5)}
TOP = (
    b'{"u":499869768,"s":"NKNUSDT","b":"0.35210000","B":"672.00000000","a":"0.35260000","A":"3199.00000000"}'
)
DEPTH = (
    b'{"e":"depthUpdate","E":1633998512068,"s":"NKNUSDT","U":499869750,"u":499869752,'
    b'"b":[["0.35130000","6195.00000000"],["0.34750000","0.00000000"]],"a":[["0.35260000","1.00000000"]]}'
)
TRADE = (
    b'{"e":"trade","E":1633998523963,"s":"BTCUSDT","t":15683430,"p":"57211.15000000","q":"0.03412000",'
    b'"T":1633998523962,"m":true,"M":true}'
)
AGG_TRADE = (
    b'{"e":"aggTrade","E":1633998523963,"s":"NKNUSDT","a":15683430,"p":"0.35280000","q":"58.00000000",'
    b'"f":19862790,"l":19862792,"T":1633998523963,"m":false,"M":true}'
)
TICKER = (
    b'{"e":"24hrTicker","E":1633998512068,"s":"BTCUSDT","p":"-0.00150000","P":"-2.100","w":"57000.35180000",'
    b'"x":"57100.00000000","c":"57211.15000000","Q":"0.00100000","b":"57211.14000000","B":"1.00000000",'
    b'"a":"57211.15000000","A":"0.50000000","o":"57100.00000000","h":"57900.01000000","l":"56100.99000000",'
    b'"v":"41023.12345000","q":"2338318031.8001234","O":1633912112068,"C":1633998512068,"F":-1,"L":1815,"n":1816}'
)
EVENTS = [TOP, DEPTH, TRADE, AGG_TRADE, TICKER]

SPOT = Market(
    name="binance_spot",
    decoder=Decoder,
    dialect=DIALECT,
    normalise=normalise,
    read_listing=schema.read_listing,
    instruments=instruments,
    symbol_of=symbol_of,
    scales=SCALES,
    events=EVENTS,
    depth=DEPTH,
    stream="nknusdt@depth@100ms",
    level=b'["%d.00000000","1.00000000"]',
)
