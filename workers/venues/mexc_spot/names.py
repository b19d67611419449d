"""MEXC spot's names of assets.

Some assets have another code here than at other venues, or one that is another asset's there.
"""

from __future__ import annotations

from workers.venues.listing import Currencies

# Source: ccxt's unified codes (4.5). XBT is not bitcoin here.
CURRENCIES = Currencies(
    {
        "BCHSV": "BSV",
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
)
