"""A subscription counts when it is acknowledged *and* delivers; everything else that a venue may do is
noticed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import WSMsgType, web

from shm import Reason, Scope, State
from shm.events import Code
from tests.conformance.fixture import REFUSALS
from tests.conformance.live import Live, run, working
from tests.conformance.report import Case, row
from workers.sim import SimVenue

Answer = Callable[[bytes], list[tuple[bool, bytes]]]


@contextlib.asynccontextmanager
async def answering(answer: Answer, heard: list[bytes]) -> AsyncIterator[str]:
    """A WebSocket server that sends what `answer` returns for each message of a client, and nothing else; its
    URL. `heard`: the clients' messages."""

    async def talk(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                continue
            heard.append(message.data.encode())
            for binary, payload in answer(message.data.encode()):
                await (socket.send_bytes(payload) if binary else socket.send_str(payload.decode()))
        return socket

    app = web.Application()
    app.router.add_get("/{path:.*}", talk)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"ws://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def seen(live: Live, code: Code) -> set[str]:
    """Symbols that the feed's log names in events of this code."""
    logged = [event for event in live.feed.events(200) if event.code == code.name.lower()]
    return {symbol for symbol in live.symbols for event in logged if symbol in (event.symbol or event.text)}


def none_live(live: Live, *scopes: Scope) -> bool:
    return all(
        live.feed.cell_state(symbol, scope) is not State.LIVE for symbol in live.symbols for scope in scopes
    )


@row(18, "One symbol is acknowledged and silent: logged by name, subscribed again, not LIVE; the others are")
def test_an_acknowledgement_alone_is_no_data(case: Case, instance: str) -> None:
    async def main() -> None:
        sim = SimVenue(case.fixture.feed, symbols=case.fixture.symbols, rate=0.0)
        silent, *others = case.fixture.symbols
        sim.faults.silent(symbol=silent)
        async with working(case, instance, sim, first_event_after=0.3) as live:
            await live.until(lambda: seen(live, Code.FIRST_EVENT_MISSED) == {silent}, "logged")
            await live.until(lambda: live.counted("resubscribes") >= 1, "subscribed again")
            await live.until(lambda: live.live(*others), "the others are LIVE")
            await live.until(lambda: live.counted("first_event_misses") >= 1, "counted")
            assert live.feed.cell_state(silent, Scope.TOP) is not State.LIVE
            live.sim.faults.clear()
            await live.all_live()

    run(main())


@row(19, "All is acknowledged and nothing is delivered or proven by REST: never LIVE, and connected again")
def test_acknowledgements_alone_are_no_feed(case: Case, instance: str) -> None:
    heard: list[bytes] = []

    async def main() -> None:
        sim = SimVenue(case.fixture.feed, symbols=case.fixture.symbols, rate=0.0)
        for path in ("*[Dd]epth*", "*/books*"):  # whose answer would show that the market stands still
            sim.faults.rest(path=path, count=None)
        async with (
            answering(case.fixture.accept, heard) as url,
            working(case, instance, sim, ws_url=url, first_event_after=0.2, stale_after=5.0) as live,
        ):
            await live.until(lambda: live.counted("acks") >= 1, "acknowledged", pump=False)
            await live.until(lambda: live.counted("connects") >= 3, "connected again", pump=False)
            assert len(heard) >= 3
            assert live.feed.state is not State.LIVE
            assert none_live(live, Scope.TOP)

    run(main())


@pytest.mark.parametrize("refusal", REFUSALS)
@row(20, "A subscription that is {refusal}: logged by symbol, its cells DOWN")
def test_a_refusal_is_logged(case: Case, refusal: str, instance: str) -> None:
    refuse = case.fact(case.fixture.refuse[refusal])
    run(refused(case, refuse, instance))


async def refused(case: Case, refuse: Answer, instance: str) -> None:
    async with answering(refuse, []) as url, working(case, instance, ws_url=url) as live:
        wanted = len(live.symbols) * len(case.fixture.channels)
        await live.until(lambda: live.counted("rejects") >= wanted, "every one is counted", pump=False)
        assert seen(live, Code.REJECTED) >= set(live.symbols)
        for symbol in live.symbols:
            assert live.feed.book(symbol, allow_stale=True).reason is Reason.UNSUBSCRIBED
        assert none_live(live, Scope.TOP, Scope.BOOK)


# -- negative controls --------------------------------------------------------------------------------------
def test_a_refusal_that_is_taken_for_an_acceptance_is_noticed(instance: str) -> None:
    """Negative control of row 20: a venue that accepts everything has refused nothing."""
    from tests.conformance.test_recovery import case_of

    case = case_of("binance_spot")

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(refused(case, case.fixture.accept, instance), 1.0)

    run(main())
