"""Places of a pool against a plain model: bounds, fairness, nothing lost to a cancellation."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from workers.http.places import Places

TOTAL, PER_HOST = 4, 2
HOSTS = ("a", "b", "c")


class Machine(RuleBasedStateMachine):
    """Takers come, wait, are cancelled and give back, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.places = Places(TOTAL, PER_HOST)
        self.held: list[str] = []
        self.waiting: list[tuple[str, asyncio.Task[int]]] = []

    def teardown(self) -> None:
        for _, task in self.waiting:
            task.cancel()
        self._turn()
        self.loop.close()

    def _turn(self) -> None:
        """Let everybody run until nothing moves; who got a place holds it."""
        for _ in range(3):
            self.loop.run_until_complete(asyncio.sleep(0))
        served = [(host, task) for host, task in self.waiting if task.done() and not task.cancelled()]
        self.waiting = [entry for entry in self.waiting if not entry[1].done()]
        self.held += [host for host, _ in served]

    @rule(host=st.sampled_from(HOSTS))
    def come(self, host: str) -> None:
        if place := self.places.take(host):
            assert place == self.held.count(host) + 1, "which one of its host's"
            assert host not in [other for other, _ in self.waiting], "overtaken"
            self.held.append(host)
        else:
            self.waiting.append((host, self.loop.create_task(self.places.wait(host))))
            self._turn()

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def give(self, data: st.DataObject) -> None:
        self.places.give(self.held.pop(data.draw(st.integers(0, len(self.held) - 1))))
        self._turn()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.waiting[data.draw(st.integers(0, len(self.waiting) - 1))][1].cancel()
        self._turn()

    @precondition(lambda self: self.held and self.waiting)
    @rule(data=st.data())
    def give_and_cancel_in_one_turn(self, data: st.DataObject) -> None:
        """The cancelled one may have been handed the place already: it must not keep it."""
        self.places.give(self.held.pop(0))
        self.waiting[data.draw(st.integers(0, len(self.waiting) - 1))][1].cancel()
        self._turn()

    @invariant()
    def bounds_hold(self) -> None:
        assert self.places.in_use == len(self.held) <= TOTAL
        for host in HOSTS:
            assert self.held.count(host) <= PER_HOST
        assert self.places.waiting == len(self.waiting)

    @invariant()
    def nobody_waits_for_a_free_place(self) -> None:
        for host, _ in self.waiting:
            assert len(self.held) == TOTAL or self.held.count(host) == PER_HOST

    @invariant()
    def first_come_first_served(self) -> None:
        """Of two who wait for the same host, the earlier one is served first: ours are in order."""
        assert all(not task.done() for _, task in self.waiting)


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=120, stateful_step_count=40)


def test_a_lost_place_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: `wait` that keeps the place of a cancelled waiter fails the machine."""

    async def forgetful(self: Places, host: str) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((host, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.done() or turn.cancelled():
                self._waiting.remove((host, turn))
            raise

    monkeypatch.setattr(Places, "wait", forgetful)
    with pytest.raises(AssertionError):
        TestMachine("runTest").runTest()


def test_waiters_of_one_host_are_served_in_order() -> None:
    async def main() -> None:
        places = Places(10, 1)
        assert places.take("a")
        served: list[int] = []

        async def wait(n: int) -> int:
            place = await places.wait("a")
            served.append(n)
            return place

        tasks = [asyncio.create_task(wait(n)) for n in range(5)]
        await asyncio.sleep(0)
        assert places.take("b"), "another host does not wait behind them"
        for _ in tasks:
            places.give("a")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert [await task for task in tasks] == [1] * 5, "the only place of the host"
        assert served == [0, 1, 2, 3, 4]

    asyncio.run(main())


@pytest.mark.parametrize(("total", "per_host"), [(0, 1), (1, 0), (-1, 5)])
def test_a_pool_without_places_is_refused(total: int, per_host: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Places(total, per_host)
