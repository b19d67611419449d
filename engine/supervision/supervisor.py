"""The supervisor's decisions: a pure state machine, ``handle(event, now) -> actions``. No I/O, no clock.

A child is a worker or the HTTP server; all obey the same rules::

                 start()                exit                     5 starts in 10 s
       IDLE ----------------> RUNNING ---------> WAITING(delay) <--------------- PARKED (60 s)
                                 |  ^                |  ^                            ^
        heartbeat > 1 s: flagged |  +----------------+  +----- one attempt ----------+
        heartbeat > 3 s: killed  |   delay is over
                                 v
                              (exit)                     stop: RUNNING -> STOPPING -> GONE, all others -> GONE

The rules, numbered; the tests name them:

1. A child never has two live processes: a start follows only the exit of the one before.
2. The first restart after a healthy run (10 s) is immediate; every further one waits twice as long.
3. The fifth start within 10 s is the last one: the next exit parks the child. A process that says its
   settings cannot work (exit 2) is parked at once.
4. A parked child is alerted once and tried again every 60 s; when that attempt fails too it is parked again.
5. A heartbeat older than 1 s flags the child (once), older than 3 s kills it. Time in which this machine did
   not run itself (it was stopped, the computer slept) does not count: the child was perhaps stopped with it.
6. A child that never beats is killed after 30 s.
7. Every exit of a process that writes a feed stores DOWN there before anything else is done.
8. After the order to stop nothing is started; what has not left 4.5 s later is killed: all is over in 5 s.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from engine.supervision.kinds import ProcessKind

FIRST_DELAY = 0.25  # s, before the second restart in a row
LARGEST_DELAY = 5.0  # s
HEALTHY = 10.0  # s of life after which earlier failures are forgotten
START_WINDOW = 10.0  # s
START_LIMIT = 5  # starts in the window
PARKED = 60.0  # s between attempts
HUNG = 1.0  # s of heartbeat age
KILLED = 3.0  # s of heartbeat age
SILENT_START = 30.0  # s without a first heartbeat
STOP_LIMIT = 4.5  # s from the order to stop to SIGKILL; a worker takes 4 s at most
BLIND = 0.5  # s between two ticks: beyond it, this machine itself was not running
EXIT_CONFIG = 2  # of `workers.worker.worker`: the settings cannot work


class Phase(Enum):
    """Where a child stands."""

    IDLE = "idle"
    RUNNING = "running"
    WAITING = "waiting"
    PARKED = "parked"
    STOPPING = "stopping"
    GONE = "gone"


# -- events ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Exited:
    """A child's process has ended. `code` as `Popen.returncode` has it: negative is a signal."""

    name: str
    code: int


@dataclass(frozen=True, slots=True)
class StartFailed:
    """The process could not be made (no memory, no file descriptors, ...)."""

    name: str
    error: str


@dataclass(frozen=True, slots=True)
class Beat:
    """What was seen of a child's heartbeat: its age in seconds."""

    name: str
    age: float


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class Stop:
    """The order to stop everything; a second one kills what is left at once."""


Event = Exited | StartFailed | Beat | Tick | Stop

# -- actions -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Start:
    """Make the process. `restart` counts from 0."""

    name: str
    restart: int


@dataclass(frozen=True, slots=True)
class Terminate:
    """SIGTERM."""

    name: str


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL."""

    name: str


@dataclass(frozen=True, slots=True)
class MarkDown:
    """Store DOWN in the feed's segment: its writer is dead."""

    name: str


@dataclass(frozen=True, slots=True)
class Alert:
    """Log it: `level` is a logging level's name."""

    name: str
    level: str
    text: str


Action = Start | Terminate | Kill | MarkDown | Alert


@dataclass(slots=True)
class Child:
    """One supervised process, as the machine knows it. Times are the caller's clock, in seconds."""

    name: str
    kind: ProcessKind
    phase: Phase = Phase.IDLE
    starts: deque[float] = field(default_factory=lambda: deque(maxlen=START_LIMIT))
    restarts: int = -1  # the first start makes it 0
    failures: int = 0  # exits in a row without a healthy run
    probing: bool = False  # this run is the attempt of a parked child
    due: float = 0.0  # WAITING, PARKED: when to start; STOPPING: when to kill
    last_beat: float | None = None
    flagged: bool = False
    killed: bool = False

    @property
    def alive(self) -> bool:
        """Whether there is a process."""
        return self.phase in (Phase.RUNNING, Phase.STOPPING)


class Supervisor:
    """The machine. `children`: the kind of each process by its name.

    >>> from engine.supervision.kinds import WORKER
    >>> machine = Supervisor({"binance_spot": WORKER})
    >>> machine.start(now=0.0)
    [Start(name='binance_spot', restart=0)]
    >>> machine.handle(Exited("binance_spot", -9), now=60.0)[0]
    MarkDown(name='binance_spot')
    """

    def __init__(self, children: Mapping[str, ProcessKind]) -> None:
        self.children = {name: Child(name, kind) for name, kind in children.items()}
        self.stopping = False
        self._last = float("-inf")  # the last moment this machine ran
        self._awake = float("-inf")  # since when it runs without a break

    def __repr__(self) -> str:
        phases = ", ".join(f"{child.name}={child.phase.value}" for child in self.children.values())
        return f"<Supervisor {phases}{' stopping' if self.stopping else ''}>"

    @property
    def finished(self) -> bool:
        """Stopped, with nothing left alive."""
        return self.stopping and not any(child.alive for child in self.children.values())

    def start(self, now: float) -> list[Action]:
        """The first starts."""
        self._notice(now)
        return [self._start(child, now) for child in self.children.values() if child.phase is Phase.IDLE]

    def handle(self, event: Event, now: float) -> list[Action]:
        """What to do, in this order. `now` is a clock that does not run backwards, in seconds."""
        self._notice(now)
        match event:
            case Exited(name, code):
                return self._exited(self.children[name], code, now)
            case StartFailed(name, error):
                child = self.children[name]
                return [Alert(name, "error", f"cannot start: {error}"), *self._failed(child, None, now)]
            case Beat(name, age):
                return self._beat(self.children[name], age, now)
            case Stop():
                return self._stop(now)
            case Tick():
                return [action for child in self.children.values() for action in self._tick(child, now)]

    def wake_after(self, now: float) -> float | None:
        """Seconds until something is due by itself; None when nothing is."""
        due = [
            child.due
            for child in self.children.values()
            if child.phase in (Phase.WAITING, Phase.PARKED, Phase.STOPPING) and not child.killed
        ]
        return max(0.0, min(due) - now) if due else None

    def _notice(self, now: float) -> None:
        if now - self._last > BLIND:
            self._awake = now
        self._last = now

    def _start(self, child: Child, now: float) -> Start:
        child.phase = Phase.RUNNING
        child.starts.append(now)
        child.restarts += 1
        child.last_beat = None
        child.flagged = child.killed = False
        return Start(child.name, child.restarts)

    def _exited(self, child: Child, code: int, now: float) -> list[Action]:
        actions: list[Action] = [MarkDown(child.name)] if child.kind.writes_feed else []
        if not child.alive:
            return actions
        if self.stopping:
            child.phase = Phase.GONE
            return actions
        return actions + self._failed(child, code, now)

    def _failed(self, child: Child, code: int | None, now: float) -> list[Action]:
        """Restart, wait or park (rules 2 to 4)."""
        if self.stopping:
            child.phase = Phase.GONE
            return []
        if now - child.starts[-1] >= HEALTHY:
            child.failures = 0
            child.probing = False
        child.failures += 1
        ended = describe_exit(code) if code is not None else "did not start"
        recent = sum(now - start <= START_WINDOW for start in child.starts)
        if recent >= START_LIMIT or child.probing or code == EXIT_CONFIG:
            child.phase, child.due, child.probing = Phase.PARKED, now + PARKED, True
            reason = (
                "its settings can not work" if code == EXIT_CONFIG else f"{child.failures} failures in a row"
            )
            return [Alert(child.name, "error", f"{ended}; parked ({reason}), tried again in {PARKED:g} s")]
        if child.failures == 1:
            return [Alert(child.name, "warning", f"{ended}; restarted"), self._start(child, now)]
        delay = min(FIRST_DELAY * 2 ** (child.failures - 2), LARGEST_DELAY)
        child.phase, child.due = Phase.WAITING, now + delay
        return [Alert(child.name, "warning", f"{ended}; restarted in {delay:g} s")]

    def _beat(self, child: Child, age: float, now: float) -> list[Action]:
        if child.phase is not Phase.RUNNING or now - age < child.starts[-1]:
            return []  # older than the process: what its predecessor left
        child.last_beat = max(now - age, child.last_beat if child.last_beat is not None else now - age)
        actions: list[Action] = []
        if child.flagged and not child.killed and self._silence(child, now) <= HUNG:
            child.flagged = False
            actions.append(Alert(child.name, "warning", "beats again"))
        return actions

    def _silence(self, child: Child, now: float) -> float:
        """Seconds without a heartbeat that count against the child (rule 5)."""
        since = child.starts[-1] if child.last_beat is None else child.last_beat
        return now - max(since, self._awake)

    def _tick(self, child: Child, now: float) -> list[Action]:
        if child.phase in (Phase.WAITING, Phase.PARKED) and now >= child.due:
            return [self._start(child, now)]
        if child.phase is Phase.STOPPING and now >= child.due and not child.killed:
            child.killed = True
            return [
                Alert(child.name, "warning", f"did not leave within {STOP_LIMIT:g} s: killed"),
                Kill(child.name),
            ]
        if child.phase is Phase.RUNNING and not child.killed:
            return self._watch(child, now)
        return []

    def _watch(self, child: Child, now: float) -> list[Action]:
        """Flag and kill the hung (rules 5 and 6)."""
        silence = self._silence(child, now)
        limit = SILENT_START if child.last_beat is None else KILLED
        if silence > limit:
            child.killed = True
            return [Alert(child.name, "error", f"no heartbeat for {silence:.1f} s: killed"), Kill(child.name)]
        if child.last_beat is not None and silence > HUNG and not child.flagged:
            child.flagged = True
            return [Alert(child.name, "warning", f"hung: no heartbeat for {silence:.1f} s")]
        return []

    def _stop(self, now: float) -> list[Action]:
        """Rule 8."""
        again, self.stopping = self.stopping, True
        actions: list[Action] = []
        for child in self.children.values():
            if child.phase is Phase.STOPPING and again and not child.killed:
                child.killed = True
                actions.append(Kill(child.name))
            elif child.phase is Phase.RUNNING:
                child.phase, child.due = Phase.STOPPING, now + STOP_LIMIT
                if not child.killed:
                    actions.append(Terminate(child.name))
            elif not child.alive:
                child.phase = Phase.GONE
        return actions


def describe_exit(code: int) -> str:
    """``exited with 1``, ``killed by signal 9 (SIGKILL)``."""
    if code >= 0:
        return f"exited with {code}"
    import signal

    try:
        return f"killed by signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"killed by signal {-code}"
