"""The backoff beside a twin that decides from the whole history; rules as numbered in the module."""

from __future__ import annotations

import os
from typing import ClassVar

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from workers.contract.errors import ErrorClass
from workers.contract.protocols import ReconnectionPolicy
from workers.websocket.backoff import AUTHENTICATION_ATTEMPTS, Backoff

STEPS = 50
EXAMPLES = 3000 if os.environ.get("TICKRING_HYPOTHESIS") == "random" else 100
POLICY = ReconnectionPolicy(max_attempts=6, initial_delay=1.0, backoff_factor=4.0, max_delay=100.0)
KINDS = st.sampled_from([kind for kind in ErrorClass if kind is not ErrorClass.AUTHENTICATION])


class BackoffMachine(RuleBasedStateMachine):
    """Failures of all kinds and valid data, in any order."""

    make: ClassVar[type[Backoff]] = Backoff

    def __init__(self) -> None:
        super().__init__()
        self.chance = 0.0
        self.backoff = self.make(POLICY, lambda: self.chance)
        self.row: list[tuple[ErrorClass, bool]] = []  # failures since there was valid data
        self.ever_proved = False

    def given_up(self) -> bool:
        """Rules 6 and 8, from the history alone."""
        authentication = sum(kind is ErrorClass.AUTHENTICATION for kind, _ in self.row)
        return (
            len(self.row) >= POLICY.max_attempts
            or authentication >= AUTHENTICATION_ATTEMPTS
            or any(hopeless for _, hopeless in self.row)
        )

    def expected(self, kind: ErrorClass, retry_after: float) -> float:
        if kind is ErrorClass.RATE_LIMITED or self.given_up():
            return max(retry_after, POLICY.max_delay)  # rules 6 to 8
        if kind is ErrorClass.ABNORMAL and self.ever_proved and len(self.row) == 1:
            return 0.0  # rule 4
        base = {ErrorClass.TIMEOUT: 2.0}.get(kind, 4.0)  # rules 1 and 5
        full = min(POLICY.max_delay, base ** (len(self.row) - 1))
        return max(retry_after, full * (1.0 - self.chance / 2))  # rule 2

    def fail(self, kind: ErrorClass, retry_after: float, hopeless: bool, chance: float) -> None:
        self.chance = chance
        self.row.append((kind, hopeless))
        delay = self.backoff.failed(kind, retry_after=retry_after, hopeless=hopeless)
        assert delay == pytest.approx(self.expected(kind, retry_after))
        assert delay <= max(POLICY.max_delay, retry_after)

    @rule(
        kind=KINDS,
        retry_after=st.sampled_from([0.0, 0.0, 3.0, 500.0]),
        chance=st.floats(0, 1, exclude_max=True),
    )
    def any_failure(self, kind: ErrorClass, retry_after: float, chance: float) -> None:
        self.fail(kind, retry_after, False, chance)

    @rule(chance=st.floats(0, 1, exclude_max=True))
    def authentication(self, chance: float) -> None:
        self.fail(ErrorClass.AUTHENTICATION, 0.0, False, chance)

    @rule(kind=KINDS, times=st.integers(2, 8))
    def the_same_again(self, kind: ErrorClass, times: int) -> None:
        for _ in range(times):
            self.fail(kind, 0.0, False, 0.25)

    @rule(kind=KINDS)
    def hopeless(self, kind: ErrorClass) -> None:
        self.fail(kind, 0.0, True, 0.0)

    @rule()
    def valid_data(self) -> None:
        """Rule 3."""
        self.backoff.on_data()
        self.row.clear()
        self.ever_proved = True

    @invariant()
    def they_agree(self) -> None:
        assert self.backoff.exhausted == self.given_up()
        assert self.backoff.failures == len(self.row)


TestBackoffMachine = BackoffMachine.TestCase
TestBackoffMachine.settings = settings(max_examples=EXAMPLES, stateful_step_count=STEPS)


class NeverResets(Backoff):
    def on_data(self) -> None:
        self._data_since_failure = True


class EveryAbnormalEndIsImmediate(Backoff):
    def failed(self, kind: ErrorClass, *, retry_after: float = 0.0, hopeless: bool = False) -> float:
        self._data_since_failure = True
        return super().failed(kind, retry_after=retry_after, hopeless=hopeless)


class JitterAdds(Backoff):
    def _jittered(self, kind: ErrorClass) -> float:
        return super()._jittered(kind) * (1.0 + self._chance())


class TimeoutsAreLikeTheRest(Backoff):
    def _jittered(self, kind: ErrorClass) -> float:
        return super()._jittered(ErrorClass.REFUSED)


class ForgivesAuthentication(Backoff):
    def failed(self, kind: ErrorClass, *, retry_after: float = 0.0, hopeless: bool = False) -> float:
        self._authentication = 0
        return super().failed(kind, retry_after=retry_after, hopeless=hopeless)


class GivesUpLate(Backoff):
    def failed(self, kind: ErrorClass, *, retry_after: float = 0.0, hopeless: bool = False) -> float:
        self.failures -= self.failures == POLICY.max_attempts - 1
        return super().failed(kind, retry_after=retry_after, hopeless=hopeless)


class DoesNotListen(Backoff):
    def failed(self, kind: ErrorClass, *, retry_after: float = 0.0, hopeless: bool = False) -> float:
        return super().failed(kind, hopeless=hopeless)


class KeepsHope(Backoff):
    def failed(self, kind: ErrorClass, *, retry_after: float = 0.0, hopeless: bool = False) -> float:
        return super().failed(kind, retry_after=retry_after)


@pytest.mark.parametrize(
    "mutant",
    [
        NeverResets,
        EveryAbnormalEndIsImmediate,
        JitterAdds,
        TimeoutsAreLikeTheRest,
        ForgivesAuthentication,
        GivesUpLate,
        DoesNotListen,
        KeepsHope,
    ],
)
def test_negative_control_the_machine_finds_each_mutant(mutant: type[Backoff]) -> None:
    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            type("Mutated", (BackoffMachine,), {"make": mutant}),
            settings=settings(
                max_examples=1000, stateful_step_count=STEPS, phases=[Phase.generate], derandomize=True
            ),
        )
