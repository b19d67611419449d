"""OKX: the parts of an instrument's name.

Venue docs, "Public Data", "Get instruments": spot is ``BTC-USDT``, a perpetual ``BTC-USDT-SWAP``, a dated
future ``BTC-USD-220527``. The index of a derivative is that of its underlying: ``BTC-USDT``, ``BTC-USD``.
"""

from __future__ import annotations

from typing import Literal

from workers.venues.listing import Currencies

InstrumentType = Literal["SPOT", "SWAP", "FUTURES"]
# Source: ccxt's unified codes (4.5).
CURRENCIES = Currencies({"XBT": "BTC", "BCHSV": "BSV", "AE": "AET"})


def type_of(venue_symbol: str) -> InstrumentType:
    """The instrument type of a venue symbol.

    >>> type_of("BTC-USDT"), type_of("BTC-USDT-SWAP"), type_of("BTC-USD-220527")
    ('SPOT', 'SWAP', 'FUTURES')
    """
    _, _, rest = venue_symbol.partition("-")
    _, dash, last = rest.partition("-")
    if not dash:
        return "SPOT"
    return "SWAP" if last == "SWAP" else "FUTURES"


def index_of(venue_symbol: str) -> str:
    """The index of a derivative. A suffix after an underscore distinguishes families of one underlying.

    >>> index_of("BTC-USD-SWAP"), index_of("BTC-USD_UM-SWAP")
    ('BTC-USD', 'BTC-USD')
    """
    base, _, rest = venue_symbol.partition("-")
    return f"{base}-{rest.partition('-')[0].partition('_')[0]}"


def type_of_canonical(symbol: str) -> InstrumentType:
    """The instrument type of a canonical symbol.

    >>> [type_of_canonical(symbol) for symbol in ("BTC/USDT", "BTC/USDT:USDT", "BTC/USD:BTC-220527")]
    ['SPOT', 'SWAP', 'FUTURES']
    """
    _, colon, settle = symbol.partition(":")
    if not colon:
        return "SPOT"
    return "FUTURES" if "-" in settle else "SWAP"


def plain(symbol: str) -> str:
    """The venue's name of a canonical symbol.

    >>> [plain(symbol) for symbol in ("BTC/USDT", "BTC/USD:BTC", "BTC/USD:BTC-220527")]
    ['BTC-USDT', 'BTC-USD-SWAP', 'BTC-USD-220527']
    """
    pair, colon, settled = symbol.partition(":")
    name = pair.replace("/", "-")
    if not colon:
        return name
    return f"{name}-{settled.partition('-')[2] or 'SWAP'}"
