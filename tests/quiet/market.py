"""``make quiet``: a quiet market under a real Prometheus, and nothing to complain about.

    .venv/bin/python -m tests.quiet.market --feed okx --minutes 10 [--symbols 200] [--channels top] [--json]
    .venv/bin/python -m tests.quiet.market --feed okx --starts 2 --symbols 40

A simulated venue lists many symbols of which most never trade and never change, some do now and then, three
are lively; one is halted, and the configuration names two that are not listed. `tickring up` runs on it as a
user would start it, and Prometheus scrapes it with the rules of ``config/prometheus``. Then nobody touches
anything. At every look:

1. `/readyz`, `/status`, `tickring status --json`, the metrics and the cells in shared memory say the same.
2. From the first time on that the feed is ready it stays so.
3. No alert is firing or pending but one warning each for what is not listed and what is halted; and that the
   feed is not LIVE yet, while the limits of a venue of `SLOW_STARTS` do not allow it.

And at the end: all of those warnings fire; the engine and its worker have written no line but those that are
true of such a market (`TRUE_LINES`), and end by themselves when they are told to.

With ``--starts N`` the engine is started N times in a row on the same venue, and the time until every cell is
LIVE is printed: the venue's limits go on counting from one start to the next.

Exit code 0: all of it held. 1: something did not; each is a line. 2: it could not be run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import shm
from shm.channels import CELLS
from shm.errors import ShmError
from shm.layout import InstrumentStatus, Reason, State
from shm.segment import remove_stale
from tests.instances import mine
from workers.sim.dialects import FEEDS, dialect

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "config" / "prometheus"
LOOK = 1.0  # seconds between looks
COMMAND_EVERY = 10  # looks between two of the command line, which is a process
START = 20.0  # seconds for a process to say where it listens
STOP = 10.0
READY = 90.0  # seconds for the feed to be ready, the venue's limits included
# MEXC: two snapshots for each quiet book, 127 in 10 s: 29 s for 200 symbols. So long the feed is not LIVE,
# and the alert that says so after 15 s is true.
SLOW_STARTS = {"mexc_spot": 45.0}
NOT_LIVE = ("TickringFeedNotLive", "")
NAMED_IN_TIME = 60.0  # seconds after that for the expected warnings to fire

# What the engine and its worker may say of this market, and how often: each line of the log must fit one.
# `{unlisted}` and `{halted}` stand for the symbols; of each of those a line when it is found out, and one
# more where the venue's hint or the next look at the listing says it again in other words.
TRUE_LINES: tuple[tuple[str, int], ...] = (
    (r"started: \w+", 1),
    (r"(worker|HTTP server) started", 2),
    (r"({unlisted})\b.*(not listed|does not list)", 2),
    (r"{halted} is halted", 2),
    (r"snapshots of .* take", 1),  # more than a minute, at the venue's weight: said once, and true
    (r"cores? ", 1),  # more workers than cores
    (r"\bstopped\b", 1),
)


Cells = dict[str, dict[str, str]]  # symbol -> channel -> state


class Broken(Exception):
    """The proof itself cannot be run."""


@dataclass(frozen=True)
class Plan:
    """What the venue lists and what the configuration names."""

    feed: str
    listed: list[str]
    unlisted: list[str]
    halted: str
    channels: list[str] = field(default_factory=list)  # none: as the engine has them by itself

    @classmethod
    def make(cls, feed: str, symbols: int, faulty: bool = True, channels: Sequence[str] = ()) -> Plan:
        """`symbols` in all; `faulty`: two of them are not listed and one is halted."""
        speech = dialect(feed)
        tail = speech.default_symbols[-1].partition("/")[2]
        lively = list(speech.default_symbols)
        minors = [f"M{number:03}/{tail}" for number in range(max(0, symbols - len(lively) - 2 * faulty))]
        unlisted = [f"M99{number}/{tail}" for number in range(2 * faulty)]
        return cls(feed, lively + minors, unlisted, minors[-1] if faulty else "", list(channels))

    @property
    def rates(self) -> list[str]:
        """Three are lively; of the others half never change, and half do so every ten seconds or so."""
        return ["M*=0.1", "M?[02468]?/*=0"]

    @property
    def symbols(self) -> list[str]:
        return self.listed + self.unlisted

    @property
    def expected(self) -> set[tuple[str, str]]:
        """(alert, symbol) of the warnings that are right."""
        halted = {("TickringSymbolHalted", self.halted)} if self.halted else set()
        return {("TickringSymbolNotListed", symbol) for symbol in self.unlisted} | halted


@dataclass
class Report:
    """What was found; `problems` is empty where all held."""

    feed: str
    symbols: int
    ready_after: float = 0.0
    live_after: list[float] = field(default_factory=list)
    looks: int = 0
    compared: int = 0
    firing: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def problem(self, text: str) -> None:
        """Each kind of it a few times at most."""
        kind = re.sub(r"\d+", "N", text)
        if sum(re.sub(r"\d+", "N", known) == kind for known in self.problems) < 3:
            self.problems.append(text)


def get(url: str) -> tuple[int, Any]:
    """Status and decoded JSON, or text."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            code, body = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            code, body = error.code, error.read()
    try:
        return code, json.loads(body)
    except ValueError:
        return code, body.decode()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as made:
        port: int = made.getsockname()[1]
    return port


class Market:
    """A simulated venue, an engine on it, and a Prometheus that watches it. See the module."""

    def __init__(self, plan: Plan, folder: Path, interval: str | None = None) -> None:
        self.plan = plan
        self.folder = folder
        self.interval = interval  # between scrapes, instead of the shipped one
        self.instance = mine("quiet")
        self.address = ""
        self.prometheus = ""
        self.report = Report(plan.feed, len(plan.symbols))
        self._sim: subprocess.Popen[str] | None = None
        self._rest = ""
        self._engine: subprocess.Popen[bytes] | None = None
        self._scraper: subprocess.Popen[bytes] | None = None
        self._feed: shm.Feed | None = None
        self._log = folder / "engine.log"

    def __enter__(self) -> Market:
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self._scraper, self._engine, self._sim):
            end(process)
        if self._feed is not None:
            self._feed.close()
        with contextlib.suppress(ShmError):
            remove_stale(self.instance)

    # -- the three processes ---------------------------------------------------------------------------
    def start_venue(self) -> None:
        """The venue, with its halted symbol; writes the engine's configuration."""
        command = [tickring(), "sim", self.plan.feed, "--synthetic", "--levels", "60", "--rate", "20"]
        command += ["--symbols", ",".join(self.plan.listed)]
        for rate in self.plan.rates:
            command += ["--rate-of", rate]
        self._sim = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self._sim.stdout is not None
        line = self._sim.stdout.readline()
        if not line:
            raise Broken("the simulated venue did not start")
        urls = json.loads(line)
        self._rest = urls["rest_url"]
        if self.plan.halted:
            order = json.dumps({"action": "halt", "symbol": self.plan.halted}).encode()
            urllib.request.urlopen(f"{self._rest}/sim/listing", order, timeout=5).close()
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        (self.folder / "tickring.toml").write_text(
            f'[engine]\ninstance = "{self.instance}"\nlisten = "127.0.0.1:{port}"\n\n'
            f'[venues.{self.plan.feed}]\nws_url = "{urls["ws_url"]}"\nrest_url = "{self._rest}"\n'
            f"symbols = {json.dumps(self.plan.symbols)}\nmax_instruments = {len(self.plan.symbols) + 40}\n"
            'cpu = "none"\n'
            + (f"channels = {json.dumps(self.plan.channels)}\n" if self.plan.channels else "")
        )

    def start_engine(self) -> None:
        """`tickring up`, as a user starts it."""
        log = self._log.open("ab")
        self._engine = subprocess.Popen(
            [tickring(), "up", "--config", str(self.folder / "tickring.toml")],
            stderr=log,
            stdout=log,
            cwd=ROOT,
        )
        log.close()

    def stop_engine(self) -> None:
        """SIGTERM; it must leave by itself, with 0, and leave nothing."""
        if self._feed is not None:
            self._feed.close()
            self._feed = None
        engine, self._engine = self._engine, None
        assert engine is not None
        engine.send_signal(signal.SIGTERM)
        try:
            code = engine.wait(STOP)
        except subprocess.TimeoutExpired:
            engine.kill()
            engine.wait()
            self.report.problem("the engine did not leave by itself")
            return
        if code:
            self.report.problem(f"the engine left with {code}")

    def start_prometheus(self) -> None:
        """Debian's, with the shipped rules and configuration; only the address of the engine is another."""
        port = free_port()
        text = (PROMETHEUS / "prometheus.yml").read_text()
        if self.address.removeprefix("http://") not in text:
            text = text.replace("127.0.0.1:9464", self.address.removeprefix("http://"))
        if self.interval is not None:
            text = re.sub(r"(scrape_interval|evaluation_interval): \S+", rf"\1: {self.interval}", text)
            text = re.sub(r"scrape_timeout: \S+", f"scrape_timeout: {self.interval}", text)
        (self.folder / "prometheus.yml").write_text(text)
        shutil.copy(PROMETHEUS / "alerts.yml", self.folder)
        command = ["prometheus", f"--config.file={self.folder / 'prometheus.yml'}", "--log.level=warn"]
        command += [f"--storage.tsdb.path={self.folder / 'tsdb'}", f"--web.listen-address=127.0.0.1:{port}"]
        self._scraper = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self.prometheus = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + START
        while True:
            with contextlib.suppress(OSError):
                if get(f"{self.prometheus}/-/ready")[0] == 200:
                    return
            if time.monotonic() > deadline or self._scraper.poll() is not None:
                raise Broken("Prometheus did not start")
            time.sleep(0.05)

    # -- looks -----------------------------------------------------------------------------------------
    @property
    def feed(self) -> shm.Feed | None:
        """The reader's view; None while there is nothing to attach to."""
        if self._feed is None:
            with contextlib.suppress(ShmError):
                self._feed = shm.attach(self.plan.feed, self.instance)
        return self._feed

    def cells(self) -> Cells | None:
        """symbol -> channel -> state as a reader finds it, of what the configuration names."""
        feed = self.feed
        if feed is None:
            return None
        found: dict[str, dict[str, str]] = {}
        try:
            for slot in feed.instruments:
                cells: dict[str, str] = {}
                for channel, scope in CELLS.items():
                    state = feed.cell_state(slot.symbol, scope)
                    reason = feed.cell_reason(slot.symbol, scope)
                    if state is not State.DOWN or reason is not Reason.NONE:
                        cells[channel] = state.name
                found[slot.symbol] = cells
        except ShmError:
            return None
        return found

    def statuses(self) -> dict[str, InstrumentStatus]:
        """symbol -> status, as a reader finds it."""
        feed = self.feed
        return {} if feed is None else {slot.symbol: slot.status for slot in feed.instruments}

    def all_live(self) -> bool:
        """Every top and book of every listed symbol that trades."""
        cells = self.cells() or {}
        good = [symbol for symbol in self.plan.listed if symbol != self.plan.halted]
        return all(cells.get(symbol) and set(cells[symbol].values()) == {"LIVE"} for symbol in good)

    def not_live(self) -> str:
        """How many cells are in which state, and the first of them."""
        states: dict[str, list[str]] = {}
        for symbol, cells in (self.cells() or {}).items():
            for channel, state in cells.items():
                states.setdefault(f"{channel} {state}", []).append(symbol)
        return ", ".join(f"{len(found)} {what} ({found[0]})" for what, found in sorted(states.items()))

    def wait_live(self, seconds: float) -> float | None:
        """Seconds from now until everything is LIVE; None: not within `seconds`."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            if self.all_live():
                return time.monotonic() - began
            time.sleep(0.01)
        return None

    def ready(self) -> bool:
        with contextlib.suppress(OSError):
            return get(f"{self.address}/readyz")[0] == 200
        return False

    def look(self, command: bool) -> bool | None:
        """Rule 1, once. Whether the feed is ready, as all say; None: something changed meanwhile."""
        before = self.cells()
        code, body = get(f"{self.address}/readyz")
        status = get(f"{self.address}/status")[1]["feeds"][0]
        ready_metric = re.search(
            r"^tickring_feed_ready\{.*\} (\S+)$", get(f"{self.address}/metrics")[1], re.M
        )
        shown = self.command_status() if command else None
        self.report.looks += 1
        if before is None or before != self.cells():
            return None
        self.report.compared += 1
        ready = code == 200
        metric = ready_metric is not None and float(ready_metric[1]) == 1
        ready_values = [body["ready"], status["ready"], metric]
        if shown is not None:
            ready_values.append(shown["ready"])
            if (shown["cells"], shown["not_listed"], shown["halted"]) != (
                status["cells"], status["not_listed"], status["halted"],
            ):  # fmt: skip
                self.report.problem("`tickring status --json` and /status differ")
        if set(ready_values) != {ready}:
            others = ready_values[1:]
            self.report.problem(f"/readyz says {code}, /status, the metric and the command {others}")
        self._compare(before, body, status)
        return ready

    def _compare(
        self, cells: dict[str, dict[str, str]], body: dict[str, Any], status: dict[str, Any]
    ) -> None:
        name, plan = self.plan.feed, self.plan
        for where, not_listed, halted in (
            ("/readyz", body.get("not_listed", {}).get(name, []), body.get("halted", {}).get(name, [])),
            ("/status", status["not_listed"], status["halted"]),
        ):
            if set(not_listed) != set(plan.unlisted):
                self.report.problem(f"{where} names {not_listed} as not listed, it is {plan.unlisted}")
            if halted != ([plan.halted] if plan.halted else []):
                self.report.problem(f"{where} names {halted} as halted, it is {plan.halted or 'none'}")
        bad = {
            (symbol, channel)
            for symbol, states in cells.items()
            for channel, state in states.items()
            if state != "LIVE" and symbol != plan.halted and symbol not in plan.unlisted
        }
        missing, waiting = (
            {
                (symbol, channel)
                for symbol, channels in body.get(key, {}).get(name, {}).items()
                for channel in channels
            }
            for key in ("missing", "waiting")
        )
        if bad != missing | waiting:
            odd = sorted(bad ^ (missing | waiting))[:3]
            self.report.problem(f"cells that are not LIVE and those that /readyz names differ: {odd}")
        if body["ready"] and missing:
            self.report.problem(f"/readyz is 200 and names missing cells: {sorted(missing)[:3]}")
        shown = {
            symbol: {channel: text.split()[0] for channel, text in each["cells"].items()}
            for symbol, each in status["symbols"].items()
        }
        if shown != cells:
            odd_symbols = [symbol for symbol in cells if cells[symbol] != shown.get(symbol)][:3]
            self.report.problem(f"/status and the cells differ: {odd_symbols}")

    def command_status(self) -> dict[str, Any]:
        """The feed in `tickring status --json`."""
        command = [tickring(), "status", "--json", "--instance", self.instance]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=30, check=False)
        found: dict[str, Any] = json.loads(done.stdout)["feeds"][0]
        return found

    def alerts(self) -> list[tuple[str, str, str, str]]:
        """(state, name, symbol, all labels) of every alert that is pending or firing."""
        found = []
        for alert in get(f"{self.prometheus}/api/v1/alerts")[1]["data"]["alerts"]:
            labels = dict(alert["labels"])
            name, symbol = labels.pop("alertname"), labels.get("symbol", "")
            text = f"{name} {' '.join(value for key, value in sorted(labels.items()) if key != 'instance')}"
            found.append((alert["state"], name, symbol, text))
        return found

    # -- the proof -------------------------------------------------------------------------------------
    def prove(self, seconds: float) -> Report:
        """All of the module's rules, for so long after the feed was ready."""
        report = self.report
        self.start_venue()
        self.start_engine()
        began = time.monotonic()
        self.start_prometheus()
        within = SLOW_STARTS.get(self.plan.feed, READY)
        starting = {NOT_LIVE} if self.plan.feed in SLOW_STARTS else set()
        while not self.ready() and time.monotonic() - began < within:
            self._only_expected("firing", starting)
            time.sleep(0.1)
        report.ready_after = round(time.monotonic() - began, 2)
        if not self.ready():
            why = get(f"{self.address}/readyz")[1] if self.address else ""
            report.problem(f"not ready within {within:g} s: {str(why)[:1500]}")
        settled = time.monotonic() + 2 * self._scrape()
        end_at = time.monotonic() + seconds
        while time.monotonic() < end_at:
            began = time.monotonic()
            ready = self.look(command=report.looks % COMMAND_EVERY == 0)
            if ready is False:
                why = get(f"{self.address}/readyz")[1].get("not_ready", {}).get(self.plan.feed)
                report.problem(f"not ready any more: {why}")
            if began < settled:
                self._only_expected("firing", starting)
            else:
                self._only_expected("firing or pending")
            time.sleep(max(0.0, began + LOOK - time.monotonic()))
        self._expected_fire()
        if report.compared < report.looks / 2:
            report.problem(f"only {report.compared} of {report.looks} looks could be compared: cells change")
        self.stop_engine()
        self._read_log()
        return report

    def measure(self, starts: int, within: float) -> Report:
        """The time until everything is LIVE, start after start."""
        self.start_venue()
        for number in range(starts):
            self.start_engine()
            taken = self.wait_live(within)
            if taken is None:
                self.report.problem(f"start {number + 1}: not LIVE within {within:g} s: {self.not_live()}")
                break
            self.report.live_after.append(round(taken, 2))
            self.stop_engine()
        return self.report

    def _scrape(self) -> float:
        found = re.search(r"scrape_interval: (\d+)s", (self.folder / "prometheus.yml").read_text())
        assert found is not None
        return float(found[1])

    def _only_expected(self, which: str, also: Collection[tuple[str, str]] = ()) -> None:
        right = {*self.plan.expected, *also}
        for state, name, symbol, text in self.alerts():
            if state in which and (name, symbol) not in right:
                self.report.problem(f"an alert is {state}: {text}")

    def _expected_fire(self) -> None:
        """Rule 3's other half: what is to be said is said, once each."""
        deadline = time.monotonic() + NAMED_IN_TIME
        while True:
            firing = [(name, symbol) for state, name, symbol, _ in self.alerts() if state == "firing"]
            right = [alert for alert in firing if alert in self.plan.expected]
            if sorted(right) == sorted(self.plan.expected) or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        self.report.firing = sorted(f"{name} {symbol}" for name, symbol in firing)
        for name, symbol in sorted(self.plan.expected - set(firing)):
            self.report.problem(f"no alert for {symbol}: expected {name}")
        if len(right) != len(set(right)):
            self.report.problem(f"a warning is there twice: {self.report.firing}")

    def _read_log(self) -> None:
        lines = [line for line in self._log.read_text().splitlines() if line.strip()]
        self.report.lines = lines
        left = {
            pattern.format(
                unlisted="|".join(map(re.escape, self.plan.unlisted)) or "$^",
                halted=re.escape(self.plan.halted) or "$^",
            ): most * max(1, len(self.plan.unlisted) if "unlisted" in pattern else 1)
            for pattern, most in TRUE_LINES
        }
        for line in lines:
            fitting = next(
                (pattern for pattern, most in left.items() if most and re.search(pattern, line)), None
            )
            if fitting is None:
                self.report.problem(f"a line that is not true, or too often: {line[:300]}")
            else:
                left[fitting] -= 1


def tickring() -> str:
    """The command beside this interpreter."""
    return str(Path(sys.executable).with_name("tickring"))


def end(process: subprocess.Popen[Any] | None) -> None:
    """Ends a process of ours, gently first."""
    if process is None:
        return
    process.terminate()
    try:
        process.wait(STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


@contextlib.contextmanager
def market(plan: Plan, interval: str | None = None) -> Iterator[Market]:
    """A market in a folder of its own, which goes with it."""
    with tempfile.TemporaryDirectory() as folder, Market(plan, Path(folder), interval) as made:
        yield made


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="quiet", description="A quiet market under a real Prometheus.")
    parser.add_argument("--feed", choices=FEEDS, default="binance_spot")
    parser.add_argument("--symbols", type=int, default=200, help="that the configuration names")
    parser.add_argument("--channels", help="with commas between; those that the engine has by itself")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--interval", help="between scrapes and evaluations, instead of the shipped one")
    parser.add_argument("--starts", type=int, default=0, help="only measure so many starts, in a row")
    parser.add_argument("--within", type=float, default=120.0, help="seconds for one of them")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    if not given.starts and shutil.which("prometheus") is None:
        print("quiet: prometheus is not installed (Debian: the package prometheus)", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))  # and the processes end with us
    try:
        channels = given.channels.split(",") if given.channels else []
        plan = Plan.make(given.feed, given.symbols, not given.starts, channels)
        with market(plan, given.interval) as made:
            report = (
                made.measure(given.starts, given.within) if given.starts else made.prove(given.minutes * 60)
            )
    except Broken as error:
        print(f"quiet: {error}", file=sys.stderr)
        return 2
    if given.json:
        print(json.dumps(report.__dict__))
    else:
        if given.starts:
            print(f"{report.feed}, {report.symbols} symbols: everything LIVE after {report.live_after} s")
        else:
            print(f"{report.feed}: {report.symbols} symbols, ready after {report.ready_after} s,")
            print(f"  {report.compared} of {report.looks} looks compared, firing: {', '.join(report.firing)}")
            print("  log:", *report.lines, sep="\n    ")
        for problem in report.problems:
            print(f"PROBLEM {problem}")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
