"""The files of the compose stack agree with each other and with the engine; no container is started."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from engine.http.metrics import render
from engine.http.sample import CellSample, FeedSample, HistogramSample, InstrumentSample
from engine.settings.settings import Settings, available_venues, load
from shm import counters
from shm.channels import Delivery
from shm.layout import State
from workers.sim import FEEDS as SIMULATED
from workers.sim.dialects import dialect

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "docker-compose.yml").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PROMETHEUS = ROOT / "config" / "prometheus"
PORT = 9464
FEEDS = ["binance_spot", "binance_futures", "okx", "mexc_spot", "kraken"]


def settings(name: str) -> Settings:
    return load(ROOT / "config" / "compose" / f"{name}.toml", {})


def test_both_configurations_load_and_run_the_same_symbols() -> None:
    simulated, real = settings("simulated"), settings("real")
    assert list(simulated.enabled) == list(real.enabled) == FEEDS
    for feed in FEEDS:
        assert simulated.venues[feed].symbols == real.venues[feed].symbols
    assert "${TICKRING_VENUE:-simulated}.toml" in COMPOSE


def test_every_shipped_venue_is_in_them() -> None:
    assert sorted(FEEDS) == sorted(available_venues()) == sorted(SIMULATED)


def test_the_simulated_one_points_at_the_ports_of_the_simulated_venues() -> None:
    found = re.search(r'--feeds\n\s+- (\S+)\n\s+- --port\n\s+- "(\d+)"', COMPOSE)
    assert found is not None
    base = int(found[2])
    venues = settings("simulated").venues
    for place, feed in enumerate(found[1].split(",")):
        assert venues[feed].ws_url == f"ws://127.0.0.1:{base + 2 * place}"
        assert venues[feed].rest_url == f"http://127.0.0.1:{base + 2 * place + 1}"
    assert found[1].split(",") == FEEDS
    assert f"range({base + 1}, {base + 2 * len(FEEDS)}, 2)" in COMPOSE, "the health check looks at each"


def test_the_simulated_venues_list_the_symbols() -> None:
    for feed, venue in settings("simulated").enabled.items():
        assert set(venue.symbols) <= set(dialect(feed).default_symbols)


def test_the_real_one_leaves_loopback() -> None:
    for feed, venue in settings("real").enabled.items():
        assert (urlsplit(venue.ws_url).scheme, urlsplit(venue.rest_url).scheme) == ("wss", "https"), feed
        assert "127.0.0.1" not in venue.ws_url + venue.rest_url


@pytest.mark.parametrize("name", ["simulated", "real"])
def test_the_port_that_is_listened_on_is_the_one_that_is_looked_at(name: str) -> None:
    assert settings(name).engine.listen == f"127.0.0.1:{PORT}"
    assert f"http://127.0.0.1:{PORT}/readyz" in DOCKERFILE
    assert f'targets: ["127.0.0.1:{PORT}"]' in (PROMETHEUS / "prometheus.yml").read_text()


def test_the_segments_fit_the_default_volume_and_the_lock_limit() -> None:
    from engine.settings.validation import geometry

    megabytes = re.search(r"size=\$\{TICKRING_SHM_SIZE:-(\d+)m\}", COMPOSE)
    lock = re.search(r"TICKRING_MEMLOCK:-(\d+)", COMPOSE)
    assert megabytes is not None
    assert lock is not None
    for name in ("simulated", "real"):
        sizes = [geometry(venue).size for venue in settings(name).enabled.values()]
        assert 2 * sum(sizes) < int(megabytes[1]) * 2**20, "also while old and new generation are both there"
        assert max(sizes) < int(lock[1])
        page = (ROOT / "docs" / "compose.md").read_text()
        assert f"{max(sizes) / 2**20:.1f} MiB" in page
        assert f"{sum(sizes) / 2**20:.1f} MiB" in page


def test_the_image_is_built_of_all_that_is_shipped_beside_the_code() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    files = [file for given in project["tool"]["setuptools"]["data-files"].values() for file in given]
    copied = re.findall(r"^COPY (?!--)(.*) \S+$", DOCKERFILE, re.MULTILINE)
    sent = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    for file in files:
        there = {file, *map(str, Path(file).parents)}
        assert there & set(" ".join(copied).split()), f"{file} is not copied by the Dockerfile"
        assert there & set(sent), f"{file} is not sent to the build"
    assert "docs/conformance.md" in files, "what proves the venues: `tickring venues` reads it"


def exported() -> set[str]:
    """Every series name that `/metrics` can have."""
    histogram = HistogramSample(1, 1, [(1, 1)])
    sample = FeedSample(
        name="feed",
        state=State.LIVE,
        heartbeat_age=0.0,
        counters=dict.fromkeys(counters.FEED, 1),
        histograms=dict.fromkeys(counters.HISTOGRAMS, histogram),
        instruments=[
            InstrumentSample(
                "A/B", {"top": CellSample(State.LIVE, 0.0)}, dict.fromkeys(counters.INSTRUMENT, 1)
            ),
            InstrumentSample(
                "C/D", {"top": CellSample(State.STALE, 0.0)}, channels={"mark": Delivery(2.0, 1.0)}
            ),
        ],
    )
    lines = render(lambda: [sample]).decode().splitlines()
    return {re.split(r"[{ ]", line)[0] for line in lines if not line.startswith("#")}


def unknown(rules: str) -> set[str]:
    """Names of series in the rules' expressions that the engine does not export."""
    expressions = re.findall(r"expr: (?:\|\n((?:\s{10,}.*\n)+)|(.*))", rules)
    return set(re.findall(r"\btickring_\w+", " ".join(map("".join, expressions)))) - exported()


def test_the_rules_use_series_that_the_engine_exports() -> None:
    rules = (PROMETHEUS / "alerts.yml").read_text()
    assert unknown(rules) == set()
    # The control: a name that does not exist is found, in a rule of one line and in one of several.
    assert unknown("expr: tickring_no_state < 3\n") == {"tickring_no_state"}
    assert unknown("expr: |\n          increase(tickring_no_total[5m])\n            > 0\n") == {
        "tickring_no_total"
    }


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, cwd=PROMETHEUS, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed (Debian: the package prometheus)")
    return found


def test_prometheus_accepts_the_configuration_and_the_rules(promtool: str) -> None:
    done = run(promtool, "check", "config", "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


def test_each_rule_fires_for_its_fault_and_none_on_a_healthy_engine(promtool: str) -> None:
    done = run(promtool, "test", "rules", "alerts_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_has_a_case() -> None:
    rules = re.findall(r"alert: (\w+)", (PROMETHEUS / "alerts.yml").read_text())
    cases = (PROMETHEUS / "alerts_test.yml").read_text()
    assert rules
    assert [rule for rule in rules if rule not in cases] == []


@pytest.mark.parametrize("rule", ["TickringEngineDown", "TickringFeedNotLive", "TickringWorkerRestarted"])
def test_a_rule_that_never_fires_is_noticed(promtool: str, rule: str, tmp_path: Path) -> None:
    """The control of the cases themselves: the rule's expression is made one that is never true."""
    rules = (PROMETHEUS / "alerts.yml").read_text()
    broken = re.sub(rf"(alert: {rule}\n\s+expr: ).*", r"\1vector(0) > 1", rules)
    assert broken != rules
    (tmp_path / "alerts.yml").write_text(broken)
    shutil.copy(PROMETHEUS / "alerts_test.yml", tmp_path)
    done = subprocess.run(
        [promtool, "test", "rules", "alerts_test.yml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert rule in done.stdout + done.stderr


def test_docker_compose_accepts_the_file() -> None:
    if shutil.which("docker-compose"):
        command = ["docker-compose"]
    elif shutil.which("docker") and run("docker", "compose", "version").returncode == 0:
        command = ["docker", "compose"]
    else:
        pytest.skip("neither docker-compose nor docker compose is installed")
    done = run(*command, "-f", str(ROOT / "docker-compose.yml"), "config", "-q")
    assert done.returncode == 0, done.stdout + done.stderr
