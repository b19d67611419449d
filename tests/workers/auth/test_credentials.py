"""Rotation while running: a pair is taken as a whole or not at all."""

from __future__ import annotations

import itertools
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from workers.auth.credentials import (
    CredentialFile,
    CredentialParts,
    Credentials,
    Keyed,
    Origin,
    RotatingCredentials,
    origin,
)
from workers.auth.secret import Secret, SecretError, source
from workers.auth.signing import HmacSigner
from workers.contract.protocols import HTTPMethod
from workers.venues.binance_spot import auth as binance_spot
from workers.venues.kraken import auth as kraken

_times = itertools.count(1_700_000_000_000_000_000, 1_000_000_000)


def write(path: Path, text: str) -> None:
    """In place, and with a time of its own: no two writes of a test fall into one tick of the file system."""
    if not path.exists():
        path.touch(0o600)
    path.write_text(text)
    now = next(_times)
    os.utime(path, ns=(now, now))


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Rig:
    """Key and secret in two files, generation 0."""

    def __init__(self, folder: Path, kind: str = "parts") -> None:
        self.key, self.secret = folder / "key", folder / "secret"
        write(self.key, "k0")
        write(self.secret, "s0")
        self.clock = Clock()
        self.wall = 0.0  # files are newer than that: the second look decides
        self.lines: list[str] = []
        parts = origin(f"file:{self.key}", f"file:{self.secret}", "", {})
        self.credentials = RotatingCredentials(
            parts, clock=self.clock, wall=lambda: self.wall, notify=self.lines.append
        )

    def look(self, times: int = 1) -> Credentials:
        for _ in range(times):
            self.clock.now += 1.0
            current = self.credentials.current()
        return current


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_nothing_new_is_the_same_object(rig: Rig) -> None:
    first = rig.credentials.current()
    assert rig.look(5) is first == Credentials.of("k0", "s0")
    assert rig.lines == []


def test_a_rotated_pair_is_in_use_after_two_looks(rig: Rig) -> None:
    write(rig.key, "k1")
    write(rig.secret, "s1")
    assert rig.look() == Credentials.of("k0", "s0"), "it has not rested yet"
    assert rig.look() == Credentials.of("k1", "s1")
    assert rig.lines == [f"file:{rig.key}, file:{rig.secret}: rotated credentials are in use"]
    assert rig.credentials.rotations == 1


def test_a_pair_rotated_long_ago_is_in_use_at_the_first_look(rig: Rig) -> None:
    """Else a key that signs once an hour would sign with the old secret once more."""
    write(rig.key, "k1")
    write(rig.secret, "s1")
    rig.wall = rig.secret.stat().st_mtime + 0.9
    assert rig.look() == Credentials.of("k0", "s0"), "still fresh"
    write(rig.secret, "s1")
    rig.wall = rig.secret.stat().st_mtime + 1.0
    assert rig.look() == Credentials.of("k1", "s1")


def test_looks_have_a_bounded_rate(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[object] = []
    real = CredentialParts.stamp
    monkeypatch.setattr(CredentialParts, "stamp", lambda parts: looks.append(parts) or real(parts))
    for _ in range(1000):
        rig.clock.now += 0.01
        rig.credentials.current()
    assert 9 <= len(looks) <= 10, "ten seconds"


@pytest.mark.parametrize("first", ["key", "secret"])
def test_half_a_rotation_keeps_the_old_pair_and_says_so(rig: Rig, first: str) -> None:
    one, other = (rig.key, rig.secret) if first == "key" else (rig.secret, rig.key)
    write(one, "new")
    assert rig.look(5) == Credentials.of("k0", "s0")
    assert len(rig.lines) == 1, "reported once"
    assert f"still the old one; replace file:{other} too; the old credentials stay" in rig.lines[0]
    assert rig.credentials.problem == rig.lines[0]
    write(other, "new2")
    expected = ("new", "new2") if first == "key" else ("new2", "new")
    assert rig.look(2) == Credentials.of(*expected)
    assert rig.credentials.problem == ""


def test_taking_the_halves_as_they_come_mixes_pairs(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: without rule 2."""
    monkeypatch.setattr(CredentialParts, "refuses", lambda self, old, new: "")
    write(rig.key, "k1")
    assert rig.look(2) == Credentials.of("k1", "s0")


@pytest.mark.parametrize("content", ["", "  \n"])
def test_an_empty_file_keeps_the_old_pair_and_says_so(rig: Rig, content: str) -> None:
    write(rig.key, "k1")
    write(rig.secret, content)
    assert rig.look(5) == Credentials.of("k0", "s0")
    assert len(rig.lines) == 1
    assert "empty" in rig.lines[0]
    write(rig.secret, "s1")
    assert rig.look(2) == Credentials.of("k1", "s1")


def test_a_missing_or_wide_file_keeps_the_old_pair(rig: Rig) -> None:
    rig.secret.unlink()
    assert rig.look(3) == Credentials.of("k0", "s0")
    write(rig.secret, "s1")
    write(rig.key, "k1")
    rig.key.chmod(0o644)
    assert rig.look(3) == Credentials.of("k0", "s0")
    assert ["No such file" in rig.lines[0], "mode is 0644" in rig.lines[1]] == [True, True]


def test_a_file_that_is_touched_rotates_nothing(rig: Rig) -> None:
    first = rig.credentials.current()
    write(rig.key, "k0")
    assert rig.look(3) is first
    assert rig.lines == []
    assert rig.credentials.problem == ""


def test_a_problem_that_goes_away_is_forgotten(rig: Rig) -> None:
    before = rig.secret.stat()
    rig.secret.rename(f"{rig.secret}.away")
    rig.look()
    assert rig.credentials.problem
    Path(f"{rig.secret}.away").rename(rig.secret)
    os.utime(rig.secret, ns=(before.st_atime_ns, before.st_mtime_ns))
    rig.look(2)
    assert rig.credentials.problem == ""


def test_credentials_that_are_not_there_to_begin_with() -> None:
    with pytest.raises(SecretError, match="env:KEY: the variable is not set"):
        RotatingCredentials(origin("env:KEY", "env:SECRET", "", {}))


def test_one_file_for_all_rotates_at_once(tmp_path: Path) -> None:
    path, clock = tmp_path / "c.toml", Clock()
    write(path, 'key = "k0"\nsecret = "s0"')
    credentials = RotatingCredentials(CredentialFile(str(path)), clock=clock)
    write(path, 'key = "k0"\nsecret = "s1"\npassphrase = "p1"')
    for clock.now in (1.0, 2.0):
        credentials.current()
    assert credentials.current() == Credentials.of("k0", "s1", "p1")
    assert "1 rotations" in repr(credentials)


def test_a_directory_exchanged_between_two_reads_is_not_mixed(tmp_path: Path) -> None:
    """As Kubernetes mounts secrets: all files change with one symlink."""
    for number in (0, 1, 2):
        (tmp_path / f"v{number}").mkdir()
        write(tmp_path / f"v{number}" / "key", f"k{number}")
        write(tmp_path / f"v{number}" / "secret", f"s{number}")
    link = tmp_path / "data"
    link.symlink_to("v0")

    def point(number: int) -> None:
        (tmp_path / "fresh").symlink_to(f"v{number}")
        os.replace(tmp_path / "fresh", link)

    class Torn(CredentialParts):
        """The link moves on after the key was read."""

        armed = False

        def read(self) -> Credentials:
            key = self._key.read()
            if self.armed:
                self.armed = False
                point(2)
            return Credentials(key, self._secret.read())

    clock = Clock()
    parts = Torn(source(f"file:{link / 'key'}", {}), source(f"file:{link / 'secret'}", {}))
    credentials = RotatingCredentials(parts, clock=clock)
    point(1)
    parts.armed = True
    seen = []
    for _ in range(6):
        clock.now += 1.0
        seen.append(credentials.current())
    assert set(map(repr, seen)) == {repr(seen[0])}
    assert seen[-1] == Credentials.of("k2", "s2")
    assert all(one.key.reveal()[1:] == one.secret.reveal()[1:] for one in seen)


class RotationMachine(RuleBasedStateMachine):
    """Any order of writes, half writes and looks; the pair in use is always one that belongs together.

    The writer's promise: a half-written file does not rest for two looks, and a rotation is in use before
    the next one begins.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.rig = Rig(Path(self.folder.name))
        self.generation = 0
        self.open: dict[str, str] = {}
        self.looks_mid_write = 0
        self.looks_whole = 2

    def teardown(self) -> None:
        self.folder.cleanup()

    def path(self, part: str) -> Path:
        return self.rig.key if part == "k" else self.rig.secret

    @precondition(lambda self: not self.open and self.looks_whole >= 2)
    @rule()
    def begin(self) -> None:
        self.generation += 1
        self.open = {"k": "waiting", "s": "waiting"}
        self.looks_whole = 0

    @precondition(lambda self: "waiting" in self.open.values() and "torn" not in self.open.values())
    @rule(part=st.sampled_from("ks"), left=st.sampled_from(["", "?"]))
    def tear(self, part: str, left: str) -> None:
        if self.open.get(part) == "waiting":
            write(self.path(part), left)
            self.open[part] = "torn"
            self.looks_mid_write = 0

    @precondition(lambda self: self.open)
    @rule(part=st.sampled_from("ks"))
    def complete(self, part: str) -> None:
        if part in self.open and (self.open[part] == "torn" or "torn" not in self.open.values()):
            write(self.path(part), f"{part}{self.generation}")
            del self.open[part]

    @rule()
    def look(self) -> None:
        if "torn" in self.open.values():
            if self.looks_mid_write:
                return
            self.looks_mid_write = 1
        if not self.open:
            self.looks_whole += 1
        self.rig.look()

    @rule()
    def ask(self) -> None:
        self.rig.clock.now += 0.3
        if "torn" not in self.open.values():
            self.rig.credentials.current()

    @invariant()
    def the_pair_belongs_together(self) -> None:
        pair = self.rig.credentials._credentials
        assert pair.key.reveal()[1:] == pair.secret.reveal()[1:]
        assert pair.key.reveal().startswith("k")

    @precondition(lambda self: not self.open)
    @rule()
    def settles(self) -> None:
        self.looks_whole = 2
        assert self.rig.look(2) == Credentials.of(f"k{self.generation}", f"s{self.generation}")


RotationMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestRotation = RotationMachine.TestCase


# -- what is made of them ------------------------------------------------------------------------------------
class Turning:
    def __init__(self) -> None:
        self.pair = Credentials.of("k0", "czA=")

    def current(self) -> Credentials:
        return self.pair


def test_signers_follow_a_rotation() -> None:
    turning = Turning()
    strategy = binance_spot.auth(turning)
    turning.pair = Credentials.of("k1", "s1")
    signed = strategy.sign_request(HTTPMethod.GET, "/api/v3/account", [], None, 7)
    assert signed.headers["X-MBX-APIKEY"] == "k1"
    text = "recvWindow=5000&timestamp=7"
    assert signed.query == f"{text}&signature={HmacSigner(Secret('s1')).sign(text.encode())}"


def signed_key(strategy: kraken.KrakenAuth) -> str:
    return strategy.sign_request(HTTPMethod.POST, "/0/private/Balance", [], None, 7).headers["API-Key"]


def test_a_rotated_secret_that_makes_no_signer_keeps_the_old_pair() -> None:
    turning = Turning()
    strategy = kraken.auth(turning)
    turning.pair = Credentials.of("k1", "not base64!")
    assert (
        strategy.sign_request(HTTPMethod.POST, "/0/private/Balance", [], None, 7).headers["API-Key"] == "k0"
    )
    assert "the secret is no base64" in strategy._key.problem
    assert "problem" in repr(strategy)
    turning.pair = Credentials.of("k2", "czI=")
    assert (
        strategy.sign_request(HTTPMethod.POST, "/0/private/Balance", [], None, 8).headers["API-Key"] == "k2"
    )
    assert strategy._key.problem == ""


def test_threads_that_sign_during_rotations_never_mix_pairs() -> None:
    turning = Turning()
    strategy = binance_spot.auth(turning)
    good = {f"k{n}": HmacSigner(Secret(f"s{n}")).sign(b"recvWindow=5000&timestamp=7") for n in range(1, 200)}
    turning.pair = Credentials.of("k1", "s1")

    def rotate() -> None:
        for number in range(1, 200):
            turning.pair = Credentials.of(f"k{number}", f"s{number}")
            time.sleep(0)

    def sign() -> list[tuple[str, str]]:
        made = []
        for _ in range(1500):
            signed = strategy.sign_request(HTTPMethod.GET, "/api/v3/account", [], None, 7)
            assert signed.query is not None
            made.append((signed.headers["X-MBX-APIKEY"], signed.query.rpartition("=")[2]))
        return made

    with ThreadPoolExecutor(5) as pool:
        turns = pool.submit(rotate)
        for signing in [pool.submit(sign) for _ in range(4)]:
            assert all(good[key] == signature for key, signature in signing.result())
        turns.result()


def test_it_is_made_once_a_rotation() -> None:
    turning, made = Turning(), []
    keyed = Keyed(turning, lambda pair: made.append(pair) or len(made))
    assert [keyed.current() for _ in range(3)] == [1, 1, 1]
    turning.pair = Credentials.of("k1", "s1")
    assert [keyed.current() for _ in range(3)] == [2, 2, 2]


def test_an_origin_is_one() -> None:
    parts: Origin = origin("k", "s", "p", {})
    assert parts.read() == Credentials.of("k", "s", "p")
    assert parts.read().current() == parts.read()
