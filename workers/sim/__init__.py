"""The simulated venue: real wire protocol on loopback, a synthetic market or a capture's replay, faults
on command. It ships with the product (``tickring demo``, ``tickring sim``) and is what the tests trade
against; it shares no code with the workers' parsers and books.

>>> import asyncio
>>> from workers.sim import SimVenue
>>> async def urls():
...     async with SimVenue(seed=7) as venue:
...         return venue.ws_url.startswith("ws://127.0.0.1:"), venue.book("BTC/USDT").bids[0][0]
>>> asyncio.run(urls())[0]
True
"""

from workers.sim.command import main, serve
from workers.sim.faults import Fault, Faults
from workers.sim.hub import Rules
from workers.sim.keys import SimKey
from workers.sim.venue import FEEDS, SimError, SimVenue

cli = main

__all__ = ["FEEDS", "Fault", "Faults", "Rules", "SimError", "SimKey", "SimVenue", "cli", "main", "serve"]
