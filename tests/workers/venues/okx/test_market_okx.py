"""OKX: candles, clock and snapshot by REST, and the names of instruments."""

from __future__ import annotations

import asyncio
import doctest
from collections.abc import Callable
from typing import Any

import pytest

from workers.books.sync import Snapshot
from workers.contract.protocols import Priority
from workers.venues.market import INTERVALS, Kline, UnknownInterval
from workers.venues.okx import checksum, names, parser, schema
from workers.venues.okx.market import BARS, klines, server_limits, server_time
from workers.venues.okx.venue import VENUE


class Rest:
    """Answers what a venue's function asks with one body."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.asked: list[tuple[str, Any, Any]] = []

    async def get(
        self,
        endpoint: str,
        params: Any = None,
        *,
        decoder: Callable[[bytes], Any],
        priority: Priority | None = None,
    ) -> Any:
        self.asked.append((endpoint, params, priority))
        return decoder(self.body)


CANDLES = (
    b'{"code":"0","msg":"","data":[["1786820400000","63028","63032.2","63028","63032.2","861.8","8.618",'
    b'"543180.43308","0"],["1786816800000","63045.5","63081.5","63013.7","63028","32101.18","321.0118",'
    b'"20234523.14448","1"]]}'
)
BOOK = (
    b'{"code":"0","msg":"","data":[{"asks":[["41006.8","0.60038921","0","1"]],"bids":[["41006.3","0.30178218","0",'
    b'"2"]],"ts":"1629966436396","seqId":3235851742}]}'
)


def test_candles_oldest_first() -> None:
    rest = Rest(CANDLES)
    result = asyncio.run(klines(rest, "BTC-USDT-SWAP", "1h", 500))  # type: ignore[arg-type]
    assert result == [
        Kline(
            1786816800000_000_000,
            "63045.5",
            "63081.5",
            "63013.7",
            "63028",
            "32101.18",
            "20234523.14448",
            True,
        ),
        Kline(1786820400000_000_000, "63028", "63032.2", "63028", "63032.2", "861.8", "543180.43308", False),
    ]
    assert rest.asked == [
        ("/api/v5/market/candles", {"instId": "BTC-USDT-SWAP", "bar": "1H", "limit": 300}, None)
    ]


def test_intervals() -> None:
    assert set(INTERVALS) - set(BARS) == {"8h"}
    with pytest.raises(UnknownInterval, match="OKX has no candles of '8h'; it has: 1m, 3m"):
        asyncio.run(klines(Rest(CANDLES), "BTC-USDT", "8h", 1))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="time"):
        asyncio.run(klines(Rest(CANDLES.replace(b'"1786820400000"', b'""')), "BTC-USDT", "1h", 1))  # type: ignore[arg-type]


def test_the_clock() -> None:
    rest = Rest(b'{"code":"0","data":[{"ts":"1597026383085"}],"msg":""}')
    assert asyncio.run(server_time(rest)) == 1597026383085  # type: ignore[arg-type]
    assert asyncio.run(server_limits(rest))  # type: ignore[arg-type]


def test_a_time_that_is_none_is_an_error_of_the_answer() -> None:
    """Kind: what of an answer is read after it was decoded fails without a type, and without the answer."""

    class Answered(Rest):
        async def get(self, *asked: Any, decoder: Callable[[bytes], Any], **options: Any) -> Any:
            with pytest.raises(ValueError, match="invalid literal"):
                decoder(self.body)
            return 7

    assert asyncio.run(server_time(Answered(b'{"code":"0","data":[{"ts":""}],"msg":""}'))) == 7  # type: ignore[arg-type]


def test_the_snapshot_of_a_proof() -> None:
    assert VENUE.books.snapshot is not None
    rest = Rest(BOOK)
    result = asyncio.run(VENUE.books.snapshot(rest, "BTC-USDT", 1000, Priority.BACKGROUND))  # type: ignore[arg-type]
    assert result == Snapshot(3235851742, [("41006.3", "0.30178218")], [("41006.8", "0.60038921")])
    assert rest.asked == [("/api/v5/market/books", {"instId": "BTC-USDT", "sz": 400}, Priority.BACKGROUND)]
    with pytest.raises(ValueError, match="seqId"):  # without an id it could be lined up with nothing
        schema.decode_books(BOOK.replace(b',"seqId":3235851742', b""))


@pytest.mark.parametrize("module", [names, checksum, parser])
def test_examples(module: Any) -> None:
    assert doctest.testmod(module).failed == 0
