"""Known answers: what venues publish (or peers' tests hold) comes out byte for byte.

The vectors in ``tests/fixtures/signing`` say in `source` where each is from.
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec
import pytest

from workers.auth.credentials import Credentials
from workers.auth.signing import HmacSigner
from workers.contract.protocols import AuthStrategy, HTTPMethod
from workers.services.polymarket import auth as polymarket
from workers.venues.binance_futures import auth as binance_futures
from workers.venues.binance_spot import auth as binance_spot
from workers.venues.bybit import auth as bybit
from workers.venues.gateio import auth as gateio
from workers.venues.kraken import auth as kraken
from workers.venues.mexc_spot import auth as mexc_spot
from workers.venues.okx import auth as okx

ROOT = Path(__file__).resolve().parents[3]
HERE = ROOT / "tests" / "fixtures" / "signing"
ORIGINAL = ROOT.parent / "shared" / "signing"
Vector = dict[str, Any]


def vectors(venue: str) -> dict[str, Vector]:
    lines = (HERE / f"{venue}.jsonl").read_bytes().splitlines()
    return {vector["name"]: vector for vector in map(msgspec.json.decode, lines)}


def credentials(vector: Vector) -> Credentials:
    return Credentials.of(vector.get("key", "<key>"), vector["secret"], vector.get("passphrase", ""))


def pairs(query: str, *without: str) -> list[tuple[str, str]]:
    """The parameters before they were encoded, less those that signing adds."""
    decoded = [(unquote(name), unquote(value)) for name, value in parse_qsl(query, keep_blank_values=True)]
    return [(name, value) for name, value in decoded if name not in without]


# -- query-signing venues ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("strategy", "vector"),
    [
        (binance_spot.auth, vectors("binance")["rest_ascii"]),
        (binance_spot.auth, vectors("binance")["rest_non_ascii_percent_encoded_before_signing"]),
        (
            binance_futures.auth,
            vectors("binance")["usdm_futures_query_or_body"] | {"headers": None},
        ),
        (mexc_spot.auth, vectors("mexc")["spot_v3_query"] | {"method": "POST", "path": "/api/v3/order"}),
    ],
)
def test_signed_queries(strategy: Any, vector: Vector) -> None:
    text = vector["string_to_sign"]
    params = pairs(text, "recvWindow", "timestamp")
    timestamp = int(dict(pairs(text))["timestamp"])
    signed = strategy(credentials(vector)).sign_request(
        HTTPMethod(vector["method"]), vector["path"], params, None, timestamp
    )
    assert signed.query == f"{text}&signature={vector['signature']}"
    assert signed.query == vector.get("final_query", signed.query)
    assert signed.data is None
    expected = vector["headers"] or {"X-MBX-APIKEY": vector["key"]}
    assert {name: signed.headers[name] for name in expected} == expected
    assert set(signed.headers) - set(expected) <= {"Content-Type"}


def test_binance_joins_query_and_body_without_a_separator() -> None:
    vector = vectors("binance")["rest_ascii"]
    body = msgspec.Raw(b"quantity=1&price=0.1")
    signed = binance_spot.auth(credentials(vector)).sign_request(
        HTTPMethod.POST, "/api/v3/order", [("symbol", "LTCBTC")], body, 1499827319559
    )
    assert signed.query is not None
    query, _, signature = signed.query.rpartition("&signature=")
    key = vector["secret"].encode()
    assert signature == hmac.new(key, query.encode() + b"quantity=1&price=0.1", "sha256").hexdigest()
    assert signed.data == b"quantity=1&price=0.1"


def test_binance_websocket_api() -> None:
    vector = vectors("binance")["ws_api_order_place_hmac_sorted"]
    params = {k: v for k, v in vector["params"].items() if k not in ("apiKey", "timestamp")}
    assert binance_spot.to_sign(vector["params"]) == vector["string_to_sign"]
    frame = msgspec.json.decode(
        binance_spot.signed_frame(
            credentials(vector), "a1", vector["method"], params, vector["params"]["timestamp"]
        )
    )
    assert frame == {
        "id": "a1",
        "method": "order.place",
        "params": {**vector["params"], "signature": vector["signature"]},
    }


def test_binance_websocket_login() -> None:
    pair = Credentials.of("key", "secret")
    frame = msgspec.json.decode(binance_spot.login_frame(pair, 7, 1_649_729_878_532))
    signature = hmac.new(b"secret", b"apiKey=key&timestamp=1649729878532", "sha256").hexdigest()
    assert frame == {
        "id": 7,
        "method": "session.logon",
        "params": {"apiKey": "key", "timestamp": 1_649_729_878_532, "signature": signature},
    }


def test_the_websocket_api_signs_raw_utf8() -> None:
    assert binance_spot.to_sign({"symbol": "币USDT", "ok": True}) == "ok=true&symbol=币USDT"


# -- header-signing venues --------------------------------------------------------------------------------
def test_bybit_get() -> None:
    vector = vectors("bybit")["get"]
    signed = bybit.auth(credentials(vector), recv_window=int(vector["recv_window"])).sign_request(
        HTTPMethod.GET, "/v5/order/realtime", pairs(vector["payload"]), None, int(vector["timestamp"])
    )
    assert signed.headers == vector["headers"]
    assert signed.query == vector["payload"]
    assert signed.data is None


def test_bybit_post_signs_the_body_and_not_the_query() -> None:
    body = {"category": "linear", "币": "a b"}
    signed = bybit.auth(Credentials.of("k", "s")).sign_request(
        HTTPMethod.POST, "/v5/order/create", [], body, 17
    )
    sent = '{"category":"linear","币":"a b"}'.encode()
    assert signed.data == sent
    assert signed.headers["X-BAPI-SIGN"] == hmac.new(b"s", b"17k5000" + sent, "sha256").hexdigest()


def test_bybit_websocket_login() -> None:
    vector = vectors("bybit")["ws_auth"]
    frame = bybit.auth(credentials(vector)).login_frame(vector["frame"]["args"][1])
    assert frame == msgspec.json.encode(vector["frame"])


def test_gateio() -> None:
    vector = vectors("gateio")["get_futures_orders"]
    signed = gateio.auth(credentials(vector)).sign_request(
        HTTPMethod.GET, vector["path"], pairs(vector["query"]), None, int(vector["timestamp"]) * 1000 + 999
    )
    assert signed.headers == vector["headers"]
    assert signed.query == vector["query"]
    assert signed.data is None


def test_gateio_signs_the_decoded_query_and_sends_the_encoded_one() -> None:
    signed = gateio.auth(Credentials.of("k", "s")).sign_request(
        HTTPMethod.POST, "/api/v4/spot/orders", [("text", "t-a b+c")], {"side": "buy"}, 1_000
    )
    digest = hashlib.sha512(b'{"side":"buy"}').hexdigest()
    text = f"POST\n/api/v4/spot/orders\ntext=t-a b+c\n{digest}\n1"
    assert signed.headers["SIGN"] == hmac.new(b"s", text.encode(), "sha512").hexdigest()
    assert signed.query == "text=t-a%20b%2Bc"
    assert signed.data == b'{"side":"buy"}'


def test_gateio_private_subscription() -> None:
    vector = vectors("gateio")["ws_private_subscribe"]
    frame = vector["frame"]
    made = gateio.auth(credentials(vector)).subscription_frame(
        frame["channel"], frame["event"], frame["payload"], frame["time"] * 1000
    )
    assert made == msgspec.json.encode(frame)


def test_gateio_websocket_api_login() -> None:
    frame = msgspec.json.decode(gateio.auth(Credentials.of("k", "s")).login_frame("spot.login", "r1", 5_000))
    signature = hmac.new(b"s", b"api\nspot.login\n\n5", "sha512").hexdigest()
    assert frame == {
        "time": 5,
        "channel": "spot.login",
        "event": "api",
        "payload": {"req_id": "r1", "api_key": "k", "signature": signature, "timestamp": "5"},
    }


def test_kraken() -> None:
    vector = vectors("kraken")["spot_add_order"]
    params = pairs(vector["body"], "nonce")
    signed = kraken.auth(credentials(vector)).sign_request(
        HTTPMethod.POST, vector["path"], params, None, int(vector["nonce"])
    )
    assert signed.data == vector["body"].encode()
    assert signed.query == ""
    assert signed.headers == {**vector["headers"], "Content-Type": "application/x-www-form-urlencoded"}


def test_kraken_json_bodies_have_the_nonce_inside() -> None:
    vector = vectors("kraken")["spot_add_order"]
    signed = kraken.auth(credentials(vector)).sign_request(
        HTTPMethod.POST, "/0/private/AddOrderBatch", [], {"pair": "XBTUSD"}, 5
    )
    assert signed.data == b'{"nonce":"5","pair":"XBTUSD"}'
    text = b"/0/private/AddOrderBatch" + hashlib.sha256(b"5" + signed.data).digest()
    signer = HmacSigner(credentials(vector).secret, "sha512", key="base64", output="base64")
    assert signed.headers["API-Sign"] == signer.sign(text)


@pytest.mark.parametrize("name", ["get_no_query", "post_json"])
def test_okx(name: str) -> None:
    vector = vectors("okx")[name]
    body = msgspec.json.decode(vector["body"]) if vector["body"] else None
    signed = okx.auth(credentials(vector)).sign_request(
        HTTPMethod(vector["method"]), vector["path"], [], body, 1_607_418_537_715
    )
    assert signed.headers == vector["headers"]
    assert (signed.data or b"").decode() == vector["body"]
    assert signed.query == ""


def test_okx_signs_the_query_with_the_path() -> None:
    signed = okx.auth(Credentials.of("k", "s", "p"), simulated=True).sign_request(
        HTTPMethod.GET, "/api/v5/account/balance", [("ccy", "BTC,ETH")], None, 0
    )
    text = b"1970-01-01T00:00:00.000ZGET/api/v5/account/balance?ccy=BTC%2CETH"
    digest = hmac.digest(b"s", text, "sha256")
    assert signed.query == "ccy=BTC%2CETH"
    assert signed.headers["OK-ACCESS-SIGN"] == _base64(digest)
    assert signed.headers["x-simulated-trading"] == "1"


def test_okx_websocket_login() -> None:
    frame = okx.auth(Credentials.of("k", "s", "p")).login_frame(1_700_000_000_999)
    sign = _base64(hmac.digest(b"s", b"1700000000GET/users/self/verify", "sha256"))
    entry = {"apiKey": "k", "passphrase": "p", "timestamp": "1700000000", "sign": sign}
    assert msgspec.json.decode(frame) == {"op": "login", "args": [entry]}


def test_polymarket_level_2() -> None:
    vector = vectors("polymarket")["l2_hmac_with_body"]
    pair = Credentials.of("k", vector["secret"], "p")
    signed = polymarket.auth(pair, "0xf39F").sign_request(
        vector["method"],
        vector["path"],
        [("a", "b")],
        msgspec.Raw(vector["body"].encode()),
        int(vector["timestamp"]) * 1000,
    )
    assert set(signed.headers) == set(vector["headers"])
    assert signed.headers["POLY_SIGNATURE"] == vector["signature"]
    assert signed.headers["POLY_TIMESTAMP"] == vector["timestamp"]
    assert signed.data == vector["body"].encode()
    assert signed.query == "a=b", "the query is sent, and not signed"


def test_polymarket_user_channel() -> None:
    frame = polymarket.auth(Credentials.of("k", "c2VjcmV0", "p"), "0x").login_frame(["m"])
    assert msgspec.json.decode(frame) == {
        "auth": {"apiKey": "k", "secret": "c2VjcmV0", "passphrase": "p"},
        "markets": ["m"],
        "assets_ids": [],
        "type": "user",
    }


@pytest.mark.parametrize(
    "name", sorted(name for name, one in vectors("polymarket").items() if "typed_data" in one)
)
def test_polymarket_level_1_and_orders(name: str) -> None:
    pytest.skip("EIP-712 signatures of a wallet come with the service itself")


# -- all of them ---------------------------------------------------------------------------------------
CASES: list[tuple[Any, str, str]] = [
    (binance_spot.auth(Credentials.of("k", "s")), "/api/v3/depth", "/api/v3/order"),
    (binance_futures.auth(Credentials.of("k", "s")), "/fapi/v1/depth", "/fapi/v1/order"),
    (bybit.auth(Credentials.of("k", "s")), "/v5/market/tickers", "/v5/order/create"),
    (gateio.auth(Credentials.of("k", "s")), "/api/v4/spot/currencies/BTC", "/api/v4/spot/orders"),
    (kraken.auth(Credentials.of("k", "c2VjcmV0")), "/0/public/Depth", "/0/private/Balance"),
    (mexc_spot.auth(Credentials.of("k", "s")), "/api/v3/klines", "/api/v3/account"),
    (okx.auth(Credentials.of("k", "s", "p")), "/api/v5/market/books", "/api/v5/trade/order"),
    (polymarket.auth(Credentials.of("k", "c2VjcmV0"), "0x"), "/book", "/data/order/0x1"),
]


@pytest.mark.parametrize(("strategy", "public", "private"), CASES)
def test_the_public_is_not_signed_and_the_private_is(
    strategy: AuthStrategy, public: str, private: str
) -> None:
    assert not strategy.requires_auth(public)
    assert strategy.requires_auth(private)


TIMES = {
    "binance_spot": b'{"serverTime":1700000000123}',
    "binance_futures": b'{"serverTime":1700000000123}',
    "bybit": b'{"retCode":0,"retMsg":"OK","result":{"timeSecond":"1700000000"},"time":1700000000123}',
    "gateio": b'{"server_time":1700000000123}',
    "mexc_spot": b'{"serverTime":1700000000123}',
    "okx": b'{"code":"0","msg":"","data":[{"ts":"1700000000123"}]}',
    "polymarket": b"1700000000",
}


@pytest.mark.parametrize(("strategy", "public", "private"), CASES)
def test_where_the_venue_tells_its_time(strategy: AuthStrategy, public: str, private: str) -> None:
    server_time = strategy.server_time()
    venue = type(strategy).__module__.split(".")[-2] if server_time else "kraken"
    if server_time is None:
        assert isinstance(strategy, kraken.KrakenAuth), "nonces need no clock"
        return
    assert not strategy.requires_auth(server_time.endpoint)
    body = next(body for name, body in TIMES.items() if name == _venue(server_time.endpoint, venue))
    assert abs(server_time.read(body) - 1_700_000_000_123) <= 500
    with pytest.raises(ValueError, match=r"."):
        server_time.read(b"<html>")


def _venue(endpoint: str, module: str) -> str:
    return {"/api/v3/time": "binance_spot", "/fapi/v1/time": "binance_futures"}.get(endpoint, module)


def _base64(data: bytes) -> str:
    import base64

    return base64.b64encode(data).decode()


def test_a_signer_that_encodes_again_fails_the_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control."""
    monkeypatch.setattr(
        "workers.auth.signed_query.encode_query",
        lambda params: "&".join(f"{name}={value}" for name, value in params),
    )
    vector = vectors("binance")["rest_non_ascii_percent_encoded_before_signing"]
    with pytest.raises(AssertionError):
        test_signed_queries(binance_spot.auth, vector)


@pytest.mark.skipif(not ORIGINAL.is_dir(), reason="the original vectors are not here")
def test_the_copies_are_the_originals() -> None:
    originals = {path.name: path.read_bytes() for path in ORIGINAL.glob("*.jsonl")}
    assert originals == {path.name: path.read_bytes() for path in HERE.glob("*.jsonl")}


def test_every_vector_says_where_it_is_from() -> None:
    for path in HERE.glob("*.jsonl"):
        assert all(vector["source"] for vector in vectors(path.stem).values())
