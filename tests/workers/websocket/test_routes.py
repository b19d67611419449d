"""A venue with several addresses: each channel is asked for where it is."""

from __future__ import annotations

import copy

from ws_bench import SYMBOLS, Bench, FakeTransport, Venue, VirtualClock, virtual

from workers.contract.errors import ConnectionFailed
from workers.contract.protocols import ConnectionState, MessageBudget
from workers.websocket.wire import WireListener

NAMES = [name for name in SYMBOLS if name.startswith("S")]
ROUTES = {"top": "fast", "book": "fast", "trades": "fast", "ticker": "slow"}


class RoutedVenue(Venue):
    """The scripted venue at two addresses; each knows its own streams only, and answers to all."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.here = ""
        self.dialled: list[str] = []

    def route(self, channel: str) -> str:
        return ROUTES[channel]

    def at(self, route: str) -> RoutedVenue:
        there = copy.copy(self)  # what is noted is noted in one place
        there.here = route
        return there

    async def connect(self, listener: WireListener) -> FakeTransport:
        self.dialled.append(self.here)
        return await super().connect(listener)


def streams(venue: Venue) -> list[set[str]]:
    return [{name.split("@", 1)[1] for name in transport.subscribed} for transport in venue.live]


@virtual
async def test_each_channel_is_asked_for_at_its_address(bench: Bench) -> None:
    bench.venue = venue = RoutedVenue(bench.clock)
    manager = await bench.start(*NAMES[:2], channels=("top", "ticker", "book"))
    assert venue.dialled == ["fast", "slow"]
    assert streams(venue) == [{"bookTicker", "depth@100ms"}, {"ticker"}]
    assert {event.shard: event.channels for event in bench.events} == {0: ("top", "book"), 1: ("ticker",)}
    assert len(manager.active) == 6
    await manager.subscribe([NAMES[2]], ["trades", "ticker"])  # there is room at both
    assert venue.dialled == ["fast", "slow"]
    assert streams(venue) == [{"bookTicker", "depth@100ms", "trade"}, {"ticker"}]
    assert manager.state is ConnectionState.CONNECTED


@virtual
async def test_a_connection_comes_back_at_its_address_and_its_replacement_too(bench: Bench) -> None:
    bench.venue = venue = RoutedVenue(bench.clock)
    venue._budget = MessageBudget(connects=10_000, connects_per=1.0, connect_burst=100)
    manager = await bench.start(NAMES[0], channels=("top", "ticker"))
    venue.transports[1].drop()
    await bench.run(5.0)
    assert venue.dialled == ["fast", "slow", "slow"]
    venue.script[:] = [ConnectionFailed("refused")]
    venue.transports[0].drop()
    await bench.run(5.0)
    assert venue.dialled == ["fast", "slow", "slow", "fast", "fast"]
    assert manager.is_connected()
    assert sorted(map(sorted, streams(venue))) == [["bookTicker"], ["ticker"]]


@virtual
async def test_without_a_topic_the_one_connection_is_that_of_the_default_channels(bench: Bench) -> None:
    bench.venue = venue = RoutedVenue(bench.clock)
    manager = bench.build()
    await manager.initialize([], ["ticker"])
    assert venue.dialled == ["slow"]
    await manager.subscribe([NAMES[0]])
    assert venue.dialled == ["slow"]
