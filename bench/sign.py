"""What does it cost to sign a request?"""

from __future__ import annotations

import hashlib
import hmac
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from urllib.parse import urlencode

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from bench.harness import ROOT, Budget, Result, absent, cores, in_turn, main, percentile, pinned, result
from bench.peers import python_of
from workers.auth.credentials import Credentials
from workers.auth.secret import Secret
from workers.auth.signing import HmacSigner
from workers.contract.protocols import HTTPMethod
from workers.venues.binance_spot.auth import auth

METHOD = """Question: us of one signature of a typical spot order (8 parameters, 146 bytes), one core, each
call timed by itself (two clock reads, about 0.05 us, are in every figure). `HMAC-SHA256, hex`: message
bytes in, text out. `sign_request`: parameters in; encoded query with time and signature, and headers out.
Peers: hmac.new and urlencode of the standard library, as hand-written clients do it; ccxt's `hmac` and its
`sign` of the same order, which also builds the URL, in its own process on the same core. Rounds in turn;
value: median of the rounds' medians; p99 likewise. The target is for HMAC."""

KEY = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
SECRET = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
ORDER = (
    ("symbol", "LTCBTC"),
    ("side", "BUY"),
    ("type", "LIMIT"),
    ("timeInForce", "GTC"),
    ("quantity", "1.00000000"),
    ("price", "0.10000000"),
    ("newClientOrderId", "x-A1b2C3-00001"),
)
NOW = 1_499_827_319_559
TARGET = 3.0
CCXT = "ccxt"
Contender = Callable[[], list[int]]


def timed(call: Callable[[], object], count: int) -> list[int]:
    """ns of each call."""
    now, taken = time.perf_counter_ns, []
    for _ in range(count):
        began = now()
        call()
        taken.append(now() - began)
    return taken


def by_hand(text: str, secret: bytes) -> str:
    """The standard library's way."""
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()


def request_by_hand(secret: bytes) -> tuple[str, dict[str, str]]:
    """The same, of a whole request."""
    query = urlencode((*ORDER, ("recvWindow", "5000"), ("timestamp", str(NOW))))
    return f"{query}&signature={by_hand(query, secret)}", {"X-MBX-APIKEY": KEY}


@contextmanager
def ccxt_process(text: str) -> Iterator[Callable[[str, int], list[int]] | None]:
    """Asks ccxt for the times of COUNT calls; None: it is not installed."""
    python = python_of(CCXT)
    if python is None:
        yield None
        return
    order = {"key": KEY, "secret": SECRET, "text": text, "params": dict(ORDER)}
    command = [str(python), "-P", str(ROOT / "bench/ccxt_sign.py"), json.dumps(order)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def ask(what: str, count: int) -> list[int]:
            stdin.write(f"{what} {count}\n")
            stdin.flush()
            answer: list[int] = json.loads(stdout.readline())
            return answer

        yield ask
        stdin.close()


def rows(metric: str, rounds: dict[str, list[list[int]]], target: float | None) -> list[Result]:
    """One row a peer, of rounds of single times."""
    us = {
        name: [[percentile(sorted(one), share) / 1e3 for one in taken] for share in (0.5, 0.99)]
        for name, taken in rounds.items()
    }
    (median, high) = us.pop("ours")
    p99 = statistics.median(high)
    if not us:
        return [result(metric, "us", median, target=target, p99=p99)]
    return [
        result(
            metric, "us", median, peer, theirs, target=target,
            p99=p99, peer_p99=statistics.median(their_high), calls=len(rounds["ours"][0]),
        )
        for peer, (theirs, their_high) in us.items()
    ]  # fmt: skip


def measure(budget: Budget) -> list[Result]:
    """HMAC alone, the whole request, and the other kinds of key."""
    count = budget.scale(20_000, 200)
    pair = Credentials.of(KEY, SECRET)
    strategy, signer = auth(pair), HmacSigner(pair.secret)
    text = urlencode((*ORDER, ("recvWindow", "5000"), ("timestamp", str(NOW))))
    message, secret = text.encode(), SECRET.encode()
    sign = partial(strategy.sign_request, HTTPMethod.POST, "/api/v3/order", ORDER, None, NOW)
    ours, theirs = sign(), request_by_hand(secret)
    assert (ours.query, ours.headers) == theirs
    assert signer.sign(message) == by_hand(text, secret)

    found: list[Result] = []
    with pinned(cores()[0]), ccxt_process(text) as ccxt:
        for metric, what, mine, hand, target in (
            (
                "HMAC-SHA256, hex",
                "hmac",
                partial(signer.sign, message),
                partial(by_hand, text, secret),
                TARGET,
            ),
            ("sign_request, HMAC-SHA256", "request", sign, partial(request_by_hand, secret), TARGET),
        ):
            contenders: dict[str, Contender] = {
                "ours": partial(timed, mine, count),
                "hmac.new" if what == "hmac" else "urlencode + hmac.new": partial(timed, hand, count),
            }
            if ccxt is not None:
                contenders[f"ccxt {what if what == 'hmac' else 'sign'}"] = partial(
                    ccxt, what, max(50, count // 5)
                )
            found += rows(metric, in_turn(contenders, budget.rounds), target)
            if ccxt is None:
                found.append(absent(metric, "us", CCXT, "python -m bench.peers installs it"))
        for metric, key in (
            ("sign_request, Ed25519", ed25519.Ed25519PrivateKey.generate()),
            ("sign_request, RSA-2048", rsa.generate_private_key(public_exponent=65537, key_size=2048)),
        ):
            pem = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            slow = auth(Credentials(Secret(KEY), Secret(pem.decode())))
            call = partial(slow.sign_request, HTTPMethod.POST, "/api/v3/order", ORDER, None, NOW)
            taken = in_turn({"ours": partial(timed, call, max(20, count // 100))}, budget.rounds)
            found += rows(metric, taken, None)
    return found


if __name__ == "__main__":
    sys.exit(main("sign", METHOD, measure))
