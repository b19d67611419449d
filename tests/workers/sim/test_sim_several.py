"""Several simulated venues in one process: one line tells where each is, one order stops them all."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from workers.sim import FEEDS

COMMAND = [sys.executable, "-m", "workers.sim"]
ROOT = Path(__file__).parents[3]


def test_every_venue_serves_until_one_order() -> None:
    feeds = ",".join(FEEDS)
    with subprocess.Popen(
        [*COMMAND, "--feeds", feeds], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        urls = json.loads(process.stdout.readline())
        assert list(urls) == list(FEEDS)
        for feed, where in urls.items():
            assert where["ws_url"].startswith("ws://127.0.0.1:")
            assert get(f"{where['rest_url']}/sim/state")["feed"] == feed
        process.terminate()
        assert process.wait(10) == 0


def free_ports(count: int) -> int:
    """The first of so many ports in a row that nobody listens on; below those that the kernel gives out."""
    for _ in range(100):
        base = random.randrange(20_000, 32_000)
        try:
            with ExitStack() as stack:
                for port in range(base, base + count):
                    stack.enter_context(socket.create_server(("127.0.0.1", port)))
        except OSError:
            continue
        return base
    raise AssertionError(f"no {count} free ports in a row")


@contextmanager
def running(*arguments: str) -> Iterator[dict[str, dict[str, str]]]:
    """The line that the process prints, while it runs."""
    with subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()
    assert process.returncode == 0


def get(url: str) -> Any:
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)


def test_fixed_ports_are_two_a_venue_in_the_order_of_the_feeds() -> None:
    base = free_ports(4)
    with running(
        "--feeds", "okx,binance_spot", "--port", str(base), "--symbols", "SOL/USDT,BNB/USDT"
    ) as urls:
        assert urls == {
            "okx": {"ws_url": f"ws://127.0.0.1:{base}", "rest_url": f"http://127.0.0.1:{base + 1}"},
            "binance_spot": {
                "ws_url": f"ws://127.0.0.1:{base + 2}",
                "rest_url": f"http://127.0.0.1:{base + 3}",
            },
        }
        listed = get(f"http://127.0.0.1:{base + 3}/api/v3/exchangeInfo")["symbols"]
        assert [one["symbol"] for one in listed] == ["SOLUSDT", "BNBUSDT"]


def test_each_venue_has_those_of_the_symbols_that_it_lists() -> None:
    with running("--feeds", "kraken,okx", "--symbols", "ETH/USD,BTC/USDT,BTC/USDT:USDT") as urls:
        books = [
            (feed, symbol)
            for feed, where in urls.items()
            for symbol in ("ETH/USD", "BTC/USDT", "BTC/USDT:USDT")
            if has_book(where["rest_url"], symbol)
        ]
    assert books == [
        ("kraken", "ETH/USD"),
        ("kraken", "BTC/USDT"),
        ("okx", "BTC/USDT"),
        ("okx", "BTC/USDT:USDT"),
    ]


def has_book(rest_url: str, symbol: str) -> bool:
    try:
        return bool(get(f"{rest_url}/sim/book?symbol={symbol}")["bids"])
    except urllib.error.HTTPError:
        return False


def test_the_seed_is_every_venues() -> None:
    """Side by side the prices follow one world's, which goes with the clock; sizes are the seed's alone."""
    arguments = ("--feeds", "binance_spot,mexc_spot", "--rate", "0", "--symbols", "BTC/USDT", "--seed")

    def sizes(seed: str) -> list[list[str]]:
        with running(*arguments, seed) as urls:
            books = [get(f"{where['rest_url']}/sim/book?symbol=BTC/USDT") for where in urls.values()]
        return [[size for _, size in book["bids"]] for book in books]

    five, again, six = sizes("5"), sizes("5"), sizes("6")
    assert five == again
    assert all(one != other for one, other in zip(five, six, strict=True))


def test_a_taken_port_is_one_line_that_names_feed_and_port() -> None:
    base = free_ports(4)
    with socket.create_server(("127.0.0.1", base + 3)):
        done = run("--feeds", "okx,kraken", "--port", str(base))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("tickring sim: cannot listen: kraken: ")
    assert f"('127.0.0.1', {base + 3}): address already in use" in done.stderr


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, cwd=ROOT, check=False)


def refused(*arguments: str) -> str:
    done = run(*arguments)
    assert done.returncode == 2
    return done.stderr.splitlines()[-1]


def test_what_does_not_go_together_is_one_line() -> None:
    assert refused("--feeds", "okx", "--rest-port", "1").startswith("tickring sim: --feeds goes with")
    assert refused("--feeds", "okx", "--capture", "x").startswith("tickring sim: --feeds goes with")
    assert "unknown feed 'nowhere'" in refused("--feeds", "binance_spot,nowhere")
    assert "not allowed with argument" in refused("binance_spot", "--feeds", "binance_spot")
    assert "is required" in refused()


def test_ports_and_symbols_that_cannot_be_are_one_line() -> None:
    assert refused("--feeds", "okx,kraken", "--port", "65533").endswith("2 feeds need 4 ports from there on")
    assert "'65536' is not a port: expected 0 to 65535" in refused("okx", "--port", "65536")
    line = refused("--feeds", "okx,kraken", "--symbols", "BTC/USDT,NO/NO")
    assert line == "tickring sim: --symbols: none of okx, kraken lists 'NO/NO'"
    line = refused("--feeds", "okx,kraken", "--symbols", "BTC/USDT:USDT")
    assert line.startswith("tickring sim: --symbols: kraken lists none of these; it lists BTC/USD, ")
