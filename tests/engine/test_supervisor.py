"""The supervisor's rules, one by one, and its invariants under any sequence of events."""

from __future__ import annotations

import pytest
from hypothesis import Phase as HypothesisPhase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from engine.supervision import supervisor as sv
from engine.supervision.kinds import HTTP, WORKER
from engine.supervision.supervisor import (
    Alert,
    Beat,
    Exited,
    Kill,
    MarkDown,
    Phase,
    Start,
    StartFailed,
    Stop,
    Supervisor,
    Terminate,
    Tick,
)

# Sums of floats, taken in another order than the machine's.
ROUNDING = 1e-6


class World:
    """A supervisor with a clock of its own: `run` advances it in ticks and lets the child beat."""

    def __init__(self, feeds: tuple[str, ...] = ("a",), services: tuple[str, ...] = ()) -> None:
        self.now = 1000.0
        self.machine = Supervisor(dict.fromkeys(feeds, WORKER) | dict.fromkeys(services, HTTP))
        self.log = [(self.now, action) for action in self.machine.start(self.now)]

    def send(self, event: sv.Event) -> list[sv.Action]:
        actions = self.machine.handle(event, self.now)
        self.log += [(self.now, action) for action in actions]
        return actions

    def run(self, seconds: float, beats: bool = False) -> list[sv.Action]:
        actions = []
        end = self.now + seconds
        while self.now < end - 1e-9:
            self.now = min(end, self.now + 0.1)
            if beats:
                actions += self.send(Beat("a", 0.0))
            actions += self.send(Tick())
        return actions

    def starts(self) -> list[float]:
        return [when for when, action in self.log if isinstance(action, Start)]


def kinds(actions: list[sv.Action]) -> list[type]:
    return [type(action) for action in actions]


def test_rule_2_the_first_restart_is_immediate_and_further_ones_back_off() -> None:
    world = World()
    world.run(60, beats=True)
    assert kinds(world.send(Exited("a", -9))) == [MarkDown, Alert, Start]
    delays = []
    for _ in range(3):
        world.send(Exited("a", 1))
        before = world.now
        world.run(4)
        delays.append(world.starts()[-1] - before)
    for delay, expected in zip(delays, (0.25, 0.5, 1.0), strict=True):
        assert expected <= delay < expected + 0.11  # seen at ticks of 0.1


def test_rule_2_a_healthy_run_forgets_earlier_failures() -> None:
    world = World()
    world.run(1, beats=True)
    world.send(Exited("a", 1))
    world.send(Exited("a", 1))
    world.run(sv.HEALTHY + 1, beats=True)
    assert Start in kinds(world.send(Exited("a", 1)))


def test_rule_3_five_starts_in_ten_seconds_park() -> None:
    world = World()
    for _ in range(4):
        world.send(Exited("a", 1))
        world.run(1.1)
    assert len(world.starts()) == 5
    actions = world.send(Exited("a", 1))
    assert kinds(actions) == [MarkDown, Alert]
    assert isinstance(actions[1], Alert)
    assert actions[1].level == "error"
    assert "parked" in actions[1].text
    assert world.machine.children["a"].phase is Phase.PARKED


def test_rule_3_settings_that_can_not_work_park_at_once() -> None:
    world = World()
    world.send(Exited("a", sv.EXIT_CONFIG))
    assert world.machine.children["a"].phase is Phase.PARKED


def test_rule_4_a_parked_child_gets_one_attempt_a_minute() -> None:
    world = World()
    world.send(Exited("a", sv.EXIT_CONFIG))
    assert Start not in kinds(world.run(sv.PARKED - 0.2))
    assert kinds(world.run(0.3)).count(Start) == 1
    assert Start not in kinds(world.send(Exited("a", 1)))
    assert Start not in kinds(world.run(sv.PARKED - 0.2))
    assert kinds(world.run(0.3)).count(Start) == 1
    world.run(sv.HEALTHY + 1, beats=True)
    assert Start in kinds(world.send(Exited("a", 1))), "healthy again: an ordinary restart"


def test_rule_5_hung_is_flagged_once_and_killed_after_three_seconds() -> None:
    world = World()
    world.run(20, beats=True)
    silent_since = world.now
    actions = world.run(2.9)
    assert kinds(actions) == [Alert]
    actions = world.run(0.3)
    assert kinds(actions) == [Alert, Kill]
    killed = next(when for when, action in world.log if isinstance(action, Kill))
    assert 3.0 < killed - silent_since < 3.2
    assert world.run(10) == [], "killed once"
    assert Start in kinds(world.send(Exited("a", -9)))


def test_rule_5_a_child_that_beats_again_is_not_killed() -> None:
    world = World()
    world.run(20, beats=True)
    world.run(2)
    assert kinds(world.send(Beat("a", 0.1))) == [Alert]
    assert world.run(5, beats=True) == []


def test_rule_5_time_in_which_the_supervisor_was_stopped_does_not_count() -> None:
    world = World()
    world.run(20, beats=True)
    world.now += 3600
    assert world.send(Beat("a", 3600.0)) == []
    assert world.send(Tick()) == []
    assert Kill not in kinds(world.run(2.8)), "it gets the whole limit after the awakening"
    assert Kill in kinds(world.run(0.5)), "but not more"


def test_rule_6_a_child_that_never_beats_is_killed_after_thirty_seconds() -> None:
    world = World()
    assert world.run(29.9) == []
    assert kinds(world.run(0.3)) == [Alert, Kill]


def test_rule_7_a_service_has_no_segment_to_mark() -> None:
    world = World(services=("http",))
    assert kinds(world.send(Exited("http", 1))) == [Alert, Start]
    assert kinds(world.send(Exited("a", 1)))[0] is MarkDown


def test_rule_8_stop_terminates_then_kills() -> None:
    world = World(feeds=("a", "b"))
    world.run(1, beats=True)
    assert world.send(Stop()) == [Terminate("a"), Terminate("b")]
    assert kinds(world.send(Exited("a", 0))) == [MarkDown]
    assert not world.machine.finished
    assert world.run(4.4) == []
    assert kinds(world.run(0.2)) == [Alert, Kill]
    assert kinds(world.send(Exited("b", -9))) == [MarkDown]
    assert world.machine.finished


def test_rule_8_a_second_order_kills_at_once() -> None:
    world = World()
    world.send(Stop())
    assert world.send(Stop()) == [Kill("a")]
    assert world.send(Stop()) == []


def test_rule_8_what_waits_for_its_restart_is_not_started() -> None:
    world = World()
    world.send(Exited("a", 1))
    world.send(Exited("a", 1))
    assert world.machine.children["a"].phase is Phase.WAITING
    world.send(Stop())
    assert world.machine.finished
    assert world.run(120) == []


def test_a_process_that_could_not_be_made_counts_as_a_failure() -> None:
    world = World()
    assert kinds(world.send(StartFailed("a", "no memory")))[:2] == [Alert, Alert]


@pytest.mark.parametrize(
    ("code", "text"),
    [(0, "exited with 0"), (-9, "killed by signal 9 (SIGKILL)"), (-70, "killed by signal 70")],
)
def test_exits_are_described(code: int, text: str) -> None:
    assert sv.describe_exit(code) == text


class Anything(RuleBasedStateMachine):
    """Any interleaving of exits, beats, pauses and stops; a model of the processes checks every action."""

    NAMES = ("a", "b", "http")
    KIND = Supervisor

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.machine = self.KIND({"a": WORKER, "b": WORKER, "http": HTTP})
        self.alive: dict[str, float] = {}  # name -> started
        self.beat: dict[str, float] = {}  # name -> last beat of this process
        self.started: dict[str, list[float]] = {name: [] for name in self.NAMES}
        self.exited: dict[str, float] = {}
        self.parked: dict[str, float] = {}
        self.stopped: float | None = None
        self.stops = 0
        self.killed: set[str] = set()
        self.apply(self.machine.start(self.now))

    def apply(self, actions: list[sv.Action]) -> None:
        for action in actions:
            match action:
                case Start(name, _):
                    assert name not in self.alive, "two live processes"
                    assert self.stopped is None, "started after stop"
                    if name in self.parked:
                        assert self.now - self.parked.pop(name) >= sv.PARKED - ROUNDING, "parked too short"
                    recent = [
                        when for when in self.started[name] if self.now - when < sv.START_WINDOW - ROUNDING
                    ]
                    assert len(recent) < sv.START_LIMIT, "more than five starts in ten seconds"
                    self.alive[name] = self.now
                    self.beat.pop(name, None)
                    self.killed.discard(name)
                    self.started[name].append(self.now)
                case Kill(name):
                    assert name in self.alive
                    assert name not in self.killed, "killed twice"
                    if self.stopped is None:
                        last = self.beat.get(name)
                        limit = sv.SILENT_START if last is None else sv.KILLED
                        assert self.now - (self.alive[name] if last is None else last) > limit - ROUNDING, (
                            "too early"
                        )
                    else:
                        assert self.stops > 1 or self.now - self.stopped >= sv.STOP_LIMIT - ROUNDING
                    self.killed.add(name)
                case Terminate(name):
                    assert name in self.alive
                    assert self.stopped == self.now
                case MarkDown(name):
                    assert name != "http"
                    assert self.exited[name] == self.now, "DOWN is stored at the exit"
                case Alert(name, _, text):
                    if "parked" in text:
                        self.parked[name] = self.now

    @rule(seconds=st.sampled_from([0.0, 0.05, 0.1, 0.3]))
    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.apply(self.machine.handle(Tick(), self.now))

    @rule(seconds=st.floats(0, 70))
    def time_passes(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += 0.3
            self.apply(self.machine.handle(Tick(), self.now))

    @rule(seconds=st.floats(0.6, 100))
    def the_machine_sleeps(self, seconds: float) -> None:
        self.now += seconds
        self.apply(self.machine.handle(Tick(), self.now))

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), age=st.floats(0, 2))
    def heartbeat(self, data: st.DataObject, age: float) -> None:
        name = data.draw(st.sampled_from(sorted(self.alive)))
        when = max(self.now - age, self.alive[name], self.beat.get(name, 0.0))
        self.beat[name] = when
        self.apply(self.machine.handle(Beat(name, self.now - when), self.now))

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), code=st.sampled_from([0, 1, -9, sv.EXIT_CONFIG]))
    def exit(self, data: st.DataObject, code: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.alive)))
        del self.alive[name]
        self.exited[name] = self.now
        actions = self.machine.handle(Exited(name, code), self.now)
        if name != "http":
            assert actions[0] == MarkDown(name), "DOWN before anything else"
        self.apply(actions)

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), crashes=st.integers(1, 8), life=st.floats(0, 1.5))
    def crash_loop(self, data: st.DataObject, crashes: int, life: float) -> None:
        name = data.draw(st.sampled_from(sorted(self.alive)))
        for _ in range(crashes):
            waited = 0.0
            while name not in self.alive and waited < 10:
                waited += 0.25
                self.tick(0.25)
            if name in self.alive:
                self.now += life
                del self.alive[name]
                self.exited[name] = self.now
                self.apply(self.machine.handle(Exited(name, 1), self.now))

    @rule()
    def stop(self) -> None:
        self.stops += 1
        if self.stopped is None:
            self.stopped = self.now
        self.apply(self.machine.handle(Stop(), self.now))

    @invariant()
    def the_machine_knows_who_lives(self) -> None:
        assert {name for name, child in self.machine.children.items() if child.alive} == set(self.alive)
        assert self.machine.finished == (self.stopped is not None and not self.alive)

    @invariant()
    def nobody_is_forgotten(self) -> None:
        """Without an order to stop, whoever is dead has a time at which it is started again."""
        if self.stopped is None:
            for name in set(self.NAMES) - set(self.alive):
                assert self.machine.children[name].phase in (Phase.WAITING, Phase.PARKED)
                assert self.machine.children[name].due <= self.now + sv.PARKED


TestAnything = Anything.TestCase
TestAnything.settings = hypothesis_settings(max_examples=60, stateful_step_count=40, deadline=None)


class RestartsAfterStop(Supervisor):
    def _stop(self, now: float) -> list[sv.Action]:
        actions = super()._stop(now)
        self.stopping = False
        return actions


class NeverParks(Supervisor):
    def _failed(self, child: sv.Child, code: int | None, now: float) -> list[sv.Action]:
        child.starts.clear()
        child.starts.append(now)
        child.probing = False
        return super()._failed(child, None, now)


class TriesParkedTooSoon(Supervisor):
    def _failed(self, child: sv.Child, code: int | None, now: float) -> list[sv.Action]:
        actions = super()._failed(child, code, now)
        child.due = min(child.due, now + 30)
        return actions


class KillsWhatIsMerelyFlagged(Supervisor):
    def _watch(self, child: sv.Child, now: float) -> list[sv.Action]:
        late = child.last_beat is not None and not child.killed and self._silence(child, now) > sv.HUNG
        child.killed = child.killed or late
        return [Kill(child.name)] if late else super()._watch(child, now)


class MarksDownTooLate(Supervisor):
    def _exited(self, child: sv.Child, code: int, now: float) -> list[sv.Action]:
        return super()._exited(child, code, now)[::-1]


class StartsTwice(Supervisor):
    def _tick(self, child: sv.Child, now: float) -> list[sv.Action]:
        actions = super()._tick(child, now)
        return actions + [action for action in actions if isinstance(action, Start)]


class ForgetsAChild(Supervisor):
    def _failed(self, child: sv.Child, code: int | None, now: float) -> list[sv.Action]:
        actions = super()._failed(child, code, now)
        child.due = float("inf") if child.phase is Phase.WAITING else child.due
        return actions


@pytest.mark.parametrize(
    "mutant",
    [
        RestartsAfterStop,
        NeverParks,
        TriesParkedTooSoon,
        KillsWhatIsMerelyFlagged,
        MarksDownTooLate,
        StartsTwice,
        ForgetsAChild,
    ],
)
def test_the_invariants_catch_a_supervisor_that_breaks_a_rule(mutant: type[Supervisor]) -> None:
    machine = type("Mutant", (Anything,), {"KIND": mutant})
    thorough = hypothesis_settings(
        max_examples=500,
        stateful_step_count=40,
        deadline=None,
        database=None,
        phases=[HypothesisPhase.generate],
        report_multiple_bugs=False,
    )
    with pytest.raises((AssertionError, KeyError)):
        run_state_machine_as_test(machine, settings=thorough)
