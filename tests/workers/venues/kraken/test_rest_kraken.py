"""REST: the listing, candles, the clock, and errors that come with a 200."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from kraken_frames import TICKER, TRADES, UPDATE

from shm.errors import Action
from shm.layout import InstrumentStatus
from workers.books.sync import Best
from workers.config.venue import VenueConfig
from workers.contract.errors import (
    AuthenticationError,
    BadRequest,
    OutcomeUnknown,
    ParseError,
    RateLimited,
    RestError,
    ServerError,
)
from workers.contract.rest import Failure, Priority, ReplayClass
from workers.contract.types import HTTPMethod
from workers.http.client import ClientStats
from workers.rest import RestManager
from workers.venues.kraken import schema
from workers.venues.kraken.errors import LOCKED, KrakenErrors
from workers.venues.kraken.instruments import instruments
from workers.venues.kraken.names import rest_pair, stream_symbol, symbol
from workers.venues.kraken.venue import VENUE
from workers.venues.listing import PrecisionError, successor
from workers.venues.market import Kline, ServerLimit, UnknownInterval

PAIRS = {
    "XXBTZUSD": {
        "altname": "XBTUSD", "wsname": "XBT/USD", "base": "XXBT", "quote": "ZUSD", "lot": "unit",
        "pair_decimals": 1, "lot_decimals": 8, "ordermin": "0.00005", "costmin": "0.5", "tick_size": "0.1",
        "status": "online", "leverage_buy": [2, 3],
    },
    "XDGUSD": {
        "altname": "XDGUSD", "wsname": "XDG/USD", "pair_decimals": 7, "lot_decimals": 8, "ordermin": "13",
        "costmin": "0.5", "tick_size": "0.0000005", "status": "limit_only",
    },
    "MINAGBP": {
        "altname": "MINAGBP", "wsname": "MINA/GBP", "pair_decimals": 4, "lot_decimals": 8, "ordermin": "25",
        "costmin": "0.45", "tick_size": "0.0001", "status": "cancel_only",
    },
    "DARK": {"altname": "DARK.d", "pair_decimals": 4, "lot_decimals": 8},
}  # fmt: skip


def answer(result: Any, *errors: str) -> bytes:
    return json.dumps({"error": errors, "result": result}, separators=(",", ":")).encode()


class Client:
    """An HTTP client that has its answers."""

    def __init__(self, *answers: bytes | tuple[int, bytes]) -> None:
        self.answers = [each if isinstance(each, tuple) else (200, each) for each in answers]
        self.urls: list[str] = []

    async def request(self, method: str, url: str, **rest: Any) -> Any:
        self.urls.append(url)
        status, body = self.answers.pop(0)

        return SimpleNamespace(status_code=status, headers={}, content=body)

    closed = False

    async def close(self, grace: float = 1.0) -> None:
        pass

    def stats(self) -> ClientStats:
        return ClientStats(opened=1, open=1, requests=len(self.urls))


def ask(client: Client, use: Any, **options: Any) -> Any:
    """What `use` makes of a manager with this venue's strategies."""

    async def main() -> Any:
        config = msgspec.convert(
            {
                "ws_url": "ws://h", "rest_url": "http://h", "symbols": [], "rest_retry_base": 0.0001,
                "options": {"rest_cooldown": 0.0, **options},
            },
            VenueConfig,
        )  # fmt: skip
        rest = RestManager(VENUE.rest.strategies(config), clients=lambda: client)  # type: ignore[arg-type,return-value]
        try:
            return await use(rest)
        finally:
            await rest.close()

    return asyncio.run(main())


# -- the listing ------------------------------------------------------------------------------------------
def test_instruments() -> None:
    client = Client(answer(PAIRS))
    found = ask(client, lambda rest: VENUE.listing.instruments(rest, ["DOGE/USD", "BTC/USD", "MINA/GBP"]))
    assert client.urls == ["http://h/0/public/AssetPairs"]
    doge, btc, mina = found.instruments
    assert (btc.symbol, btc.venue_symbol, btc.price_exp, btc.size_exp) == ("BTC/USD", "BTC/USD", 1, 8)
    assert (btc.tick, btc.lot, btc.min_notional, btc.notional_exp) == (1, 1, 5, 1)
    assert btc.status is doge.status is InstrumentStatus.ACTIVE
    # The tick is coarser than the decimals that numbers are written with, and these are the slot's.
    assert (doge.symbol, doge.price_exp, doge.tick) == ("DOGE/USD", 7, 5)
    assert mina.status is InstrumentStatus.HALTED


def test_symbols_that_are_not_listed() -> None:
    [text] = instruments(schema.read_listing(answer(PAIRS)), ["XBT/USD"]).missing.values()
    assert text.startswith("Kraken spot does not list 'XBT/USD' (nearest: BTC/USD")


# As AssetPairs has them when asked with aclass_base=tokenized_asset.
EQUITIES = {
    "AAPLSPVUSD": {
        "altname": "AAPLxUSD", "wsname": "AAPLx/USD", "aclass_base": "tokenized_asset", "pair_decimals": 2,
        "lot_decimals": 8, "costmin": "0.5", "tick_size": "0.01", "status": "online",
        "execution_venue": "international",
    },
}  # fmt: skip


def test_tokenized_equities_are_requested_when_a_symbol_is_missing() -> None:
    """Kind: what is listed under a parameter of its own is not listed. (OKX has its instrument types.)"""
    client = Client(answer(PAIRS), answer(EQUITIES))
    found = ask(client, lambda rest: VENUE.listing.instruments(rest, ["BTC/USD", "AAPLX/USD"]))
    assert client.urls[1:] == ["http://h/0/public/AssetPairs?aclass_base=tokenized_asset"]
    assert [(slot.symbol, slot.venue_symbol) for slot in found.instruments] == [
        ("BTC/USD", "BTC/USD"), ("AAPLX/USD", "AAPLx/USD"),
    ]  # fmt: skip
    assert found.missing == {}
    # Where there are none, or they are refused, the currencies are listed as before.
    for nothing in (answer({}), answer(None, "EGeneral:Invalid arguments:aclass_base")):
        refused = ask(
            Client(answer(PAIRS), nothing),
            lambda rest: VENUE.listing.instruments(rest, ["BTC/USD", "AAPLx/USD"]),
        )
        assert [slot.symbol for slot in refused.instruments] == ["BTC/USD"]
        assert refused.missing["AAPLx/USD"].startswith("Kraken spot does not list 'AAPLx/USD'")
    assert "was refused" in refused.missing["AAPLx/USD"]
    assert "Invalid arguments:aclass_base" in refused.missing["AAPLx/USD"]
    # The venue's spelling is no canonical symbol, but the nearest name.
    named = ask(
        Client(answer(PAIRS), answer(EQUITIES)), lambda rest: VENUE.listing.instruments(rest, ["AAPLx/USD"])
    )
    assert "nearest: AAPLX/USD" in named.missing["AAPLx/USD"]


def test_text_that_is_no_code_affects_only_its_entry() -> None:
    """Kind: one entry takes others along, here in the search for what it may have been."""
    odd = {"ODD": PAIRS["XXBTZUSD"] | {"wsname": ".d/USD", "status": None}}
    even = {"EVEN": PAIRS["DARK"] | {"wsname": "."}}
    found = instruments(schema.read_listing(answer(PAIRS | odd | even)), ["BTC/USD", ".d/USD", "", "."])
    assert [slot.symbol for slot in found.instruments] == ["BTC/USD"]
    assert set(found.missing) == {".d/USD", "", "."}
    assert set(found.skipped) == {"ODD", "EVEN"}


def test_a_pair_without_its_wsname_is_not_delisted() -> None:
    """Kind: silence taken for evidence. Its other fields have codes that are older than the WebSocket's."""
    listed = {"XXBTZUSD": PAIRS["XXBTZUSD"], "XDGUSD": PAIRS["XDGUSD"] | {"base": "XXDG", "quote": "ZUSD"}}
    for lost in ({"wsname": ""}, {"wsname": None}, {"wsname": "XXBTZUSD"}):
        found = instruments(
            schema.read_listing(answer(listed | {"XXBTZUSD": PAIRS["XXBTZUSD"] | lost})),
            ["BTC/USD", "DOGE/USD", "ETH/USD"],
        )
        assert [slot.symbol for slot in found.instruments] == ["DOGE/USD"]
        assert found.unsure == {"BTC/USD"}, "and ETH/USD is not listed"
        assert "its entry XXBTZUSD" in found.missing["BTC/USD"]
    # A pair that never had one is ignored: the dark pool, and another venue's book.
    for other in ({"altname": "XBTUSD.d"}, {"execution_venue": "bitnomial_exchange"}):
        dark = PAIRS["XXBTZUSD"] | {"wsname": ""} | other
        found = instruments(schema.read_listing(answer(listed | {"XXBTZUSD": dark})), ["BTC/USD"])
        assert (found.unsure, found.skipped) == (set(), {})


def test_a_pair_that_is_matched_elsewhere_too() -> None:
    """Kind: the last of two entries of one symbol wins. The streams are those of the venue's own book."""
    elsewhere = PAIRS["XXBTZUSD"] | {"pair_decimals": 0, "tick_size": "1", "status": "cancel_only"}
    for facts in (
        {"XBTUSD:BTNL": elsewhere | {"execution_venue": "bitnomial_exchange"}},
        {"XBTUSD:BTNL": elsewhere},
        {"AXBTUSD": elsewhere | {"execution_venue": "bitnomial_exchange"}},
    ):
        for both in (facts | PAIRS, PAIRS | facts):
            found = instruments(schema.read_listing(answer(both)), ["BTC/USD"])
            [slot] = found.instruments
            assert (slot.price_exp, slot.status) == (1, InstrumentStatus.ACTIVE)
            assert found.shadowed == {"BTC/USD": [*facts]}
        alone = instruments(schema.read_listing(answer(facts)), ["BTC/USD"])
        assert "its orders are matched elsewhere" in alone.missing["BTC/USD"]


def test_a_status_that_is_not_known_is_not_tradable() -> None:
    pairs = schema.read_listing(answer({"XXBTZUSD": PAIRS["XXBTZUSD"] | {"status": "auction"}}))
    found = instruments(pairs, ["BTC/USD"])
    assert [slot.status for slot in found.instruments] == [InstrumentStatus.HALTED]
    assert found.skipped == {"XXBTZUSD": "its status 'auction' is not known, so it counts as not tradable"}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"pair_decimals": 19}, "a slot has 0 to 18 decimals, not 19 and 8"),
        ({"tick_size": "0.01"}, "0.01 does not fit an int64 at 1 decimals"),
        ({"costmin": "1e-05"}, "costmin '1e-05' cannot be read"),
    ],
)
def test_a_listing_that_no_slot_can_hold(change: dict[str, Any], text: str) -> None:
    pairs = schema.read_listing(answer({"X": PAIRS["XXBTZUSD"] | change, "XDGUSD": PAIRS["XDGUSD"]}))
    found = instruments(pairs, ["BTC/USD", "DOGE/USD"])
    assert text in found.missing["BTC/USD"]
    assert [slot.symbol for slot in found.instruments] == ["DOGE/USD"]


@pytest.mark.parametrize(
    ("wsname", "canonical", "stream", "rest"),
    [
        ("XBT/USD", "BTC/USD", "BTC/USD", "XBTUSD"),
        ("XDG/XBT", "DOGE/BTC", "DOGE/BTC", "XDGXBT"),
        ("1INCH/EUR", "1INCH/EUR", "1INCH/EUR", "1INCHEUR"),
        ("LUNA/EUR", "LUNC/EUR", "LUNA/EUR", "LUNAEUR"),
        ("LUNA2/USD", "LUNA/USD", "LUNA2/USD", "LUNA2USD"),
        ("REPV2/XBT", "REP/BTC", "REPV2/BTC", "REPV2XBT"),
        ("REP/EUR", "REPV1/EUR", "REP/EUR", "REPEUR"),
        ("UST/USD", "USTC/USD", "UST/USD", "USTUSD"),
        ("AAPLx/USD", "AAPLX/USD", "AAPLx/USD", "AAPLxUSD"),
    ],
)
def test_names(wsname: str, canonical: str, stream: str, rest: str) -> None:
    """The canonical symbol has the unified codes; what is subscribed, and asked of REST, has the venue's."""
    assert symbol(wsname) == canonical
    assert stream_symbol(wsname) == stream
    assert rest_pair(stream) == rest


# -- a new slot -------------------------------------------------------------------------------------------
def slots(**changes: Any) -> Any:
    pairs = schema.read_listing(answer({"X": PAIRS["MINAGBP"] | changes}))
    return instruments(pairs, ["MINA/GBP"]).instruments[0]


def test_a_slot_is_replaced_by_what_is_listed_now() -> None:
    old, fresh = slots(), slots(pair_decimals=5, tick_size="0.00005")
    frame = UPDATE.replace(b"0.0277", b"0.02775")
    wider = VENUE.listing.widen(old, frame, fresh)
    assert (wider.price_exp, wider.size_exp, wider.tick) == (5, 8, 5)
    # Decimals never become fewer, so that a symbol's slots settle; the checksum finds the spelling.
    fewer = VENUE.listing.widen(old, frame, slots(pair_decimals=5, tick_size="0.00005", lot_decimals=6))
    assert (fewer.price_exp, fewer.size_exp, fewer.lot) == (5, 8, 100)


@pytest.mark.parametrize("fresh", [True, False])
def test_a_number_with_more_decimals_than_listed(fresh: bool) -> None:
    """The day's low of before a pair lost a decimal, say; the listing may not be at hand."""
    old = slots()
    frame = TICKER.replace(b"USDT/USD", b"MINA/GBP").replace(b"0.99959", b"0.9995912")
    wider = VENUE.listing.widen(old, frame, slots() if fresh else None)
    assert (wider.price_exp, wider.size_exp, wider.tick) == (7, 8, 1000)
    with pytest.raises(ValueError, match="everything fits"):
        VENUE.listing.widen(wider, frame, None)
    with pytest.raises(PrecisionError, match="does not fit an int64"):
        VENUE.listing.widen(old, UPDATE.replace(b"0.0277", b"922337203685477580.7"), slots())


def test_the_numbers_of_other_symbols_do_not_count() -> None:
    old = slots()
    other = TRADES.replace(b'"symbol":"BTC/USD","side":"sell"', b'"symbol":"MINA/GBP","side":"sell"')
    other = other.replace(b"81205.1", b"81205.123456789").replace(b"81205.0", b"0.02775")
    assert VENUE.listing.widen(old, other, None).price_exp == 5


def test_a_listing_with_fewer_decimals_keeps_the_slot_s() -> None:
    new = successor(slots(), slots(pair_decimals=3, tick_size="0.001"))
    assert new is not None
    assert (new.price_exp, new.tick) == (4, 10)


# -- candles, clock, limits -------------------------------------------------------------------------------
CANDLES = {
    "XXBTZUSD": [
        [1700000060, "2.0", "2.5", "1.9", "2.1", "2.05", "1.50000000", 320],
        [1700000000, "1.0", "1.5", "0.9", "1.1", "1.05", "0.50000000", 12],
        [1700000120, "2.1", "2.2", "2.0", "2.2", "2.15", "0.10000000", 2],
    ],
    "last": 1700000060,
}


def test_klines() -> None:
    client = Client(answer(CANDLES))
    found = ask(client, lambda rest: VENUE.rest.klines(rest, "BTC/USD", "1m", 2))  # type: ignore[misc]
    assert client.urls == ["http://h/0/public/OHLC?pair=XBTUSD&interval=1"]
    assert found == [
        Kline(1700000060 * 10**9, "2.0", "2.5", "1.9", "2.1", "1.50000000", "", True),
        Kline(1700000120 * 10**9, "2.1", "2.2", "2.0", "2.2", "0.10000000", "", False),
    ]
    equities = Client(answer(CANDLES))
    ask(equities, lambda rest: VENUE.rest.klines(rest, "AAPLx/USD", "1m", 2))  # type: ignore[misc]
    query = "pair=AAPLxUSD&interval=1&asset_class=tokenized_asset"
    assert equities.urls == [f"http://h/0/public/OHLC?{query}"]
    with pytest.raises(UnknownInterval, match="no candles of '3m': 1m, 5m"):
        ask(Client(), lambda rest: VENUE.rest.klines(rest, "BTC/USD", "3m", 2))  # type: ignore[misc]


# -- the best prices --------------------------------------------------------------------------------------
def best_prices(client: Client, *symbols: str) -> Any:
    assert VENUE.books.sweep is not None
    sweep = VENUE.books.sweep.ask
    return ask(client, lambda rest: sweep(rest, symbols, Priority.QUERY))


def side(price: str, lots: str) -> list[str]:
    return [price, lots.partition(".")[0], lots]


def test_best_prices_are_named_as_the_stream_names_them() -> None:
    """Also the two that REST calls otherwise; an answer by its own keys proves nothing of anything."""
    pair = {"a": side("80748.40000", "1.000"), "b": side("80748.30000", "1.000"), "c": ["80732.3", "0.00005"]}
    doge = {"a": side("0.089775100", "12499.000"), "b": side("0.089769200", "2279.000")}
    client = Client(answer({"BTC/USD": pair, "DOGE/USD": doge, "BTC/USD:BTNL": doge}))
    found = best_prices(client, "BTC/USD", "DOGE/USD")
    assert client.urls == ["http://h/0/public/Ticker?assetVersion=1"]
    assert found["BTC/USD"] == Best("80748.30000", "1.000", "80748.40000", "1.000", within="1")
    assert found["DOGE/USD"] == Best("0.089769200", "2279.000", "0.089775100", "12499.000", within="1")
    assert set(found) == {"BTC/USD", "DOGE/USD"}
    legacy = best_prices(
        Client(answer({"XXBTZUSD": pair, "XDGUSD": doge, "SOLUSD": doge})), "BTC/USD", "SOL/USD"
    )
    assert legacy == {}


def test_tokenized_equities_have_a_request_of_their_own_when_one_is_carried() -> None:
    plain, equity = (
        {name: {"a": side("2.00", "1.000"), "b": side("1.00", "1.000")}} for name in ("BTC/USD", "AAPLx/USD")
    )
    urls = ["http://h/0/public/Ticker?assetVersion=1"]
    both = Client(answer(plain), answer(equity))
    assert set(best_prices(both, "AAPLx/USD", "BTC/USD")) == {"BTC/USD", "AAPLx/USD"}
    assert both.urls == [*urls, f"{urls[0]}&asset_class=tokenized_asset"]
    alone = Client(answer(equity))
    assert set(best_prices(alone, "AAPLx/USD")) == {"AAPLx/USD"}
    assert alone.urls == both.urls[1:]
    refused = answer({}, "EGeneral:Permission denied")
    assert set(best_prices(Client(answer(plain), refused), "AAPLx/USD", "BTC/USD")) == {"BTC/USD"}
    assert set(best_prices(Client(refused, answer(equity)), "AAPLx/USD", "BTC/USD")) == {"AAPLx/USD"}
    with pytest.raises(RestError):
        best_prices(Client(refused, refused), "AAPLx/USD", "BTC/USD")


@pytest.mark.parametrize(
    ("asks", "bids", "result"),
    [
        (["0.00000", "0", "0.000"], ["224.15000", "3", "3.000"], ("224.15000", "3.000", "", "")),  # recorded
        (["0.00000", "0", "0.000"], ["0.00000", "0", "0.000"], None),  # recorded: empty, or not known
        (["0.00000", "5", "5.000"], ["1.0", "3", "3.000"], ("1.0", "3.000", "0.00000", "5.000")),  # no side
        (["2.0", "0", "0.000"], ["1.0", "3", "3.000"], ("1.0", "3.000", "2.0", "0.000")),
        (["-2.0", "1", "1.000"], ["1.0", "3", "3.000"], ("1.0", "3.000", "-2.0", "1.000")),
        (["2.0", "1", ""], ["1.0", "3", "3.000"], None),
        (["", "", ""], ["1.0", "3", "3.000"], None),
        (["2.0", "1", "1.000", "new"], ["1.0", "3", "3.000"], ("1.0", "3.000", "2.0", "1.000")),
        (["2.0", "1"], ["1.0", "3", "3.000"], None),
        ([], ["1.0", "3", "3.000"], None),
        ([2.0, 1, 1.0], ["1.0", "3", "3.000"], None),
        (None, ["1.0", "3", "3.000"], None),
        ("2.0", ["1.0", "3", "3.000"], None),
    ],
)
def test_a_pair_that_cannot_be_decoded_affects_no_other(asks: Any, bids: Any, result: Any) -> None:
    """The kind: one entry that nobody expected takes the others along."""
    good = {"a": side("2.0", "1.000"), "b": side("1.0", "1.000")}
    body = {"BTC/USD": good, "ETH/USD": {"a": asks, "b": bids}, "SOL/USD": {"b": bids}, "ADA/USD": None}
    found = best_prices(Client(answer(body)), "BTC/USD", "ETH/USD")
    expected = {"BTC/USD": Best("1.0", "1.000", "2.0", "1.000", within="1")}
    if result is not None:
        expected["ETH/USD"] = Best(*result, within="1")
    assert found == expected


def test_server_time_and_limits() -> None:
    body = b'{"error":[],"result":{"unixtime":1688669448,"rfc1123":"Thu, 06 Jul 23 18:50:48 +0000"}}'
    assert ask(Client(body), VENUE.rest.server_time) == 1688669448000
    limits = ask(Client(), VENUE.rest.server_limits)
    assert ServerLimit("requests", 15, 15.0, reported=False) in limits
    assert not any(limit.reported for limit in limits)


# -- errors -----------------------------------------------------------------------------------------------
TIME = answer({"unixtime": 1688669448})


@pytest.mark.parametrize("error", ["EService:Unavailable", "EService:Busy", "EAPI:Rate limit exceeded"])
def test_a_request_to_a_busy_venue_is_repeated(error: str) -> None:
    client = Client(answer({}, error), b'{"error":["%s"]}' % error.encode(), TIME)
    assert ask(client, VENUE.rest.server_time) == 1688669448000
    assert len(client.urls) == 3


def test_a_refusal_is_final() -> None:
    client = Client(answer({}, "EQuery:Unknown asset pair"))
    with pytest.raises(BadRequest, match="refused: EQuery:Unknown asset pair") as caught:
        ask(client, lambda rest: VENUE.rest.klines(rest, "BTC/USD", "1m", 2))  # type: ignore[misc]
    assert (caught.value.status, len(client.urls)) == (200, 1)


def test_a_warning_refuses_nothing() -> None:
    assert (
        ask(Client(answer({"unixtime": 1688669448}, "WGeneral:Old")), VENUE.rest.server_time) == 1688669448000
    )
    both = answer({"unixtime": 1}, "WGeneral:Old", "EGeneral:Invalid arguments")
    with pytest.raises(BadRequest, match="refused: EGeneral:Invalid arguments"):
        ask(Client(both), VENUE.rest.server_time)


def test_pages_of_others_give_a_typed_error() -> None:
    with pytest.raises(ParseError):
        ask(Client(b"<html>"), VENUE.rest.server_time)
    with pytest.raises(ParseError):
        ask(Client(answer(None)), VENUE.rest.server_time)


def failure(
    *errors: str, status: int = 200, replay: ReplayClass = ReplayClass.SAFE, body: bytes = b""
) -> Failure:
    return Failure(
        method=HTTPMethod.GET,
        endpoint="/0/public/Time",
        attempt=1,
        status=status,
        headers={},
        body=body or answer({}, *errors),
        replay=replay,
    )


@pytest.mark.parametrize(
    ("error", "kind", "action"),
    [
        ("EAPI:Rate limit exceeded", RateLimited, Action.BACKOFF),
        ("EOrder:Rate limit exceeded", RateLimited, Action.BACKOFF),
        ("EGeneral:Too many requests", RateLimited, Action.BACKOFF),
        ("EService:Throttled: 1700000000", RateLimited, Action.BACKOFF),
        ("EService:Unavailable", ServerError, Action.BACKOFF),
        ("EService:Busy", ServerError, Action.BACKOFF),
        ("EService:Deadline elapsed", ServerError, Action.BACKOFF),
        ("EGeneral:Internal error", ServerError, Action.BACKOFF),
        ("EAPI:Invalid key", AuthenticationError, Action.HALT),
        ("EAPI:Invalid signature", AuthenticationError, Action.HALT),
        ("EAPI:Invalid nonce", AuthenticationError, Action.HALT),
        ("EGeneral:Permission denied", AuthenticationError, Action.HALT),
        ("EOrder:Insufficient funds", BadRequest, Action.HALT),
        ("EQuery:Unknown asset pair", BadRequest, Action.HALT),
        ("EService:Market in cancel_only mode", BadRequest, Action.HALT),
        ("something new", BadRequest, Action.HALT),
    ],
)
def test_each_error(error: str, kind: type[RestError], action: Action) -> None:
    result = KrakenErrors().to_error(failure(error))
    assert (type(result), result.action) == (kind, action)
    assert error in result.message


@pytest.mark.parametrize(
    "error", ["EService:Deadline elapsed", "EService:Unavailable", "EGeneral:Internal error"]
)
def test_an_order_whose_outcome_is_unknown(error: str) -> None:
    result = KrakenErrors().to_error(failure(error, replay=ReplayClass.BY_CLIENT_ID))
    assert type(result) is OutcomeUnknown
    refused = KrakenErrors().to_error(failure("EOrder:Insufficient funds", replay=ReplayClass.NEVER))
    assert type(refused) is BadRequest


def test_requests_wait_for_the_end_of_a_lockout() -> None:
    result = KrakenErrors().to_error(failure("EGeneral:Temporary lockout"))
    assert (type(result), result.retry_after) == (RateLimited, LOCKED)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (429, RateLimited),
        (500, ServerError),
        (520, ServerError),
        (403, AuthenticationError),
        (404, BadRequest),
    ],
)
def test_a_status_without_a_message_of_the_venue(status: int, kind: type[RestError]) -> None:
    result = KrakenErrors().to_error(failure(status=status, body=b"<html>blocked</html>"))
    assert type(result) is kind
    assert "<html>blocked" in result.message


def test_refusals_with_status_200() -> None:
    errors = KrakenErrors()
    assert errors.refuses(200, answer({}, "EGeneral:Internal error"))
    assert errors.refuses(200, b'{ "error" : ["EGeneral:Internal error"] }')
    for body in (
        TIME,
        b'{ "error" : [ ], "result": 1}',
        b"",
        b"<html>",
        b"[]",
        b'{"error":"no list"}',
        b"{}",
    ):
        assert not errors.refuses(200, body)
