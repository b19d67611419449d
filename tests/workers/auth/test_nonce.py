"""Nonces strictly increase: over tasks, threads, restarts and clocks that are set back."""

from __future__ import annotations

import asyncio
import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from workers.auth.credentials import Credentials
from workers.auth.nonce import AHEAD, Nonce, NonceError, NonceFile
from workers.contract.protocols import HTTPMethod
from workers.venues.kraken import auth as kraken


def strictly(numbers: list[int]) -> bool:
    return all(a < b for a, b in itertools.pairwise(numbers))


def test_the_clock_proposes() -> None:
    nonce = Nonce()
    assert [nonce.next(n) for n in (5, 5, 3, 100, 100)] == [5, 6, 7, 100, 101]


def test_the_check_notices_one_that_repeats() -> None:
    """Negative control."""
    assert not strictly([5, 5])
    assert not strictly([5, 6, 5])


def sent_nonces(strategy: kraken.KrakenAuth, count: int, now: int) -> list[int]:
    def one(_: int) -> int:
        data = strategy.sign_request(HTTPMethod.POST, "/0/private/Balance", [], None, now).data
        assert data is not None
        return int(data.removeprefix(b"nonce="))

    with ThreadPoolExecutor(8) as pool:
        return sorted(pool.map(one, range(count)))


def test_threads_in_the_same_millisecond_never_share_one() -> None:
    numbers = sent_nonces(kraken.auth(Credentials.of("k", "czA=")), 2000, 1_700_000_000_000)
    assert strictly(numbers)


async def _tasks(nonce: Nonce) -> list[int]:
    async def one() -> int:
        await asyncio.sleep(0)
        return nonce.next(7)

    return sorted(await asyncio.gather(*(one() for _ in range(500))))


def test_tasks_in_the_same_millisecond_never_share_one() -> None:
    assert strictly(asyncio.run(_tasks(Nonce())))


def test_a_restart_with_a_clock_set_back_goes_on_above(tmp_path: Path) -> None:
    store = NonceFile(tmp_path / "nonce")
    before = sent_nonces(kraken.auth(Credentials.of("k", "czA="), Nonce(store)), 50, 1_700_000_000_000)
    store.close()  # a crash does no more than this
    after = NonceFile(tmp_path / "nonce")
    later = sent_nonces(kraken.auth(Credentials.of("k", "czA="), Nonce(after)), 50, 1_600_000_000_000)
    after.close()
    assert strictly(before + later)
    without = sent_nonces(kraken.auth(Credentials.of("k", "czA=")), 50, 1_600_000_000_000)
    assert not strictly(before + without), "negative control: no store, the clock decides"


def test_the_bound_is_on_the_disk_before_the_number_is_given(tmp_path: Path) -> None:
    with_store = NonceFile(tmp_path / "nonce")
    nonce = Nonce(with_store)
    number = nonce.next(1000)
    assert int((tmp_path / "nonce").read_text()) == number + AHEAD
    written = (tmp_path / "nonce").stat().st_ino
    for n in range(1000, 1000 + AHEAD):
        nonce.next(n)
    assert (tmp_path / "nonce").stat().st_ino == written, "one write covers many numbers"
    with_store.close()


class Broken:
    def __init__(self) -> None:
        self.broken = True

    def load(self) -> int:
        return 5

    def save(self, bound: int) -> None:
        if self.broken:
            raise NonceError("disk full")


def test_without_a_store_that_keeps_its_promise_nothing_is_given() -> None:
    store = Broken()
    nonce = Nonce(store)
    with pytest.raises(NonceError, match="disk full"):
        nonce.next(10)
    store.broken = False
    assert nonce.next(10) == 10


def test_two_processes_cannot_share_a_key(tmp_path: Path) -> None:
    one = NonceFile(tmp_path / "nonce")
    with pytest.raises(NonceError, match="in use by another process"):
        NonceFile(tmp_path / "nonce")
    one.close()
    one.close()
    NonceFile(tmp_path / "nonce").close()


@pytest.mark.parametrize("content", ["", "abc", "-5", "１２"])
def test_a_store_that_holds_no_number(tmp_path: Path, content: str) -> None:
    (tmp_path / "nonce").write_text(content)
    store = NonceFile(tmp_path / "nonce")
    with pytest.raises(NonceError, match="holds no number"):
        Nonce(store)
    store.close()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(NonceError, match="No such file"):
        NonceFile(tmp_path / "none" / "nonce")
    store = NonceFile(tmp_path / "nonce")
    os.mkdir(tmp_path / "nonce.new")
    with pytest.raises(NonceError, match="nothing is signed without it"):
        Nonce(store).next(1)
    store.close()


class NonceMachine(RuleBasedStateMachine):
    """Any order of requests, clock steps and restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.saved = 0
        self.now = 1_700_000_000_000
        self.last = 0
        self.nonce = Nonce(self)

    def load(self) -> int:
        return self.saved

    def save(self, bound: int) -> None:
        self.saved = bound

    @rule(count=st.integers(1, 50))
    def requests(self, count: int) -> None:
        for _ in range(count):
            number = self.nonce.next(self.now)
            assert number > self.last
            assert number <= self.saved
            self.last = number

    @rule(step=st.integers(-4_000_000, 4_000_000))
    def clock(self, step: int) -> None:
        self.now += step

    @rule()
    def restart(self) -> None:
        self.nonce = Nonce(self)


NonceMachine.TestCase.settings = settings(max_examples=100, deadline=None)
TestNonces = NonceMachine.TestCase
