"""The best prices of all symbols in one request, at each venue that has sweeps: literal answers, what they
weigh, and the simulated venues' word against their own books."""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import Callable
from decimal import ROUND_CEILING, Decimal
from typing import Any

import msgspec
import pytest

from shm import State
from tests.conformance.fixture import load as fixture
from tests.conformance.live import run, working
from tests.conformance.report import Case
from tests.workers.test_quiet import CHANNELS, complaints, quiet
from workers.books.sync import Best
from workers.config.venue import VenueConfig
from workers.contract.errors import RateLimited, RestError
from workers.contract.rest import Priority
from workers.contract.types import HTTPMethod
from workers.rest import RestManager
from workers.sim.venue import SimVenue
from workers.venues import venue as venues

BINANCE = (
    b'[{"symbol":"LTCBTC","bidPrice":"4.00000000","bidQty":"431.00000000","askPrice":"4.00000200","askQty":'
    b'"9.00000000"},%s{"symbol":"ETHBTC","bidPrice":"0.07946700","bidQty":"9.00000000","askPrice":"0.00000000"'
    b',"askQty":"0.00000000","time":1589437530011,"more":[1]}]'
)
MEXC = BINANCE.replace(b'"askPrice":"0.00000000","askQty":"0.00000000"', b'"askPrice":"","askQty":null')
OKX = (
    b'{"code":"0","msg":"","data":[{"instType":"SPOT","instId":"LTC-BTC","last":"4","lastSz":"0.1","askPx":'
    b'"4.00000200","askSz":"9.00000000","bidPx":"4.00000000","bidSz":"431.00000000","ts":"1597026383085"},%s'
    b'{"instType":"SPOT","instId":"ETH-BTC","askPx":"","askSz":"","bidPx":"0.07946700","bidSz":"9.00000000"}]}'
)
KRAKEN = (
    b'{"error":[],"result":{"LTC/BTC":{"a":["4.00000200","9","9.000"],"b":["4.00000000","431","431.000"],"c":["4'
    b'.00000000","0.1"],"t":[1,2],"o":"4.00000000"},%s"ETH/BTC":{"a":["0.00000000","0","0.000"],"b":["0.07946700"'
    b',"9","9.000"],"c":["0.07946700","1.5"]}}}'
)
LTC = Best("4.00000000", "431.00000000", "4.00000200", "9.00000000")
NO_ASK = Best("0.07946700", "9.00000000", "0.00000000", "0.00000000")
EMPTY_ASK = NO_ASK._replace(ask="", ask_size="")
BAD = (
    b'{"symbol":"BADBTC","instId":"BAD-BTC","bidPrice":[1]},',
    b'{"bidPrice":"1"},',
    b"7,",
    b"null,",
)
WHOLE_LOTS = Best("0.07946700", "9.000", "", "", within="1")
# venue -> answer, its symbols, path and parameters, the best prices of its last symbol, weight
ANSWERS = {
    "binance_spot": (BINANCE, ("LTCBTC", "ETHBTC"), "/api/v3/ticker/bookTicker", None, NO_ASK, 4),
    "binance_futures": (BINANCE, ("LTCBTC", "ETHBTC"), "/fapi/v1/ticker/bookTicker", None, NO_ASK, 5),
    "mexc_spot": (MEXC, ("LTCBTC", "ETHBTC"), "/api/v3/ticker/bookTicker", None, EMPTY_ASK, 1),
    "okx": (OKX, ("LTC-BTC", "ETH-BTC"), "/api/v5/market/tickers", {"instType": "SPOT"}, EMPTY_ASK, 1),
    "kraken": (KRAKEN, ("LTC/BTC", "ETH/BTC"), "/0/public/Ticker", {"assetVersion": 1}, WHOLE_LOTS, 1),
}
FIRST = {"kraken": Best("4.00000000", "431.000", "4.00000200", "9.000", within="1")}
EACH = pytest.mark.parametrize("name", ANSWERS)


class Rest:
    """Answers each request with the next of these, the last one for ever."""

    def __init__(self, *answers: bytes | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, Any, Any]] = []

    async def get(
        self, path: str, params: Any = None, *, decoder: Callable[[bytes], Any], priority: Priority
    ) -> Any:
        self.asked.append((path, params, priority))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return decoder(answer)


def ask(name: str, rest: Any, symbols: tuple[str, ...]) -> Any:
    sweep = venues.load(name).books.sweep
    assert sweep is not None
    return asyncio.run(sweep.ask(rest, symbols, Priority.QUERY))  # type: ignore[arg-type]


def spoilt(name: str, bad: bytes) -> bytes:
    """An answer with one more entry."""
    answer = ANSWERS[name][0]
    return answer % (b'"BAD/BTC":' + bad if name == "kraken" else bad)


def test_which_venues_have_sweeps() -> None:
    """The kind: a venue whose quiet books nothing proves."""
    assert [name for name in venues.names() if venues.load(name).books.sweep is not None] == sorted(ANSWERS)


@EACH
def test_one_request_has_all_best_prices(name: str) -> None:
    answer, symbols, path, params, last, _ = ANSWERS[name]
    rest = Rest(answer % b"")
    assert ask(name, rest, symbols) == {symbols[0]: FIRST.get(name, LTC), symbols[1]: last}
    assert rest.asked == [(path, params, Priority.QUERY)]


@EACH
@pytest.mark.parametrize("bad", BAD)
def test_an_entry_that_cannot_be_decoded_affects_no_other(name: str, bad: bytes) -> None:
    _, symbols, _, _, last, _ = ANSWERS[name]
    bests = ask(name, Rest(spoilt(name, bad)), symbols)
    assert bests == {symbols[0]: FIRST.get(name, LTC), symbols[1]: last}


@EACH
@pytest.mark.parametrize("answer", [b"{", b"{}", b'[{"symbol":1}]', b"<html>"])
def test_another_answer_is_an_error(name: str, answer: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        ask(name, Rest(answer), ANSWERS[name][1])


@pytest.mark.parametrize("name", [name for name in ANSWERS if name != "kraken"])  # which counts requests
def test_it_weighs_what_the_venue_says(name: str) -> None:
    _, _, path, params, _, weight = ANSWERS[name]
    limiter = importlib.import_module(f"workers.venues.{name}.limits").limits()
    weights = [window.weigh(HTTPMethod.GET, path, params) for window in limiter.windows]
    assert max(weights) == weight
    if name == "okx":
        [own] = [window for window in limiter.windows if window.name == f"GET {path}"]
        assert (own.limit, own.per) == (20, 2.0)


def test_okx_requests_each_type_and_a_failed_one_affects_only_its_symbols() -> None:
    refused = RateLimited("no permit", retry_after=1.0, sent=False)
    symbols = ("LTC-BTC", "BTC-USDT-SWAP", "ETH-BTC", "BTC-USD-220527")
    rest = Rest(refused, OKX % b"", refused)
    assert set(ask("okx", rest, symbols)) == {"LTC-BTC", "ETH-BTC"}
    assert [params["instType"] for _, params, _ in rest.asked] == ["FUTURES", "SPOT", "SWAP"]
    with pytest.raises(RestError):
        ask("okx", Rest(refused), symbols)


def exact(best: Best) -> tuple[Decimal, ...]:
    return tuple(Decimal(text or "0") for text in best[:4])


def rounded(best: Best) -> tuple[Decimal, ...]:
    """Sizes in whole lots, as Kraken sends them."""
    bid, bid_size, ask, ask_size = exact(best)
    up = [size.to_integral_value(ROUND_CEILING) for size in (bid_size, ask_size)]
    return bid, up[0], ask, up[1]


@EACH
def test_the_simulated_venue_sends_its_best_prices_and_counts_the_weight(name: str) -> None:
    case = fixture(name)

    async def main() -> None:
        async with SimVenue(case.feed, symbols=case.symbols, rate=0.0) as sim:
            venue = venues.load(name)
            config = VenueConfig(symbols=list(case.symbols), ws_url=sim.ws_url, rest_url=sim.rest_url)
            symbols = [sim.venue_symbol(symbol) for symbol in case.symbols]
            assert venue.books.sweep is not None
            async with RestManager(venue.rest.strategies(config)) as rest:
                bests = await venue.books.sweep.ask(rest, symbols, Priority.QUERY)
            for symbol in symbols:
                depth = sim.book(symbol)
                truth = Best(*depth.bids[0], *depth.asks[0])
                assert exact(bests[symbol]) == (rounded if bests[symbol].within else exact)(truth), symbol
            assert sum(sim.rest.counters.values()) == len(sim.rest.counters)

    run(main())


@pytest.mark.parametrize("name", [name for name in ANSWERS if name != "mexc_spot"])  # its start alone is long
def test_many_quiet_symbols_stay_live_by_sweeps(name: str, instance: str) -> None:
    """More than the venue's limits would let be proven one by one every three seconds."""

    async def main() -> None:
        sim, symbols = quiet(name, 63)
        keys = {"first_event_after": 3.0, "heartbeat_limit": 5.0, "stale_after": 3.0}
        case = Case(fixture(name), venues.load(name))
        async with working(case, instance, sim, symbols=symbols, channels=CHANNELS, **keys) as live:
            await live.until(live.live, "all LIVE", within=10.0, pump=False)
            end = time.monotonic() + 9.0
            while time.monotonic() < end:
                await live.until(live.live, "stays LIVE", within=0.5, pump=False)
                await asyncio.sleep(0.01)
            assert complaints(live) == []
            assert live.feed.state is State.LIVE
            asked = sim.rest.counters
            endpoint = "Ticker" if name == "kraken" else ANSWERS[name][2].split("/", 3)[3]
            assert 3 <= asked[endpoint] <= 16

    run(main())
