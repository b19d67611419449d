"""Several simulated venues in one process: one line tells where each is, one order stops them all."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

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
            with urllib.request.urlopen(f"{where['rest_url']}/sim/state") as answer:
                assert json.load(answer)["feed"] == feed
        process.terminate()
        assert process.wait(10) == 0


def refused(*arguments: str) -> str:
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    return done.stderr.splitlines()[-1]


def test_what_does_not_go_together_is_one_line() -> None:
    assert refused("--feeds", "binance_spot", "--port", "1").startswith("tickring sim: --feeds goes with")
    assert "unknown feed 'nowhere'" in refused("--feeds", "binance_spot,nowhere")
    assert "not allowed with argument" in refused("binance_spot", "--feeds", "binance_spot")
    assert "is required" in refused()
