"""Failover among base URLs; tests carry the numbers of the rules in `workers/rest/endpoints.py`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from workers.rest.endpoints import Endpoints

A, B, C = "https://a", "https://b", "https://c"
STEPS = 50
EXAMPLES = 3000 if os.environ.get("TICKRING_HYPOTHESIS") == "random" else 100


def check(endpoints: Endpoints, now: float, healthy: Sequence[str]) -> list[str]:
    due = endpoints.due(now)
    for url in due:
        endpoints.checked(url, url in healthy, now)
    return due


def test_rule_1_the_first_is_used_and_the_others_in_order() -> None:
    endpoints = Endpoints([A, B, C])
    used = [endpoints.current(0.0)]
    for _ in range(2):
        assert endpoints.failed(used[-1], 0.0)
        used.append(endpoints.current(0.0))
    assert used == [A, B, C]
    assert endpoints.switches == 2


def test_rule_2_one_failed_attempt_is_enough_and_a_hundred_at_once_move_one_step() -> None:
    endpoints = Endpoints([A, B, C])
    assert all(endpoints.failed(A, 0.0) for _ in range(100))
    assert endpoints.current(0.0) == B
    assert endpoints.switches == 1


def test_rule_2_with_one_url_there_is_no_elsewhere() -> None:
    endpoints = Endpoints([A])
    assert not endpoints.failed(A, 0.0)
    assert endpoints.current(0.0) == A
    assert endpoints.switches == 0
    assert endpoints.due(1e9) == []


def test_rule_3_known_bad_ones_are_passed_over() -> None:
    endpoints = Endpoints([A, B, C])
    assert check(endpoints, 0.0, healthy=[C]) == [B, C]
    endpoints.failed(A, 1.0)
    assert endpoints.current(1.0) == C


def test_rule_3_when_all_are_bad_they_take_turns_for_ever() -> None:
    endpoints = Endpoints([A, B, C])
    used = []
    for _ in range(9):
        used.append(endpoints.current(0.0))
        assert endpoints.failed(used[-1], 0.0)
    assert used == [A, B, C] * 3


def test_rule_3_an_answer_makes_the_one_in_use_good_again() -> None:
    endpoints = Endpoints([A, B, C])
    for url in (A, B, C):
        endpoints.failed(url, 0.0)
    endpoints.succeeded(A, 1.0)
    endpoints.succeeded(B, 1.0)  # late, of one that is not in use: no proof
    endpoints.failed(A, 2.0)
    assert endpoints.current(2.0) == B  # by turn
    endpoints.failed(B, 2.0)
    assert endpoints.current(2.0) == C


def test_rule_4_checks_every_minute_of_all_but_the_one_in_use_each_once() -> None:
    endpoints = Endpoints([A, B, C])
    assert endpoints.due(0.0) == [B, C]
    assert endpoints.due(59.9) == []
    assert endpoints.due(60.0) == [B, C]
    endpoints.failed(A, 61.0)
    assert endpoints.due(61.0) == [A]  # at once, it has gone out of use
    assert endpoints.due(120.0) == [C]
    assert endpoints.due(121.0) == [A]


@pytest.mark.parametrize("healthy", [False, True])
def test_rule_4_a_check_from_before_it_was_used_counts_for_nothing(healthy: bool) -> None:
    endpoints = Endpoints([A, B])
    assert endpoints.due(0.0) == [B]  # it hangs for two seconds...
    assert endpoints.failed(A, 0.5)  # ...while B comes into use...
    endpoints.succeeded(B, 1.0)  # ...and answers
    endpoints.checked(B, healthy, 2.0)
    assert endpoints.current(2.1) == B
    assert endpoints.switches == 1
    assert endpoints.failed(B, 3.0)
    assert endpoints.current(3.0) == A


def test_rule_5_back_to_the_primary_after_a_minute_of_passed_checks() -> None:
    endpoints = Endpoints([A, B])
    endpoints.failed(A, 0.0)
    check(endpoints, 0.0, healthy=[])
    for now, in_use in ((60.0, B), (119.0, B), (120.0, A)):
        check(endpoints, now, healthy=[A])
        assert endpoints.current(now) == in_use
    assert endpoints.switches == 2


def test_rule_5_a_failed_check_begins_the_minute_anew() -> None:
    endpoints = Endpoints([A, B])
    endpoints.failed(A, 0.0)
    for number in range(200):
        check(endpoints, number * 30.0, healthy=[A] if number % 4 else [])
    assert endpoints.current(6000.0) == B


def test_rule_5_time_alone_proves_nothing() -> None:
    endpoints = Endpoints([A, B])
    endpoints.failed(A, 0.0)
    endpoints.checked(A, True, 1.0)
    assert endpoints.current(1e6) == B


def test_rule_6_two_returns_an_hour_and_then_the_alternate_stays() -> None:
    endpoints, returns = Endpoints([A, B]), []
    for second in range(0, 4 * 3600, 10):
        now = float(second)
        before = endpoints.current(now)
        check(endpoints, now, healthy=[A, B])
        if endpoints.current(now) == A:
            if before == B:
                returns.append(now)
            endpoints.failed(A, now)  # its checks pass, its requests do not
    assert len(returns) == 8
    for first, third in zip(returns, returns[2:], strict=False):
        assert third - first >= 3600.0
    assert endpoints.current(14_400.0) == B


def test_rule_6_no_returns_at_all_by_setting() -> None:
    endpoints = Endpoints([A, B], max_flaps=0)
    endpoints.failed(A, 0.0)
    for minute in range(100):
        check(endpoints, minute * 60.0, healthy=[A, B])
    assert endpoints.current(6000.0) == B


def test_an_alternate_that_fails_gives_way_to_a_healthy_primary_at_once() -> None:
    endpoints = Endpoints([A, B])
    endpoints.failed(A, 0.0)
    endpoints.checked(A, True, 5.0)
    assert endpoints.failed(B, 6.0)
    assert endpoints.current(6.0) == A


@pytest.mark.parametrize(
    "bad",
    [{"urls": []}, {"urls": [A, A]}, {"stable_for": -1}, {"max_flaps": -1}, {"per": 0}, {"check_every": 0}],
)
def test_bad_arguments_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="needs"):
        Endpoints(**{"urls": [A, B], **bad})


class EndpointsMachine(RuleBasedStateMachine):
    """URLs that come and go; what must hold is checked against a record of checks, failures and switches."""

    make: ClassVar[type[Endpoints]] = Endpoints
    URLS = (A, B, C)

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.endpoints = self.make(self.URLS)
        self.alive = dict.fromkeys(self.URLS, True)
        self.checks: list[tuple[float, str, bool]] = []
        self.left_primary = -1.0
        self.returns: list[float] = []
        self.last_check: dict[str, float] = {}

    @rule(url=st.sampled_from(URLS), alive=st.booleans())
    def turn(self, url: str, alive: bool) -> None:
        self.alive[url] = alive

    @rule(seconds=st.sampled_from([0.0, 1.0, 30.0, 60.0, 61.0, 600.0]))
    def advance(self, seconds: float) -> None:
        self.now += seconds

    @rule(healthy=st.lists(st.booleans(), min_size=1, max_size=5))
    def minutes(self, healthy: list[bool]) -> None:
        """The primary's checks, minute by minute."""
        for each in healthy:
            self.now += 60.0
            self.alive[A] = each
            self.check()

    @rule()
    def flap(self) -> None:
        """The primary fails, recovers, and passes its checks for some minutes."""
        self.alive = {A: False, B: True, C: True}
        self.request()
        self.minutes([True, True, True])

    @rule()
    def request(self) -> None:
        """Attempts until one succeeds: as many as there are URLs suffice, without any delay."""
        for _ in range(len(self.URLS) + 1):
            url = self.endpoints.current(self.now)
            if self.alive[url]:
                self.endpoints.succeeded(url, self.now)
                return
            if url == A:
                self.left_primary = self.now
            assert self.endpoints.failed(url, self.now)
            assert self.endpoints.current(self.now) != url
        assert not any(self.alive.values()) or self.some_alive_looked_bad()

    def some_alive_looked_bad(self) -> bool:
        """Only a URL that recovered after its last check or failure may be missed, and then by rotation."""
        seen = set()
        for _ in range(2 * len(self.URLS)):
            url = self.endpoints.current(self.now)
            seen.add(url)
            if self.alive[url]:
                return True
            self.endpoints.failed(url, self.now)
        return seen == set(self.URLS)

    @rule(url=st.sampled_from(URLS))
    def late_failure(self, url: str) -> None:
        before = self.endpoints.current(self.now)
        if url != before:
            assert self.endpoints.failed(url, self.now)
            assert self.endpoints.current(self.now) == before

    @rule(url=st.sampled_from(URLS))
    def late_success(self, url: str) -> None:
        before = self.endpoints.current(self.now)
        self.endpoints.succeeded(url, self.now)
        assert self.endpoints.current(self.now) == before

    @rule()
    def check(self) -> None:
        in_use = self.endpoints.current(self.now)
        due = self.endpoints.due(self.now)
        assert in_use not in due
        assert self.endpoints.due(self.now) == []
        for url in due:
            before = self.endpoints.current(self.now)
            self.checks.append((self.now, url, self.alive[url]))
            self.last_check[url] = self.now
            self.endpoints.checked(url, self.alive[url], self.now)
            after = self.endpoints.current(self.now)
            if after != before:
                assert after == A  # a check of what is not in use moves nothing but the return
                self.check_return()
        for url in self.URLS:
            if url not in (in_use, self.endpoints.current(self.now)):
                assert self.now < self.last_check[url] + 60.0

    def check_return(self) -> None:
        """Rules 5 and 6, by the record."""
        row = []
        for at, url, healthy in reversed(self.checks):
            if url == A:
                if not healthy or at < self.left_primary:
                    break
                row.append(at)
        assert row
        assert row[0] - row[-1] >= 60.0
        self.returns.append(self.now)
        assert sum(at + 3600.0 > self.now for at in self.returns) <= 2

    @rule()
    def after_an_hour_of_health_the_primary_is_used(self) -> None:
        self.alive = dict.fromkeys(self.URLS, True)
        for _ in range(63):
            self.now += 60.0
            self.check()
        assert self.endpoints.current(self.now) == A

    @invariant()
    def one_of_them_is_in_use(self) -> None:
        assert self.endpoints.current(self.now) in self.URLS


TestEndpointsMachine = EndpointsMachine.TestCase
TestEndpointsMachine.settings = settings(max_examples=EXAMPLES, stateful_step_count=STEPS)


class ReturnsAtOnce(Endpoints):
    def _may_return(self, now: float) -> bool:
        return True


class NoFlapLimit(Endpoints):
    def _may_return(self, now: float) -> bool:
        since = self._endpoints[0].passed_since
        return since is not None and now >= since + 60.0


class NeverReturns(Endpoints):
    def _may_return(self, now: float) -> bool:
        return False


class OneFlapTooMany(Endpoints):
    def __init__(self, urls: Sequence[str]) -> None:
        super().__init__(urls, max_flaps=3)


class ForgetsFailedChecks(Endpoints):
    def checked(self, url: str, healthy: bool, now: float) -> None:
        since = self._by_url[url].passed_since
        super().checked(url, healthy, now)
        self._by_url[url].passed_since = self._by_url[url].passed_since or since


class LateFailuresRotate(Endpoints):
    def failed(self, url: str, now: float) -> bool:
        self._leave(now)
        return True


class ChecksTwice(Endpoints):
    def due(self, now: float) -> list[str]:
        return [each.url for i, each in enumerate(self._endpoints) if i != self._active and now >= each.due]


class NeverMoves(Endpoints):
    def _leave(self, now: float) -> None:
        pass


class KeepsThePastOfWhatItLeaves(Endpoints):
    def _use(self, index: int, now: float) -> None:
        since = [each.passed_since for each in self._endpoints]
        super()._use(index, now)
        for each, then in zip(self._endpoints, since, strict=True):
            each.passed_since = then


@pytest.mark.parametrize(
    "mutant",
    [
        ReturnsAtOnce,
        NoFlapLimit,
        NeverReturns,
        OneFlapTooMany,
        ForgetsFailedChecks,
        LateFailuresRotate,
        ChecksTwice,
        NeverMoves,
        KeepsThePastOfWhatItLeaves,
    ],
)
def test_negative_control_the_machine_finds_each_mutant(mutant: type[Endpoints]) -> None:
    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            type("Mutated", (EndpointsMachine,), {"make": mutant}),
            settings=settings(
                max_examples=1000, stateful_step_count=STEPS, phases=[Phase.generate], derandomize=True
            ),
        )
