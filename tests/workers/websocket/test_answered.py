"""Which connections have lost nothing while the process stood still: those that answer afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from picows.picows import WSMsgType
from ws_bench import Bench, virtual

from workers.contract.errors import PingTimeout
from workers.contract.protocols import ParsedMessage
from workers.websocket.connection import Connection

BTC = ("BTC/USDT", "top")


async def ask(bench: Bench) -> tuple[list[tuple[str, str]], asyncio.Future[None]]:
    answered: list[tuple[str, str]] = []

    def note(topics: Sequence[tuple[str, str]]) -> None:
        answered.extend(topics)

    asking = asyncio.ensure_future(bench.manager.answered(note))
    await bench.clock.settle()
    return answered, asking


@virtual
async def test_a_connection_that_answers_is_named_with_what_it_carries(bench: Bench) -> None:
    await bench.start("BTC/USDT", channels=("top", "trades"))
    answered, asking = await ask(bench)
    await bench.clock.advance(0.1)
    assert asking.done()
    assert sorted(answered) == [BTC, ("BTC/USDT", "trades")]


@virtual
async def test_a_half_open_connection_is_not(bench: Bench) -> None:
    """Data that had come before the standstill is read after it, and proves nothing of the peer."""
    await bench.start("BTC/USDT")
    bench.venue.pongs = False
    answered, asking = await ask(bench)
    await bench.run(4.0)
    assert answered == []
    await bench.run(20.0)
    assert answered == []  # a fresh connection is no answer of the old one
    await asking


@virtual
async def test_what_the_cold_path_has_not_handled_is_waited_for(bench: Bench) -> None:
    bench.sink = None
    gate = asyncio.Event()
    await bench.start("BTC/USDT")

    async def slow(message: ParsedMessage) -> None:
        await gate.wait()

    bench.on_message = slow
    bench.venue.everywhere(b'{"stream":"btcusdt@bookTicker","data":{}}')
    answered, asking = await ask(bench)
    await bench.clock.advance(1.0)
    assert answered == []
    gate.set()
    await bench.clock.advance(1.0)
    assert answered == [BTC]
    await asking


@virtual
async def test_an_answer_that_waits_in_the_socket_is_no_timeout(bench: Bench) -> None:
    """The kind: a deadline that passed while nobody read. Timers come before sockets after a standstill."""
    await bench.start("BTC/USDT")
    patch = pytest.MonkeyPatch()
    try:
        patch.setattr(Connection, "unread", property(lambda connection: 100))
        bench.venue.pongs = False
        await bench.run(14.9)  # pinged at 10, due at 15
        await bench.run(1.0)
        assert not bench.losses
        bench.venue.now.push(b"", kind=WSMsgType.PONG)
        patch.setattr(Connection, "unread", property(lambda connection: 0))
        await bench.run(2.0)
        patch.setattr(Connection, "unread", property(lambda connection: 100))
        await bench.run(40.0)  # for ever unread: not without an end
        assert any(isinstance(each.error, PingTimeout) for each in bench.losses)
    finally:
        patch.undo()
