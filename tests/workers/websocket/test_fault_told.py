"""What a parser or a handler raises is told with its message, so that somebody can say where and why."""

from __future__ import annotations

from ws_bench import Bench, event, virtual

from workers.contract.protocols import ParsedMessage

BTC = "btcusdt@depth@100ms"
Told = list[tuple[str, bytes]]


async def start(bench: Bench) -> Told:
    told: Told = []
    bench.sink = None
    bench.venue.data_on_subscribe = False
    bench.options["on_fault"] = lambda error, data: told.append((str(error), data))
    await bench.start("BTC/USDT", channels=("book",))
    return told


def failing(message: ParsedMessage) -> None:
    raise RuntimeError("a bug of the handler")


@virtual
async def test_of_the_parser_and_of_the_handler(bench: Bench) -> None:
    told = await start(bench)
    bench.venue.now.push(b"garbage")
    await bench.clock.settle()
    [(_, data)] = told
    assert data == b"garbage"
    bench.on_message = failing
    bench.venue.now.push(event(BTC))
    await bench.clock.settle()
    assert told[1] == ("a bug of the handler", event(BTC))


@virtual
async def test_a_listener_that_raises_does_no_harm(bench: Bench) -> None:
    await start(bench)

    def broken(error: BaseException, data: bytes) -> None:
        raise RuntimeError("bug")

    bench.manager._dispatcher._on_fault = broken
    bench.venue.now.push(b"garbage")
    await bench.clock.settle()
    assert bench.manager.is_connected()
    metrics = bench.manager.get_performance_metrics()
    assert (metrics.parse_errors, metrics.handler_errors) == (1, 1)
