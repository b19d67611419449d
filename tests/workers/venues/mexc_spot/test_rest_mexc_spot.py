"""Errors with their advice, weights and bans, requests; public REST requests."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from shm.errors import Action
from workers.auth.credentials import Credentials
from workers.contract.errors import (
    AuthenticationError,
    BadRequest,
    ClockSkew,
    OutcomeUnknown,
    RateLimited,
    RestError,
    ServerError,
)
from workers.contract.protocols import Failure, HTTPMethod, Priority, ReplayClass
from workers.contract.rest import RequestContext
from workers.venues.market import Kline, ServerLimit, UnknownInterval
from workers.venues.mexc_spot.auth import auth, read_time
from workers.venues.mexc_spot.errors import MexcSpotErrors
from workers.venues.mexc_spot.limits import DEPTH_TIERS, UNKNOWN_WEIGHT, limits
from workers.venues.mexc_spot.market import INTERVALS
from workers.venues.mexc_spot.request import MexcSpotRequests
from workers.venues.mexc_spot.venue import VENUE

GET, POST = HTTPMethod.GET, HTTPMethod.POST


# -- errors -----------------------------------------------------------------------------------------------
def error(status: int, body: object, replay: ReplayClass = ReplayClass.SAFE, **headers: str) -> RestError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return MexcSpotErrors().to_error(
        Failure(
            method=GET if replay is ReplayClass.SAFE else POST,
            endpoint="/api/v3/depth",
            attempt=1,
            status=status,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
            body=raw,
            replay=replay,
        )
    )


@pytest.mark.parametrize(
    ("status", "code", "kind", "action"),
    [
        (400, 700002, AuthenticationError, Action.HALT),
        (400, 700003, ClockSkew, Action.RESYNC),
        (400, 10073, ClockSkew, Action.RESYNC),
        (400, 30004, BadRequest, Action.HALT),
        (400, 30005, BadRequest, Action.HALT),
        (400, 30002, BadRequest, Action.HALT),
        (400, 700005, BadRequest, Action.HALT),
        (400, 10007, BadRequest, Action.HALT),
        (400, -1121, BadRequest, Action.HALT),
        (401, 401, AuthenticationError, Action.HALT),
        (403, 700006, AuthenticationError, Action.HALT),
        (403, 403, RateLimited, Action.BACKOFF),
        (429, 429, RateLimited, Action.BACKOFF),
        (200, 429, RateLimited, Action.BACKOFF),
        (418, None, RateLimited, Action.BACKOFF),
        (500, 500, ServerError, Action.BACKOFF),
        (502, None, ServerError, Action.RETRY),
    ],
)
def test_codes(status: int, code: int | None, kind: type[RestError], action: Action) -> None:
    found = error(status, {"code": code, "msg": "the venue's words"})
    assert (type(found), found.action, found.code, found.status) == (kind, action, code, status)
    assert "the venue's words" in str(found)


def test_a_write_without_a_known_outcome_is_outcome_unknown() -> None:
    for status, code in ((500, None), (504, 504), (200, 500)):
        found = error(status, {"code": code, "msg": ""}, ReplayClass.NEVER)
        assert type(found) is OutcomeUnknown
    assert type(error(400, {"code": 30004}, ReplayClass.NEVER)) is BadRequest


def test_how_long_to_wait_and_a_page_of_the_firewall() -> None:
    assert error(429, {"code": 429, "msg": None}, Retry_After="7").retry_after == 7.0
    page = error(403, b"<html>Access Denied</html>")
    assert (type(page), page.code) == (RateLimited, None)
    assert "Access Denied" in str(page)


# -- limits -----------------------------------------------------------------------------------------------
def spend(limiter: Any, endpoint: str, params: dict[str, Any] | None = None, now: float = 0.0) -> int:
    count = 0
    while count < 1000 and not limiter.acquire(GET, endpoint, params, now, Priority.CANCEL):
        count += 1
    return count


def test_weights() -> None:
    assert spend(limits(), "/api/v3/depth") == 150
    assert spend(limits(), "/api/v3/exchangeInfo") == 15
    assert spend(limits(), "/api/v3/ticker/24hr", {"symbol": "BTCUSDT"}) == 150
    assert spend(limits(), "/api/v3/ticker/24hr") == spend(limits(), "/nobody/knows") == 150 // UNKNOWN_WEIGHT
    assert spend(limits(1_000_000), "/api/v3/depth") == 300, "never more than the address may"
    assert spend(limits(6), "/api/v3/exchangeInfo") == 4, "the heaviest request must be possible"
    assert VENUE.books.snapshot_tiers is DEPTH_TIERS
    assert {DEPTH_TIERS.weight(levels) for levels in (5, 1000, 5000)} == {1}


def test_the_window_is_ten_seconds() -> None:
    limiter = limits()
    assert spend(limiter, "/api/v3/depth") == 150
    assert 9.9 < limiter.acquire(GET, "/api/v3/depth", None, 0.1, Priority.CANCEL) < 10.5
    assert spend(limiter, "/api/v3/depth", now=10.3) == 150


@pytest.mark.parametrize(
    ("status", "headers", "wait"),
    [(429, {"Retry-After": "3"}, 3.0), (429, {}, 10.0), (418, {}, 120.0), (403, {}, 120.0), (400, {}, 0.0)],
)
def test_after_a_refusal(status: int, headers: dict[str, str], wait: float) -> None:
    limiter = limits()
    limiter.observe(status, headers, 0.0)
    assert limiter.blocked_for(0.0) == wait


# -- requests ---------------------------------------------------------------------------------------------
def test_lists_are_joined_by_commas() -> None:
    requests = MexcSpotRequests(RequestContext(base_url="https://api.mexc.com"))
    made = requests.prepare_request(
        GET, "/api/v3/exchangeInfo", {"symbols": ["MXUSDT", "BTCUSDT"], "limit": 5, "none": None}, None
    )
    assert made.params == (("symbols", "MXUSDT,BTCUSDT"), ("limit", "5"))


def test_the_venues_time() -> None:
    assert read_time(b'{"serverTime":1645539742000}') == 1645539742000
    asked = auth(Credentials.of("k", "s")).server_time()
    assert asked is not None
    assert asked.endpoint == "/api/v3/time"


# -- public requests --------------------------------------------------------------------------------------
class Rest:
    """A manager that has the answers at hand; keeps what was asked."""

    def __init__(self, **answers: bytes) -> None:
        self.answers = answers
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def get(self, path: str, params: Any = None, *, decoder: Any = bytes, **_: object) -> Any:
        self.asked.append((path, params or {}))
        return decoder(self.answers[path.rpartition("/")[2]])


def run(work: Any) -> Any:
    return asyncio.run(work)


def test_snapshot() -> None:
    """The answer of the venue's docs."""
    body = b'{"lastUpdateId":1112416,"bids":[["15.00000","49999.00000"]],"asks":[["14.0000","1.0000"]]}'
    rest: Any = Rest(depth=body)
    assert VENUE.books.snapshot is not None
    got = run(VENUE.books.snapshot(rest, "BTCUSDT", 5000, Priority.SNAPSHOT))
    assert got == (1112416, [("15.00000", "49999.00000")], [("14.0000", "1.0000")])
    assert rest.asked == [("/api/v3/depth", {"symbol": "BTCUSDT", "limit": 5000})]


def test_candles() -> None:
    """The row of the venue's docs, and one that is not over by the venue's clock."""
    done = [
        1640804880000,
        "47482.36",
        "47482.36",
        "47416.57",
        "47436.1",
        "3.550717",
        1640804940000,
        "168387.3",
    ]
    open_ = [1640804940000, "1", "4", "0.5", "3", "2", 1640805000000, "6", "newer"]
    rest: Any = Rest(time=b'{"serverTime":1640804940000}', klines=json.dumps([open_, done]).encode())
    assert VENUE.rest.klines is not None
    assert run(VENUE.rest.klines(rest, "BTCUSDT", "1h", 2)) == [
        Kline(
            1640804880000_000_000,
            "47482.36",
            "47482.36",
            "47416.57",
            "47436.1",
            "3.550717",
            "168387.3",
            True,
        ),
        Kline(1640804940000_000_000, "1", "4", "0.5", "3", "2", "6", False),
    ]
    assert rest.asked[1] == ("/api/v3/klines", {"symbol": "BTCUSDT", "interval": "60m", "limit": 2})
    with pytest.raises(UnknownInterval, match="no candles of '3m': 1m, 5m"):
        run(VENUE.rest.klines(rest, "BTCUSDT", "3m", 2))
    assert INTERVALS["1w"] == "1W"


@pytest.mark.parametrize("row", [[], [1, "2"], ["x", "1", "4", "0.5", "3", "2", 1, "6"], None])
def test_a_row_that_is_no_candle_is_an_error_of_the_answer(row: Any) -> None:
    """Kind: what of an answer is read after it was decoded fails without a type and without the answer. A row
    is not left out: a series with a hole in it would be taken for whole."""
    good = [1640804880000, "1", "1", "1", "1", "1", 1640804940000, "1"]
    failed: list[Exception] = []

    class Answered(Rest):
        async def get(self, path: str, *asked: Any, decoder: Any, **options: Any) -> Any:
            if "klines" not in path:
                return await super().get(path, *asked, decoder=decoder, **options)
            with pytest.raises(ValueError) as caught:  # noqa: PT011
                decoder(json.dumps([good, row]).encode())
            failed.append(caught.value)
            return []

    rest: Any = Answered(time=b'{"serverTime":1640804940000}')
    assert VENUE.rest.klines is not None
    assert run(VENUE.rest.klines(rest, "BTCUSDT", "1h", 2)) == []
    assert len(failed) == 1


def test_clock_and_limits() -> None:
    rest: Any = Rest(time=b'{"serverTime":1645539742000}')
    assert VENUE.rest.server_time is not None
    assert VENUE.rest.server_limits is not None
    assert run(VENUE.rest.server_time(rest)) == 1645539742000
    assert run(VENUE.rest.server_limits(rest)) == [ServerLimit("weight", 500, 10.0, reported=False)]
