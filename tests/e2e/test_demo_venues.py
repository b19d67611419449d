"""All simulated venues from one configuration: each is LIVE, one worker's death touches no other, and the
HTTP server tells of every feed and symbol."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e_stack import ROOT, environment, eventually

import shm
from engine.demo import choose_markets
from shm import State
from tests.instances import mine

INSTANCE = mine("venues")


@pytest.fixture
def address() -> Iterator[str]:
    """The HTTP server of a running demo."""
    command = [sys.executable, "-m", "engine.cli", "demo", "--instance", INSTANCE]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT, env=environment()
    )
    try:
        assert process.stdout is not None
        words = process.stdout.readline().split()  # metrics   http://127.0.0.1:9464/metrics   (also ...
        yield words[1].removesuffix("/metrics")
    finally:
        process.terminate()
        process.communicate(timeout=20)  # its lines are read: a full pipe would hold it
        assert process.returncode == 0
        assert not list(Path("/dev/shm").glob(f"tickring.{INSTANCE}.*"))


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=5) as answer:
        found: bytes = answer.read()
        return found


def test_a_worker_that_dies_leaves_the_others_live(address: str) -> None:
    markets = choose_markets()
    feeds = {name: shm.attach(name, INSTANCE, wait=30.0) for name in markets}
    eventually(lambda: all(feed.state is State.LIVE for feed in feeds.values()), 30, "all are LIVE")
    epochs = {name: feed.epoch for name, feed in feeds.items()}
    *others, victim = markets
    os.kill(feeds[victim].pid, signal.SIGKILL)

    def back() -> bool:
        assert all(feeds[name].state is State.LIVE for name in others)
        return feeds[victim].epoch == epochs[victim] + 1 and feeds[victim].state is State.LIVE

    eventually(back, 30, f"{victim} is LIVE again")
    assert {name: feeds[name].epoch for name in others} == {name: epochs[name] for name in others}
    for name, symbols in markets.items():
        for symbol in symbols:
            eventually(
                lambda n=name, s=symbol: feeds[n].top(s, allow_stale=True).state is State.LIVE, 10, symbol
            )


def test_the_http_server_shows_all(address: str) -> None:
    markets = choose_markets()
    feeds = {name: shm.attach(name, INSTANCE, wait=30.0) for name in markets}
    eventually(lambda: all(feed.state is State.LIVE for feed in feeds.values()), 30, "all are LIVE")
    assert json.loads(get(f"{address}/readyz")) == {"ready": True, "not_ready": {}}
    metrics = get(f"{address}/metrics").decode()
    status = json.loads(get(f"{address}/status"))
    assert sorted(feed["name"] for feed in status["feeds"]) == sorted(markets)
    for name, symbols in markets.items():
        assert f'tickring_feed_state{{feed="{name}"}} 3.0' in metrics
        for symbol in symbols:
            assert f'tickring_instrument_state{{channel="book",feed="{name}",symbol="{symbol}"}}' in metrics
