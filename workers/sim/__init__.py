"""Simulated venues on loopback: each one's own WebSocket and REST protocol, with a synthetic market or the
replay of a capture, and faults on command. They are part of the product (``tickring demo``, ``tickring sim``)
and what the tests run against; they share no code with the workers' parsers and books. `FEEDS` names the
venues; each is a *dialect* on top of common machinery (`workers.sim.dialect`).

>>> import asyncio
>>> from workers.sim import SimVenue
>>> async def urls():
...     async with SimVenue(seed=7) as venue:
...         return venue.ws_url.startswith("ws://127.0.0.1:"), venue.book("BTC/USDT").bids[0][0]
>>> asyncio.run(urls())[0]
True
"""

from workers.sim.command import main, serve
from workers.sim.dialect import Dialect
from workers.sim.faults import Fault, Faults
from workers.sim.hub import Rules
from workers.sim.keys import SimKey
from workers.sim.venue import FEEDS, SimError, SimVenue

cli = main

__all__ = [
    "FEEDS",
    "Dialect",
    "Fault",
    "Faults",
    "Rules",
    "SimError",
    "SimKey",
    "SimVenue",
    "cli",
    "main",
    "serve",
]
