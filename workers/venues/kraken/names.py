"""Kraken's names of assets and pairs.

REST and WebSocket v1 have older codes for two assets, XBT and XDG (as `wsname` in AssetPairs shows), which
WebSocket v2 calls BTC and DOGE; REST leaves out the slash of a pair. The keys of AssetPairs (``XXBTZUSD``)
tell entries apart and say nothing else. The canonical symbol has the unified codes, of which more than these
two differ: what is ``LUNA/EUR`` in every one of the venue's APIs is LUNC/EUR.
"""

from __future__ import annotations

from workers.venues.listing import Currencies

OLD_TO_NEW = {"XBT": "BTC", "XDG": "DOGE"}
NEW_TO_OLD = {new: old for old, new in OLD_TO_NEW.items()}
# Source: what ccxt (4.5) calls them. Those that it has for AssetPairs' `base` and `quote` (XXBT, ZUSD) never
# stand in a `wsname`.
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
    """As `unified`, of any text that may be a code, the oldest ones among them.

    >>> unified_word("XXBT"), unified_word("ZUSD"), unified_word("XBT"), unified_word("ZRX")
    ('BTC', 'USD', 'BTC', 'ZRX')
    """
    return unified(OLDEST.get(word, word))


def unified(code: str) -> str:
    """The unified code of one in `wsname`; of a tokenized equity it is in capitals, as all are.

    >>> unified("LUNA2"), unified("AAPLx"), unified("BRK.Bx")
    ('LUNA', 'AAPLX', 'BRK.Bx')
    """
    head, dot, tail = code.partition(".")
    return CURRENCIES.unified(head) + dot + tail


def symbol(wsname: str) -> str:
    """``LUNA/EUR`` -> ``LUNC/EUR``: the canonical symbol. ValueError: it is no pair."""
    base, slash, quote = wsname.partition("/")
    if not slash:
        raise ValueError(f"{wsname!r} is no pair")
    return f"{unified(base)}/{unified(quote)}"


def stream_symbol(wsname: str) -> str:
    """``XBT/USD`` -> ``BTC/USD``: the symbol of WebSocket v2."""
    return "/".join(OLD_TO_NEW.get(asset, asset) for asset in wsname.split("/"))


def rest_pair(stream_symbol: str) -> str:
    """``BTC/USD`` -> ``XBTUSD``: what REST takes for `pair`."""
    return "".join(NEW_TO_OLD.get(asset, asset) for asset in stream_symbol.split("/"))


def is_tokenized(stream_symbol: str) -> bool:
    """Whether it is a tokenized equity: ``AAPLx/USD``. No other code has small letters at its end."""
    return stream_symbol.partition("/")[0].endswith("x")
