"""The simulated venue checks signatures, and RestManager's pass: keys of every kind, clocks, counts."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from workers.auth.credentials import Credentials, RotatingCredentials, origin
from workers.contract.errors import AuthenticationError, BadRequest, ClockSkew
from workers.contract.protocols import AuthStrategy, RestStrategySet
from workers.contract.rest import RequestContext
from workers.rest import RestManager
from workers.rest.retry import ExponentialRetry
from workers.sim import SimError, SimKey, SimVenue
from workers.sim.keys import Keys, read_keys
from workers.sim.limits import OrderCount
from workers.sim.refusal import Refusal
from workers.venues.binance.errors import BinanceErrors
from workers.venues.binance.request import BinanceRequests
from workers.venues.binance_spot import auth as binance_spot
from workers.venues.binance_spot.errors import CODES
from workers.venues.binance_spot.limits import limits

ORDER = {
    "symbol": "BTCUSDT",
    "side": "BUY",
    "type": "LIMIT",
    "timeInForce": "GTC",
    "quantity": "1",
    "price": "9",
}
PEM = serialization.Encoding.PEM


def pems(key: Any, passphrase: bytes | None = None) -> tuple[str, str]:
    """Private and public half."""
    hidden = (
        serialization.NoEncryption()
        if passphrase is None
        else serialization.BestAvailableEncryption(passphrase)
    )
    private = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, hidden)
    public = key.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


ED_PRIVATE, ED_PUBLIC = pems(ed25519.Ed25519PrivateKey.generate())
RSA_PRIVATE, RSA_PUBLIC = pems(rsa.generate_private_key(public_exponent=65537, key_size=2048), b"phrase")
KEYS = [
    SimKey(key="hmac", secret="a secret"),
    SimKey(key="ed25519", public_key=ED_PUBLIC),
    SimKey(key="rsa", public_key=RSA_PUBLIC),
]
GOOD = {
    "hmac": Credentials.of("hmac", "a secret"),
    "ed25519": Credentials.of("ed25519", ED_PRIVATE),
    "rsa": Credentials.of("rsa", RSA_PRIVATE, "phrase"),
}


def still(**options: Any) -> SimVenue:
    return SimVenue(symbols=["BTC/USDT"], rate=0.0, levels=30, **{"keys": KEYS, **options})


def manager(venue: SimVenue, auth: AuthStrategy, **options: Any) -> RestManager:
    return RestManager(
        RestStrategySet(
            BinanceRequests(RequestContext(base_url=venue.rest_url)),
            limits(),
            ExponentialRetry(),
            auth,
            BinanceErrors(CODES),
        ),
        **options,
    )


@pytest.mark.parametrize("kind", GOOD)
def test_signed_requests_pass_with_every_kind_of_key(kind: str) -> None:
    async def run() -> None:
        async with still() as venue, manager(venue, binance_spot.auth(GOOD[kind])) as rest:
            account = await rest.get("/api/v3/account", {"omitZeroBalances": True})
            assert account["balances"][0]["asset"] == "USDT"
            assert await rest.get("/api/v3/openOrders", {"symbol": "BTCUSDT"}) == []
            assert await rest.post("/api/v3/order/test", ORDER) == {}
            assert await rest.post("/api/v3/order/test", {**ORDER, "newClientOrderId": "a b+c/%=币"}) == {}
            assert (await rest.get("/api/v3/depth", {"symbol": "BTCUSDT"}))["bids"], "public: not signed"

    asyncio.run(run())


@pytest.mark.parametrize("kind", GOOD)
def test_a_wrong_signature_is_refused(kind: str) -> None:
    wrong = {
        "hmac": Credentials.of("hmac", "another secret"),
        "ed25519": Credentials.of("ed25519", pems(ed25519.Ed25519PrivateKey.generate())[0]),
        "rsa": Credentials.of("rsa", "a secret of another kind"),
    }[kind]

    async def run() -> None:
        async with still() as venue, manager(venue, binance_spot.auth(wrong)) as rest:
            with pytest.raises(AuthenticationError) as error:
                await rest.get("/api/v3/account")
            assert (error.value.code, error.value.status) == (-1022, 400)

    asyncio.run(run())


def test_keys_that_are_not_known() -> None:
    async def run() -> None:
        async with still() as venue, aiohttp.ClientSession(venue.rest_url) as session:
            for headers, code in (({}, -2014), ({"X-MBX-APIKEY": "who"}, -2015)):
                async with session.get("/api/v3/account?timestamp=1", headers=headers) as answer:
                    assert (answer.status, (await answer.json())["code"]) == (401, code)
        async with still(keys=()) as venue, manager(venue, binance_spot.auth(GOOD["hmac"])) as rest:
            with pytest.raises(AuthenticationError) as error:
                await rest.get("/api/v3/account")
            assert error.value.code == -2015

    asyncio.run(run())


class Clocks:
    """The venue's wall clock, ahead of ours."""

    def __init__(self, ahead: float) -> None:
        self.ahead = ahead

    def wall_ns(self) -> int:
        return time.time_ns() + int(self.ahead * 1e9)


@pytest.mark.parametrize("ahead", [3600.0, -3600.0, 7.0, -2.0])
def test_a_clock_that_is_wrong_is_learnt_and_the_request_made_once_more(ahead: float) -> None:
    async def run() -> None:
        clocks = Clocks(ahead)
        auth = binance_spot.auth(GOOD["hmac"])
        async with still(wall_ns=clocks.wall_ns) as venue, manager(venue, auth) as rest:
            await rest.get("/api/v3/account")
            assert venue.rest.counters["account"] == 2
            assert venue.rest.counters["time"] == 1
            await rest.get("/api/v3/account")
            await rest.post("/api/v3/order/test", ORDER)
            assert venue.rest.counters["time"] == 1, "learnt once"
            clocks.ahead -= 60.0  # the venue's clock steps
            await rest.get("/api/v3/account")
            assert venue.rest.counters["time"] == 2

    asyncio.run(run())


def test_an_order_refused_for_its_time_is_not_repeated_and_the_next_one_passes() -> None:
    async def run() -> None:
        auth = binance_spot.auth(GOOD["hmac"])
        async with still(wall_ns=Clocks(-60.0).wall_ns) as venue, manager(venue, auth) as rest:
            with pytest.raises(ClockSkew) as error:
                await rest.post("/api/v3/order/test", ORDER)
            assert error.value.code == -1021
            assert venue.rest.counters["order/test"] == 1
            assert await rest.post("/api/v3/order/test", ORDER) == {}

    asyncio.run(run())


def test_a_step_of_our_wall_clock_changes_nothing() -> None:
    async def run() -> None:
        wall = [time.time()]
        auth = binance_spot.auth(GOOD["hmac"])
        async with still() as venue, manager(venue, auth, wall=lambda: wall[0]) as rest:
            for step in (0.0, 3600.0, -7200.0):
                wall[0] += step
                await rest.get("/api/v3/account")
            assert venue.rest.counters["account"] == 3
            assert "time" not in venue.rest.counters

    asyncio.run(run())


def signed(params: str, secret: str = "a secret") -> str:
    return f"{params}&signature={hmac.new(secret.encode(), params.encode(), hashlib.sha256).hexdigest()}"


NOW = 1_700_000_000_000


@pytest.mark.parametrize(
    ("query", "code", "words"),
    [
        (f"timestamp={NOW}", -1102, "'signature'"),
        ("recvWindow=5000&signature=ab", -1102, "'timestamp'"),
        ("timestamp=now&signature=ab", -1100, "'timestamp'"),
        (f"timestamp={NOW}&recvWindow=60001&signature=ab", -1131, "recvWindow"),
        (signed(f"timestamp={NOW - 5001}"), -1021, "outside of the recvWindow"),
        (signed(f"timestamp={NOW - 101}&recvWindow=100"), -1021, "outside of the recvWindow"),
        (signed(f"timestamp={NOW + 1000}"), -1021, "1000ms ahead"),
        (signed(f"timestamp={NOW}", "wrong"), -1022, "not valid"),
        (signed(f"timestamp={NOW}").replace("&", "&x=1&"), -1022, "not valid"),
        (f"timestamp={NOW}&signature=" + signed(f"timestamp={NOW}")[-64:].upper(), -1022, "not valid"),
    ],
)  # fmt: skip
def test_what_the_venue_refuses(query: str, code: int, words: str) -> None:
    with pytest.raises(Refusal, match=words) as refusal:
        Keys(KEYS).check("hmac", query, b"", NOW)
    assert refusal.value.args[0] == code


@pytest.mark.parametrize(
    "query",
    [
        signed(f"timestamp={NOW - 5000}"),
        signed(f"timestamp={NOW + 999}"),
        signed(f"timestamp={NOW}123&a="),
        signed(f"timestamp={NOW - 60_000}&recvWindow=60000"),
        signed(f"symbol={quote('币 +')}&timestamp={NOW}"),
    ],
)
def test_what_the_venue_takes(query: str) -> None:
    params = Keys(KEYS).check("hmac", query, b"", NOW)
    assert "signature" not in params


def test_query_and_body_are_joined_with_nothing_between() -> None:
    query, body = f"timestamp={NOW}", "symbol=BTCUSDT"
    good = hmac.new(b"a secret", (query + body).encode(), "sha256").hexdigest()
    bad = hmac.new(b"a secret", f"{query}&{body}".encode(), "sha256").hexdigest()
    params = Keys(KEYS).check("hmac", query, f"{body}&signature={good}".encode(), NOW)
    assert params["symbol"] == "BTCUSDT"
    with pytest.raises(Refusal):
        Keys(KEYS).check("hmac", query, f"{body}&signature={bad}".encode(), NOW)


def test_base64_signatures_that_are_none() -> None:
    for signature in ("no-base64", quote(base64.b64encode(b"short").decode())):
        for key in ("ed25519", "rsa"):
            with pytest.raises(Refusal, match="not valid"):
                Keys(KEYS).check(key, f"timestamp={NOW}&signature={signature}", b"", NOW)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"symbol": None}, -1102),
        ({"symbol": "NOPE"}, -1121),
        ({"side": "HOLD"}, -1117),
        ({"type": "MAGIC"}, -1116),
        ({"timeInForce": "SOON"}, -1115),
        ({"price": None}, -1102),
        ({"type": "MARKET", "quantity": None}, -1102),
    ],
)
def test_orders_that_are_none(change: dict[str, Any], code: int) -> None:
    async def run() -> None:
        async with still() as venue, manager(venue, binance_spot.auth(GOOD["hmac"])) as rest:
            with pytest.raises(BadRequest) as error:
                await rest.post("/api/v3/order/test", {**ORDER, **change})
            assert error.value.code == code

    asyncio.run(run())


def test_weights_and_order_counts_are_sent() -> None:
    async def run() -> None:
        async with still() as venue, aiohttp.ClientSession(venue.rest_url) as session:
            headers = {"X-MBX-APIKEY": "hmac"}

            async def ask(method: str, path: str, params: str = "") -> Any:
                query = signed(f"{params}timestamp={int(time.time() * 1000)}")
                async with session.request(method, f"{path}?{query}", headers=headers) as answer:
                    return answer.status, answer.headers

            order = "&".join(f"{name}={value}" for name, value in ORDER.items()) + "&"
            seen = [
                await ask("GET", "/api/v3/account"),
                await ask("GET", "/api/v3/openOrders"),
                await ask("GET", "/api/v3/openOrders", "symbol=BTCUSDT&"),
                await ask("POST", "/api/v3/order/test", order),
                await ask("POST", "/api/v3/order/test", order),
            ]
            assert [status for status, _ in seen] == [200] * 5
            assert [int(head["X-MBX-USED-WEIGHT-1M"]) for _, head in seen] == [20, 100, 106, 107, 108]
            assert [head.get("X-MBX-ORDER-COUNT-10S") for _, head in seen] == [None, None, None, "1", "2"]
            assert seen[-1][1]["X-MBX-ORDER-COUNT-1D"] == "2"

    asyncio.run(run())


def test_too_many_orders() -> None:
    now = [0.0]
    count = OrderCount(lambda: now[0])
    assert [count.take() for _ in range(100)] == [""] * 100
    assert count.take() == "100 orders per 10 SECOND"
    now[0] = 10.0
    assert count.take() == ""
    assert count.headers() == {"X-MBX-ORDER-COUNT-10S": "1", "X-MBX-ORDER-COUNT-1D": "102"}


def test_too_many_orders_are_refused_as_such() -> None:
    async def run() -> None:
        async with still(clock=lambda: 5.0) as venue, aiohttp.ClientSession(venue.rest_url) as session:
            order = "&".join(f"{name}={value}" for name, value in ORDER.items())
            for _ in range(101):
                query = signed(f"{order}&timestamp={int(time.time() * 1000)}")
                async with session.post(
                    f"/api/v3/order/test?{query}", headers={"X-MBX-APIKEY": "hmac"}
                ) as answer:
                    body = await answer.json()
            assert (answer.status, body["code"]) == (429, -1015)
            assert answer.headers["X-MBX-ORDER-COUNT-10S"] == "101"

    asyncio.run(run())


# -- keys -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "key", [{"key": "k"}, {"key": "", "secret": "s"}, {"key": "k", "secret": "s", "public_key": "p"}]
)
def test_a_key_has_one_secret(key: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="either a secret or a public_key"):
        SimKey(**key)


def test_a_public_key_of_another_kind() -> None:
    curve = pems(ec.generate_private_key(ec.SECP256R1()))[1]
    for pem, message in ((curve, "is Ed25519 or RSA, not"), ("nonsense", "is no PEM")):
        with pytest.raises(SimError, match=message):
            still(keys=[SimKey(key="k", public_key=pem)])


def test_keys_do_not_show_their_secret() -> None:
    assert "a secret" not in repr(KEYS)


def test_keys_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(
        '[[keys]]\nkey = "hmac"\nsecret = "a secret"\n\n'
        f'[[keys]]\nkey = "ed25519"\npublic_key = """{ED_PUBLIC}"""\n'
    )
    assert read_keys(path) == [KEYS[0], KEYS[1]]
    for text, message in (
        ("", "wanted are"),
        ("[[keys]]\nkey = 1\nsecret = 's'", "str"),
        ("x", "wanted are"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_keys(path)


def test_the_command_line_says_what_is_wrong_with_keys(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "workers.sim", "binance_spot", "--keys", str(tmp_path / "none")],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 2
    assert "wanted are [[keys]]" in done.stderr


def test_the_command_line_gives_the_venue_its_keys(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.write_text('[[keys]]\nkey = "hmac"\nsecret = "a secret"\n')
    command = [sys.executable, "-m", "workers.sim", "binance_spot", "--rate", "1", "--keys", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["rest_url"]

            async def run() -> None:
                context = RequestContext(base_url=url)
                strategies = RestStrategySet(
                    BinanceRequests(context),
                    limits(),
                    ExponentialRetry(),
                    binance_spot.auth(GOOD["hmac"]),
                )
                async with RestManager(strategies) as rest:
                    assert (await rest.get("/api/v3/account"))["canTrade"] is True

            asyncio.run(run())
        finally:
            process.terminate()
            assert process.wait(10) == 0


def test_a_key_rotated_on_the_disk_is_used_without_a_restart(tmp_path: Path) -> None:
    files = {"key": "hmac", "secret": "a secret"}

    def write(**texts: str) -> None:
        for name, text in texts.items():
            fresh = tmp_path / f"{name}.new"
            fresh.write_text(text)
            fresh.chmod(0o600)
            fresh.rename(tmp_path / name)

    async def run() -> None:
        write(**files)
        now = [0.0]
        source = RotatingCredentials(
            origin(f"file:{tmp_path / 'key'}", f"file:{tmp_path / 'secret'}", "", {}), clock=lambda: now[0]
        )
        async with still() as venue, manager(venue, binance_spot.auth(source)) as rest:
            await rest.get("/api/v3/account")
            write(key="ed25519")
            for _ in range(3):  # half a rotation: still the old pair, which is still good
                now[0] += 1.0
                await rest.get("/api/v3/account")
            assert "replace" in source.problem
            write(secret=ED_PRIVATE)
            for _ in range(3):
                now[0] += 1.0
                await rest.get("/api/v3/account")
            assert (source.rotations, source.problem) == (1, "")
            assert source.current().key == GOOD["ed25519"].key

    asyncio.run(run())
