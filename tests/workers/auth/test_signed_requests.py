"""What was signed is what is sent: through RestManager and a real socket to a server that looks at the bytes.

The server's checks are written from the venues' documents with `hmac` alone; they share nothing with the
signers. Each awkward text goes through a query, a form and a JSON body.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import unquote

import msgspec
import pytest

from workers.auth.credentials import Credentials
from workers.contract.protocols import AuthStrategy, HTTPMethod, RequestStrategy, RestStrategySet
from workers.contract.rest import PreparedRequest, RequestContext
from workers.rest import RestManager
from workers.rest.retry import ExponentialRetry
from workers.services.polymarket import auth as polymarket
from workers.venues.binance_futures import auth as binance_futures
from workers.venues.binance_spot import auth as binance_spot
from workers.venues.binance_spot.limits import limits
from workers.venues.bybit import auth as bybit
from workers.venues.gateio import auth as gateio
from workers.venues.kraken import auth as kraken
from workers.venues.mexc_spot import auth as mexc_spot
from workers.venues.okx import auth as okx

KEY, SECRET, PHRASE = "the-key", "c2VjcmV0IHdpdGggYmFzZTY0", "the phrase"
RAW_SECRET = base64.b64decode(SECRET)
PAIR = Credentials.of(KEY, SECRET, PHRASE)
AWKWARD: dict[str, Any] = {
    "symbol": "币安USDT",
    "plus": "a+b",
    "blank": "a b",
    "percent": "100%",
    "encoded": "%2B",
    "empty": "",
    "separators": "a&b=c?d#e/f",
    "quotes": "'\"<>",
    "again": ["1", "2", "1"],
    "ключ": "~_.-",
}


class Received(NamedTuple):
    """One request as it came over the socket."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


class Pairs(RequestStrategy):
    """Lists become repeated keys."""

    def __init__(self, base_url: str, client: str) -> None:
        self._context = RequestContext(base_url=base_url, client=client)

    def create_request_context(self) -> RequestContext:
        return self._context

    def prepare_request(
        self,
        method: HTTPMethod,
        endpoint: str,
        params: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None,
    ) -> PreparedRequest:
        pairs = [
            (name, one)
            for name, value in (params or {}).items()
            for one in (value if isinstance(value, list) else [value])
        ]
        return PreparedRequest(path=endpoint, params=tuple(pairs), headers=headers or {})


@asynccontextmanager
async def server(received: list[Received]) -> AsyncIterator[str]:
    """Takes requests apart by hand: no library may decode or normalise anything."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                first, *lines = head.split("\r\n")[:-2]
                method, target, _ = first.split(" ")
                headers = {n.lower(): v for n, v in (line.split(": ", 1) for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                path, _, query = target.partition("?")
                received.append(Received(method, path, query, headers, body))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        except asyncio.IncompleteReadError:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()


# -- the venues' checks ------------------------------------------------------------------------------------
Check = Callable[[Received], bool]


def _hex(secret: bytes, message: bytes, digest: str = "sha256") -> str:
    return hmac.new(secret, message, digest).hexdigest()


def signed_query(header: str) -> Check:
    def check(got: Received) -> bool:
        payload, _, signature = got.query.rpartition("&signature=")
        return (
            got.headers[header] == KEY
            and payload.isascii()
            and _hex(SECRET.encode(), payload.encode() + got.body) == signature
        )

    return check


def bybit_check(got: Received) -> bool:
    payload = got.body if got.method == "POST" else got.query.encode()
    text = got.headers["x-bapi-timestamp"] + KEY + got.headers["x-bapi-recv-window"]
    return _hex(SECRET.encode(), text.encode() + payload) == got.headers["x-bapi-sign"]


def gateio_check(got: Received) -> bool:
    body = hashlib.sha512(got.body).hexdigest()
    text = "\n".join([got.method, got.path, unquote(got.query), body, got.headers["timestamp"]])
    return _hex(SECRET.encode(), text.encode(), "sha512") == got.headers["sign"]


def okx_check(got: Received) -> bool:
    target = got.path + ("?" + got.query if got.query else "")
    text = got.headers["ok-access-timestamp"] + got.method + target
    expected = base64.b64encode(hmac.digest(SECRET.encode(), text.encode() + got.body, "sha256")).decode()
    return expected == got.headers["ok-access-sign"] and got.headers["ok-access-passphrase"] == PHRASE


def kraken_check(got: Received) -> bool:
    form = got.body.startswith(b"nonce=")
    nonce = got.body.partition(b"&")[0][6:] if form else msgspec.json.decode(got.body)["nonce"].encode()
    text = got.path.encode() + hashlib.sha256(nonce + got.body).digest()
    expected = base64.b64encode(hmac.digest(RAW_SECRET, text, "sha512")).decode()
    kind = "application/x-www-form-urlencoded" if form else "application/json"
    return expected == got.headers["api-sign"] and got.query == "" and got.headers["content-type"] == kind


def polymarket_check(got: Received) -> bool:
    text = got.headers["poly_timestamp"] + got.method + got.path
    digest = hmac.digest(RAW_SECRET, text.encode() + got.body, "sha256")
    return base64.urlsafe_b64encode(digest).decode() == got.headers["poly_signature"]


VENUES: dict[str, tuple[Callable[[], AuthStrategy], str, Check]] = {
    "binance_spot": (lambda: binance_spot.auth(PAIR), "/api/v3/order", signed_query("x-mbx-apikey")),
    "binance_futures": (lambda: binance_futures.auth(PAIR), "/fapi/v1/order", signed_query("x-mbx-apikey")),
    "mexc_spot": (lambda: mexc_spot.auth(PAIR), "/api/v3/order", signed_query("x-mexc-apikey")),
    "bybit": (lambda: bybit.auth(PAIR), "/v5/order/create", bybit_check),
    "gateio": (lambda: gateio.auth(PAIR), "/api/v4/spot/orders", gateio_check),
    "okx": (lambda: okx.auth(PAIR), "/api/v5/trade/order", okx_check),
    "kraken": (lambda: kraken.auth(PAIR), "/0/private/AddOrder", kraken_check),
    "polymarket": (lambda: polymarket.auth(PAIR, "0x0"), "/order", polymarket_check),
}


def send(auth: AuthStrategy, endpoint: str, client: str = "aiohttp") -> list[Received]:
    """A query alone, a JSON body alone, and both."""
    received: list[Received] = []

    async def run() -> None:
        async with server(received) as base_url:
            strategies = RestStrategySet(Pairs(base_url, client), limits(), ExponentialRetry(), auth)
            async with RestManager(strategies) as rest:
                await rest.get(endpoint, AWKWARD)
                await rest.delete(endpoint, {"id": "7"})
                await rest.post(endpoint, json_data=AWKWARD)
                await rest.post(endpoint, {"symbol": "币 +%"}, AWKWARD)
                await rest.post(endpoint)

    asyncio.run(run())
    assert [one.method for one in received] == ["GET", "DELETE", "POST", "POST", "POST"]
    return received


@pytest.mark.parametrize("venue", VENUES)
def test_the_server_finds_every_signature_good(venue: str) -> None:
    make, endpoint, check = VENUES[venue]
    received = send(make(), endpoint)
    assert [check(one) for one in received] == [True] * 5
    assert all(one.path == endpoint and one.query.isascii() for one in received)
    if venue != "kraken":
        pairs = [tuple(map(unquote, pair.split("="))) for pair in received[0].query.split("&")]
        meant = [
            (name, one)
            for name, value in AWKWARD.items()
            for one in (value if isinstance(value, list) else [value])
        ]
        assert pairs[: len(meant)] == meant
        assert msgspec.json.decode(received[2].body) == AWKWARD


@pytest.mark.parametrize("client", ["httpx", "curl_cffi"])
def test_whichever_client_sends_it(client: str) -> None:
    pytest.importorskip(client)
    make, endpoint, check = VENUES["binance_spot"]
    assert [check(one) for one in send(make(), endpoint, client)] == [True] * 5


class Encodes(AuthStrategy):
    """Negative control: signs one form, leaves another to the manager to encode."""

    def __init__(self) -> None:
        self._inner = binance_spot.auth(PAIR)

    def requires_auth(self, endpoint: str) -> bool:
        return True

    def sign_request(self, method: Any, endpoint: Any, params: Any, json_data: Any, timestamp: Any) -> Any:
        raw = "&".join(f"{name}={value}" for name, value in params) + "&timestamp=1"
        signature = _hex(SECRET.encode(), raw.encode())
        signed = self._inner.sign_request(method, endpoint, params, json_data, timestamp)
        return msgspec.structs.replace(
            signed, query=None, params=(*params, ("timestamp", "1"), ("signature", signature))
        )


def test_a_signer_whose_bytes_are_not_those_sent_is_found_out() -> None:
    check = VENUES["binance_spot"][2]
    assert check(send(Encodes(), "/api/v3/order")[0]) is False
