"""MEXC spot's names of assets.

Some assets the venue calls otherwise than others do, or by a name that is another asset's elsewhere.
"""

from __future__ import annotations

from workers.venues.listing import Currencies

# Source: what ccxt (4.5) calls them. XBT is no other name of bitcoin here.
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
