"""What a parser or a handler raises is reported with its message, so that somebody can say where and why."""

from __future__ import annotations

from ws_bench import Bench, event, virtual

from workers.contract.protocols import ParsedMessage

BTC = "btcusdt@depth@100ms"
Faults = list[tuple[str, bytes]]


async def start(bench: Bench) -> Faults:
    faults: Faults = []
    bench.sink = None
    bench.venue.data_on_subscribe = False
    bench.options["on_fault"] = lambda error, data: faults.append((str(error), data))
    await bench.start("BTC/USDT", channels=("book",))
    return faults


def failing(message: ParsedMessage) -> None:
    raise RuntimeError("a bug of the handler")


@virtual
async def test_of_the_parser_and_of_the_handler(bench: Bench) -> None:
    faults = await start(bench)
    bench.venue.now.push(b"garbage")
    await bench.clock.settle()
    [(_, data)] = faults
    assert data == b"garbage"
    bench.on_message = failing
    bench.venue.now.push(event(BTC))
    await bench.clock.settle()
    assert faults[1] == ("a bug of the handler", event(BTC))


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
