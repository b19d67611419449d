"""Kraken's names of assets and pairs.

REST and WebSocket v1 have older codes for two assets, XBT and XDG (as `wsname` in AssetPairs shows), which
WebSocket v2 calls BTC and DOGE; REST leaves out the slash of a pair. The keys of AssetPairs (``XXBTZUSD``)
are used only as keys. The canonical symbol has the unified codes, of which more than these two differ: the
venue's ``LUNA/EUR`` (in all of its APIs) is LUNC/EUR.
"""

from __future__ import annotations

from workers.venues.listing import Currencies

OLD_TO_NEW = {"XBT": "BTC", "XDG": "DOGE"}
NEW_TO_OLD = {new: old for old, new in OLD_TO_NEW.items()}
# Source: ccxt's unified codes (4.5). Its codes for AssetPairs' `base` and `quote` (XXBT, ZUSD) are never in a
# `wsname`.
CURRENCIES = Currencies(
    {
        "XBT": "BTC", "XDG": "DOGE", "BCHSV": "BSV", "FEE": "KFEE", "LUNA": "LUNC", "LUNA2": "LUNA",
        "REP": "REPV1", "REPV2": "REP", "UST": "USTC",
    }
)  # fmt: skip


# The codes of assets that are older than the WebSocket, as `base` and `quote` of AssetPairs have them.
OLDEST = {
    f"{letter}{code}": code
    for letter, codes in (
        ("X", ("XBT", "XDG", "ETC", "ETH", "LTC", "MLN", "REP", "XLM", "XMR", "XRP", "ZEC")),
        ("Z", ("USD", "EUR", "GBP", "CAD", "JPY", "AUD")),
    )
    for code in codes
}


def unified_word(word: str) -> str:
    """As `unified`, for any text that may be a code, also one of the oldest.

    >>> unified_word("XXBT"), unified_word("ZUSD"), unified_word("XBT"), unified_word("ZRX")
    ('BTC', 'USD', 'BTC', 'ZRX')
    """
    return unified(OLDEST.get(word, word))


def unified(code: str) -> str:
    """The unified code of a code in `wsname`, in capitals.

    >>> unified("LUNA2"), unified("AAPLx"), unified("BRK.Bx")
    ('LUNA', 'AAPLX', 'BRK.Bx')
    """
    head, dot, tail = code.partition(".")
    return CURRENCIES.unified(head) + dot + tail


def symbol(wsname: str) -> str:
    """The canonical symbol, ``LUNA/EUR`` -> ``LUNC/EUR``. Raises ValueError: `wsname` is no pair."""
    base, slash, quote = wsname.partition("/")
    if not slash:
        raise ValueError(f"{wsname!r} is no pair")
    return f"{unified(base)}/{unified(quote)}"


def stream_symbol(wsname: str) -> str:
    """``XBT/USD`` -> ``BTC/USD``: the symbol of WebSocket v2."""
    return "/".join(OLD_TO_NEW.get(asset, asset) for asset in wsname.split("/"))


def rest_pair(stream_symbol: str) -> str:
    """``BTC/USD`` -> ``XBTUSD``: the parameter `pair` of REST requests."""
    return "".join(NEW_TO_OLD.get(asset, asset) for asset in stream_symbol.split("/"))


def is_tokenized(stream_symbol: str) -> bool:
    """Whether it is a tokenized equity: ``AAPLx/USD``. No other code ends in a small letter."""
    return stream_symbol.partition("/")[0].endswith("x")
