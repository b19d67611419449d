"""Kraken's names of assets and pairs.

WebSocket v2 writes ccxt's symbols (``BTC/USD``). REST and WebSocket v1 have older names for two assets, XBT
and XDG (as `wsname` in AssetPairs shows), and REST leaves out the slash; its own keys (``XXBTZUSD``) are
needed nowhere.
"""

from __future__ import annotations

OLD_TO_NEW = {"XBT": "BTC", "XDG": "DOGE"}
NEW_TO_OLD = {new: old for old, new in OLD_TO_NEW.items()}


def symbol(wsname: str) -> str:
    """``XBT/USD`` -> ``BTC/USD``: the symbol of WebSocket v2, which is the canonical one."""
    return "/".join(OLD_TO_NEW.get(asset, asset) for asset in wsname.split("/"))


def rest_pair(symbol: str) -> str:
    """``BTC/USD`` -> ``XBTUSD``: what REST takes for `pair`."""
    return "".join(NEW_TO_OLD.get(asset, asset) for asset in symbol.split("/"))
