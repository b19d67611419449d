"""MEXC spot's names of assets.

Some assets the venue calls otherwise than others do, or by a name that is another asset's elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping

# The venue's name -> the unified one. Source: ccxt, `commonCurrencies` of its MEXC adapter (v4, 2026).
ALIASES: Mapping[str, str] = {
    "BEYONDPROTOCOL": "BEYOND",
    "BIFI": "BIFIF",
    "BYN": "BEYONDFI",
    "COFI": "COFIX",
    "DFI": "DFISTARTER",
    "DFT": "DFUTURE",
    "EGC": "EGORASCREDIT",
    "FLUX1": "FLUX",
    "FLUX": "FLUX1",
    "FREE": "FREEROSSDAO",
    "GAS": "GASDAO",
    "GASNEO": "GAS",
    "GMT": "GMTTOKEN",
    "STEPN": "GMT",
    "HERO": "STEPHERO",
    "MIMO": "MIMOSA",
    "PROS": "PROSFINANCE",
    "SIN": "SINCITYTOKEN",
    "SOUL": "SOULSWAP",
}


def symbol(base: str, quote: str) -> str:
    """The canonical symbol, ``BTC/USDT``.

    >>> symbol("STEPN", "USDT")
    'GMT/USDT'
    """
    return f"{ALIASES.get(base, base)}/{ALIASES.get(quote, quote)}"
