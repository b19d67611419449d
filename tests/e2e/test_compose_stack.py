"""The compose stack for real: TICKRING_TEST_COMPOSE=1, a docker daemon, and the ports 9090 and 9464 to 9474.

Figures are printed (`pytest -s`); the bounds are wide, since the container runtime's own times are in them.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ENGINE = "http://127.0.0.1:9464"
PROMETHEUS = "http://127.0.0.1:9090"
FEEDS = ("binance_spot", "binance_futures", "okx", "mexc_spot", "kraken")
SERVICES = ("sim", "engine", "reader", "prometheus")

pytestmark = pytest.mark.skipif(
    os.environ.get("TICKRING_TEST_COMPOSE") != "1",
    reason="containers are started only when asked for: TICKRING_TEST_COMPOSE=1",
)


def run(*arguments: str, **environment: str) -> str:
    done = subprocess.run(
        arguments,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stdout}{done.stderr}"
    return done.stdout


def eventually(what: str, look: Callable[[], Any], seconds: float) -> Any:
    """What `look` gives once it is true."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)
    return found


class Project:
    """One compose project."""

    def __init__(self, name: str) -> None:
        self.name = name
        tool = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
        self._tool = [*tool, "-p", name]

    def __call__(self, *arguments: str, **environment: str) -> str:
        return run(*self._tool, *arguments, **environment)

    def container(self, service: str) -> str:
        return self("ps", "-q", service).strip()

    def inspect(self, service: str, what: str) -> str:
        return run("docker", "inspect", "-f", what, self.container(service)).strip()

    def health(self) -> dict[str, str]:
        return {service: self.inspect(service, "{{.State.Health.Status}}") for service in SERVICES}

    def states(self) -> list[tuple[str, int, float]]:
        """The reader's changes of state: name, epoch, seconds since its start."""
        lines = run("docker", "logs", self.container("reader")).splitlines()
        events = [json.loads(line) for line in lines if line.startswith("{")]
        return [
            (event["state"], event["epoch"], event["after"]) for event in events if event["event"] == "state"
        ]


def get(url: str) -> tuple[int, bytes]:
    """Status and body; 0 when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=3) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""


def query(expression: str) -> list[float]:
    """The values of an instant query, in the order of the feeds' names."""
    status, body = get(f"{PROMETHEUS}/api/v1/query?query={urllib.parse.quote(expression)}")
    found = json.loads(body)["data"]["result"] if status == 200 else []
    found.sort(key=lambda one: one["metric"].get("feed", ""))
    return [float(one["value"][1]) for one in found]


@pytest.fixture(scope="module")
def project() -> Iterator[Project]:
    if not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True).returncode != 0:
        pytest.skip("no docker daemon answers (DOCKER_HOST?)")
    made = Project("tickring-test")
    made("build")
    try:
        started = time.monotonic()
        made("up", "-d", TICKRING_VENUE="simulated")
        eventually("ready", lambda: get(f"{ENGINE}/readyz")[0] == 200, 60)
        print(f"\nup -> /readyz 200: {time.monotonic() - started:.2f} s")
        yield made
    finally:
        made("down", "-v", "--remove-orphans")


def reader_returns(project: Project, cut: Callable[[], object], what: str) -> None:
    """After `cut` the same reader process sees the feed go and come back, in a new epoch."""
    before, born = len(project.states()), project.inspect("reader", "{{.State.StartedAt}}")
    at = time.monotonic()
    cut()

    def changes() -> list[tuple[str, int, float]]:
        new = project.states()[before:]
        return new if new and new[-1][0] == "LIVE" else []

    new = eventually(f"the reader is LIVE again after {what}", changes, 60)
    seen = time.monotonic() - at
    print(f"\n{what}: not LIVE for {new[-1][2] - new[0][2]:.2f} s, seen after {seen:.2f} s: {new}")
    assert new[0][0] == "DOWN", "a late heartbeat is DOWN"
    assert new[-1][2] - new[0][2] < 30
    assert project.inspect("reader", "{{.State.StartedAt}} {{.RestartCount}}") == f"{born} 0"
    eventually("ready", lambda: get(f"{ENGINE}/readyz")[0] == 200, 30)


def test_all_are_healthy_and_nobody_is_root(project: Project) -> None:
    eventually("healthy", lambda: set(project.health().values()) == {"healthy"}, 90)
    for service in SERVICES:
        user = project("exec", "-T", service, "sh", "-c", "id -u").strip()
        assert user == ("65534" if service == "prometheus" else "10001")
    assert "LIVE" in [state for state, _, _ in project.states()]


def test_every_venue_is_live_with_every_symbol(project: Project) -> None:
    shown = json.loads(project("exec", "-T", "engine", "tickring", "status", "--json", "--require-live"))
    assert {feed["name"]: feed["state"] for feed in shown["feeds"]} == dict.fromkeys(FEEDS, "LIVE")
    look = "import shm, sys; [print(shm.attach(f).top(s)) for f, s in map(str.split, sys.argv[1:])]"
    asked = ["binance_futures SOL/USDT:USDT", "okx BTC/USDT:USDT", "mexc_spot BTC/USDT", "kraken ETH/USD"]
    tops = project("exec", "-T", "reader", "python", "-c", look, *asked).splitlines()
    assert len(tops) == len(asked)


def test_prometheus_has_the_feeds(project: Project) -> None:
    eventually("the target is up", lambda: query('up{job="tickring"}') == [1.0], 30)
    eventually("all are LIVE", lambda: query("tickring_feed_state") == [3.0] * len(FEEDS), 15)
    assert query("count(sum by (feed) (tickring_records_total) > 0)") == [len(FEEDS)]
    coming = "rate(tickring_messages_total[30s]) > 1"
    eventually("messages come in", lambda: len(query(coming)) == len(FEEDS), 30)


def test_no_alert_on_a_healthy_stack(project: Project) -> None:
    assert query('ALERTS{alertname!="TickringWorkerRestarted", alertstate="firing"}') == []


def test_a_crash_of_the_engine_under_a_running_reader(project: Project) -> None:
    """Docker's restart policy brings the engine back; nobody has to do anything."""
    pid = int(project.inspect("engine", "{{.State.Pid}}"))
    if not Path(f"/proc/{pid}").exists() or os.geteuid() != 0:
        pytest.skip("the container's processes are not ours to kill")
    generation = query("tickring_feed_generation")
    reader_returns(project, lambda: os.kill(pid, signal.SIGKILL), "kill -9 of the engine's container")
    assert project.inspect("engine", "{{.RestartCount}}") == "1"
    eventually("the restart is counted", lambda: query("tickring_worker_restarts_total > 0"), 30)
    assert query("tickring_feed_generation") == generation, "the segment was adopted"
    fired = 'ALERTS{alertname="TickringWorkerRestarted", alertstate="firing"}'
    eventually("the alert fires", lambda: query(fired), 30)


def test_docker_kill_and_up_again(project: Project) -> None:
    def cut() -> None:
        run("docker", "kill", "-s", "KILL", project.container("engine"))
        project("up", "-d", "engine", TICKRING_VENUE="simulated")

    reader_returns(project, cut, "docker kill -s KILL, up -d")


def test_a_clean_stop_leaves_nothing_and_the_reader_follows(project: Project) -> None:
    def cut() -> None:
        at = time.monotonic()
        project("stop", "engine")
        assert time.monotonic() - at < 9, "before docker's SIGKILL"
        assert project.inspect("engine", "{{.State.ExitCode}}") == "0"
        assert project("exec", "-T", "reader", "ls", "/dev/shm").split() == []
        project("start", "engine")

    reader_returns(project, cut, "stop, start")


def test_a_volume_that_is_too_small_is_one_clear_line(project: Project) -> None:
    small = Project("tickring-test-small")
    try:
        small("up", "-d", "--no-deps", "engine", TICKRING_SHM_SIZE="2m")
        line = eventually(
            "it says why", lambda: "MiB free" in (output := small("logs", "engine")) and output, 30
        )
        assert f"/dev/shm has 2.0 MiB free, the segments of {', '.join(FEEDS)} need 20.9 MiB" in line
        assert "Traceback" not in line
    finally:
        small("down", "-v", TICKRING_SHM_SIZE="2m")


def test_the_real_configuration_is_in_the_image(project: Project) -> None:
    check = ("tickring", "config", "check", "--config", "/etc/tickring/real.toml")
    output = run("docker", "run", "--rm", "--network", "none", "tickring:local", *check)
    assert f"ok: instance default, venues {', '.join(FEEDS)}" in output


def test_what_proves_the_venues_is_in_the_image(project: Project) -> None:
    output = run(
        "docker", "run", "--rm", "--network", "none", "tickring:local", "tickring", "venues", "--json"
    )
    proofs = {venue["name"]: venue["proof"] for venue in json.loads(output)["venues"]}
    assert sorted(proofs) == sorted(FEEDS)
    assert all(proof and proof["passed"] for proof in proofs.values()), proofs


def test_the_image_has_no_compiler(project: Project) -> None:
    look = "for tool in cc gcc make; do command -v $tool; done; true"
    assert project("exec", "-T", "engine", "sh", "-c", look).split() == []
