"""What a feed makes of its REST manager: counts, gauges, the log, what is reported."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from shm import counters
from shm.events import Code
from shm.instruments import Instrument
from workers.config.venue import VenueConfig
from workers.contract.rest import Gauges
from workers.http import AdapterMissing, HttpClientFactory
from workers.venues.binance_spot.venue import VENUE
from workers.venues.listing import Listing, PrecisionError
from workers.worker.events import FeedEvents
from workers.worker.rest_access import RestAccess


class Noted:
    """A writer that remembers."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.events: list[tuple[Any, ...]] = []

    def count_up(self, counter: int, n: int = 1) -> None:
        name = counters.FEED[counter]
        assert name not in counters.GAUGES
        self.counts[name] = self.counts.get(name, 0) + n

    def set_count(self, counter: int, value: int) -> None:
        name = counters.FEED[counter]
        assert name in counters.GAUGES
        self.counts[name] = value

    def log(self, *event: Any) -> None:
        self.events.append(event)


class Printed(FeedEvents):
    def report(self, line: str) -> None:
        print(line)


def access(writer: Any = None, **keys: Any) -> RestAccess:
    keys.setdefault("symbols", ["BTC/USDT"])
    config = VenueConfig(ws_url="ws://127.0.0.1:1", rest_url="http://127.0.0.1:1", **keys)
    return RestAccess(writer or Noted(), VENUE, config, Printed())


def test_gauges_are_stored_and_counters_go_up_by_what_is_new() -> None:
    gauges = [
        Gauges(
            retries=3,
            failovers=1,
            circuit_opens=1,
            waiting=4,
            in_flight=2,
            open_connections=5,
            circuits_open=1,
        ),
        Gauges(retries=5, failovers=1, circuit_opens=1, waiting=0, in_flight=1, open_connections=5),
    ]

    class Rest:
        def gauges(self) -> Gauges:
            return gauges.pop(0)

    writer = Noted()
    rest = access(writer)
    rest.mirror()  # no manager yet
    assert writer.counts == {}
    rest._manager = Rest()  # type: ignore[assignment]
    writer.counts["rest_retries"] = 100  # of the worker before this one
    rest.mirror()
    rest.mirror()
    assert writer.counts == {
        "rest_retries": 105,
        "rest_failovers": 1,
        "circuit_opens": 1,
        "rest_waiting": 0,
        "rest_in_flight": 1,
        "rest_connections": 5,
        "circuits_open": 0,
    }


def test_a_circuit_that_opens_is_logged_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    writer = Noted()
    access(writer)._circuit_opened("GET /api/v3/depth", 30.0)
    [(code, text)] = writer.events
    assert (code, text) == (Code.REST_CIRCUIT, "30 s: GET /api/v3/depth")
    assert len(text) <= 32  # what an event holds
    assert "GET /api/v3/depth" in capsys.readouterr().out


def test_the_manager_is_what_the_configuration_says() -> None:
    async def main() -> None:
        each = access(rest_circuit_failures=9, rest_concurrency=3, rest_alternates=["http://127.0.0.2:1"])
        rest = await each.manager()
        assert rest is await each.manager()
        assert "0/3 slots" in repr(rest)
        assert rest.get_metrics().sessions == 1  # loaded, in a thread, before a request needs it
        await rest.close()

    asyncio.run(main())


@pytest.mark.parametrize("client", ["missing", "nonsense"])
def test_a_client_that_is_not_there_is_one_clear_line(client: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(options: Any) -> Any:
        raise AdapterMissing("missing is not installed: pip install 'tickring[http]'")

    monkeypatch.setattr(HttpClientFactory, "_adapters", {**HttpClientFactory._adapters, "missing": lacking})
    with pytest.raises(
        ValueError, match="pip install 'tickring" if client == "missing" else "no HTTP client"
    ):
        asyncio.run(access(rest_client=client).manager())


def test_how_long_many_snapshots_take_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    """What the first snapshots cost, which are of the cheapest tier and not of `snapshot_limit`."""
    many = [f"A{n}/USDT" for n in range(500)]
    access(symbols=many, max_instruments=600, depth=200)._warn_of_few_permits()
    line = capsys.readouterr().out
    assert "500 book snapshots of 500 levels, weight 25, take more than 4 minutes" in line
    access(symbols=many, max_instruments=600)._warn_of_few_permits()
    access()._warn_of_few_permits()
    access(symbols=[f"A{n}/USDT" for n in range(500)], channels=["top"])._warn_of_few_permits()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("cured", [False, True])
def test_what_no_decimals_cure_costs_no_request(cured: bool) -> None:
    """Kind: one number that fits nothing, asked about as often as it comes: a listing weighs much."""
    asked: list[str] = []
    old = Instrument(symbol="AAA/BBB", venue_symbol="AAABBB", price_exp=2, size_exp=2)

    async def listed(symbols: list[str]) -> Listing:
        asked.extend(symbols)
        return Listing(instruments=[old])

    rest = access()
    rest.listing = listed  # type: ignore[assignment]
    price = b"1.001" if cured else b"1.000000000000000000000001"
    frame = b'{"u":7,"s":"AAABBB","b":"%s","B":"2.00","a":"1.01","A":"3.00"}' % price
    if cured:
        assert asyncio.run(rest.respec(old, frame)).price_exp == 3
    else:
        with pytest.raises(PrecisionError):
            asyncio.run(rest.respec(old, frame))
    assert asked == (["AAA/BBB"] if cured else [])
