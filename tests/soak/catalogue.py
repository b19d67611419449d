"""The faults of a soak: what goes wrong, for how long, and how soon everything must be LIVE again.

A fault is a function of the stage (`Stage`): it does its harm, waits while that lasts, and takes it back.
None flips a bit of a payload: this venue sends no checksum that would show it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple, Protocol

from tests.faults import (
    Accept,
    Blackhole,
    Corrupt,
    Corruption,
    Cut,
    Direction,
    Drop,
    Duplicate,
    FaultProxy,
    Half,
    Hole,
    How,
    Latency,
    Refuse,
    Reorder,
    Stall,
    Throttle,
)

DOWN, UP = Direction.DOWN, Direction.UP


class Stage(Protocol):
    """What faults act on."""

    ws: FaultProxy
    rest: FaultProxy
    random: random.Random

    async def sim(self, kind: str, **order: object) -> None:
        """An order to the simulated venue, past the proxies."""

    async def forgive(self) -> None:
        """The simulated venue's orders are void."""

    async def restart_venue(self, away: float) -> None:
        """SIGKILL, and a new one after `away` seconds."""


class Kind(NamedTuple):
    """One kind of fault; `bound`: seconds from its end until all is LIVE again with fresh data."""

    name: str
    strike: Callable[[Stage], Awaitable[None]]
    bound: float


async def _gap(stage: Stage) -> None:
    """A gap in one symbol's depth: its book asks REST for a snapshot."""
    await stage.sim("gap", stream="btcusdt@depth@100ms", count=1)
    await asyncio.sleep(1.0)


async def _again(stage: Stage) -> None:
    """Every connection is made anew."""
    stage.ws.order(Cut(count=max(1, len(stage.ws.links)), lasts=1.0))


# -- the wire of the WebSocket ---------------------------------------------------------------------------
async def reset(stage: Stage) -> None:
    await _again(stage)


async def end(stage: Stage) -> None:
    stage.ws.order(Cut(direction=DOWN, how=How.FIN, lasts=2.0))


async def reset_somewhere(stage: Stage) -> None:
    stage.ws.order(Cut(direction=DOWN, after=stage.random.randrange(1, 4000), lasts=5.0))
    await asyncio.sleep(1.0)


async def half_a_frame(stage: Stage) -> None:
    stage.ws.order(Half(direction=DOWN, how=stage.random.choice(list(How)), lasts=5.0))
    await asyncio.sleep(1.0)


async def cut_handshake(stage: Stage) -> None:
    for direction in (DOWN, UP):
        after = stage.random.randrange(0, 129)
        stage.ws.order(Cut(connection=stage.ws.accepted + 1, direction=direction, after=after, lasts=5.0))
        await _again(stage)
        await asyncio.sleep(1.0)


async def blackhole(stage: Stage) -> None:
    stage.ws.order(Blackhole(direction=stage.random.choice(list(Direction)), lasts=1.0))
    await asyncio.sleep(1.0)


async def stall(stage: Stage) -> None:
    stage.ws.order(Stall(lasts=1.0))
    await asyncio.sleep(1.0)


async def latency(stage: Stage) -> None:
    stage.ws.order(Latency(seconds=0.05, jitter=0.045, lasts=3.0))
    await asyncio.sleep(3.0)


async def slow(stage: Stage) -> None:
    stage.ws.order(Throttle(rate=20_000.0, direction=DOWN, lasts=2.0))
    await asyncio.sleep(2.0)


async def refuse(stage: Stage) -> None:
    stage.ws.order(Refuse(count=3, how=stage.random.choice([How.RST, How.FIN]), lasts=5.0))
    await _again(stage)
    await asyncio.sleep(1.0)


async def port_closed(stage: Stage) -> None:
    stage.ws.refuse()
    stage.ws.reset_all()
    await asyncio.sleep(1.5)
    stage.ws.listen()


async def slow_accept(stage: Stage) -> None:
    stage.ws.order(Accept(seconds=1.0, lasts=3.0))
    await _again(stage)
    await asyncio.sleep(1.0)


async def lost_frames(stage: Stage) -> None:
    stage.ws.order(Drop(direction=DOWN, text="depthUpdate", count=3, lasts=3.0))
    await asyncio.sleep(1.0)


async def doubled_frames(stage: Stage) -> None:
    stage.ws.order(Duplicate(direction=DOWN, text="depthUpdate", count=5, lasts=3.0))
    await asyncio.sleep(1.0)


async def swapped_frames(stage: Stage) -> None:
    stage.ws.order(Reorder(direction=DOWN, text="depthUpdate", count=3, lasts=3.0))
    await asyncio.sleep(1.0)


async def corrupt_frame(stage: Stage) -> None:
    kinds = [what for what in Corruption if what is not Corruption.FLIP]
    stage.ws.order(Corrupt(direction=DOWN, what=stage.random.choice(kinds), lasts=3.0))
    await asyncio.sleep(1.0)


async def lost_bytes(stage: Stage) -> None:
    after, size = stage.random.randrange(2000), stage.random.randrange(1, 400)
    stage.ws.order(Hole(direction=DOWN, after=after, size=size, lasts=3.0))
    await asyncio.sleep(1.0)


# -- REST ------------------------------------------------------------------------------------------------
async def rest_reset(stage: Stage) -> None:
    stage.rest.reset_all()
    stage.rest.order(Cut(count=2, after=stage.random.randrange(200), lasts=2.0))
    await _gap(stage)


async def rest_blackhole(stage: Stage) -> None:
    stage.rest.order(Blackhole(lasts=1.0))
    await _gap(stage)


async def rest_half_answer(stage: Stage) -> None:
    stage.rest.order(Cut(direction=DOWN, after=700, how=How.FIN, lasts=2.0))
    await _gap(stage)


async def rest_refused(stage: Stage) -> None:
    stage.rest.refuse()
    stage.rest.reset_all()
    await _gap(stage)
    stage.rest.listen()


async def rest_5xx(stage: Stage) -> None:
    await stage.sim("rest", status=503, path="/api/v3/depth", count=2)
    await _gap(stage)


async def rest_429(stage: Stage) -> None:
    await stage.sim("rest", status=429, path="/api/v3/depth", count=1, retry_after=1)
    await _gap(stage)


async def rest_418(stage: Stage) -> None:
    await stage.sim("rest", status=418, path="/api/v3/depth", count=1, retry_after=2)
    await _gap(stage)


async def old_snapshot(stage: Stage) -> None:
    await stage.sim("stale_snapshot", symbol="BTCUSDT", count=2)
    await _gap(stage)


# -- the venue -------------------------------------------------------------------------------------------
async def crossed(stage: Stage) -> None:
    await stage.sim("crossed", stream="*@depth@100ms", count=1)
    await asyncio.sleep(0.5)


async def malformed(stage: Stage) -> None:
    await stage.sim("malformed", stream="*@bookTicker", count=5)
    await asyncio.sleep(0.5)


async def oversized(stage: Stage) -> None:
    await stage.sim("oversized", stream="*@bookTicker", size=200_000, count=1)
    await asyncio.sleep(0.5)


async def silent_symbol(stage: Stage) -> None:
    await stage.sim("silent", symbol="ETHUSDT", count=None)
    await asyncio.sleep(5.0)
    await stage.forgive()


async def half_open(stage: Stage) -> None:
    await stage.sim("half_open")


async def venue_reset(stage: Stage) -> None:
    await stage.sim("reset")


async def reset_in_a_frame(stage: Stage) -> None:
    await stage.sim("reset_frame", stream="*@depth@100ms", count=1)
    await asyncio.sleep(0.5)


async def reset_in_the_handshake(stage: Stage) -> None:
    await stage.sim("reset_handshake", count=2)
    await stage.sim("reset")
    await asyncio.sleep(1.0)


async def planned_disconnect(stage: Stage) -> None:
    await stage.sim("shutdown")


async def venue_killed(stage: Stage) -> None:
    await stage.restart_venue(stage.random.uniform(0.2, 2.0))


QUICK = 10.0
KINDS: tuple[Kind, ...] = (
    *(
        Kind(strike.__name__, strike, QUICK)
        for strike in (
            reset, end, reset_somewhere, half_a_frame, cut_handshake, blackhole, stall, latency, slow, refuse,
            port_closed, slow_accept, lost_frames, doubled_frames, swapped_frames, corrupt_frame, lost_bytes,
            rest_reset, rest_blackhole, rest_half_answer, rest_refused, rest_5xx, rest_429, rest_418,
            old_snapshot, crossed, malformed, oversized, half_open, venue_reset, reset_in_a_frame,
            reset_in_the_handshake, planned_disconnect,
        )
    ),
    Kind("silent_symbol", silent_symbol, 15.0),  # its renewal is due only after `first_event_after`
    Kind("venue_killed", venue_killed, 15.0),
)  # fmt: skip


def draw(seed: int) -> Iterator[Kind]:
    """All kinds in a random order, then all again in another: none is left out, and none is rare."""
    order = random.Random(seed)
    while True:
        bag = list(KINDS)
        order.shuffle(bag)
        yield from bag
