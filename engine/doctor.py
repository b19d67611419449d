"""``tickring doctor``: is this machine fit to run the engine? A line a check; a problem says what to do."""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import urlsplit

from engine import broken
from engine.broken import LIBRARIES, NATIVE
from engine.errors import FAILED, OK, EngineError

if TYPE_CHECKING:
    from engine.settings.settings import Settings

SHM = Path("/dev/shm")
CLOCK = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
REACH = 5.0  # s


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: `level` is ``ok``, ``note`` (works, could be better) or ``problem``."""

    name: str
    level: str
    text: str

    @property
    def bad(self) -> bool:
        return self.level == "problem"

    def document(self) -> dict[str, str]:
        """As in `doctor --json`."""
        return {"name": self.name, "level": self.level, "text": self.text}

    def text_line(self) -> str:
        """As printed."""
        return f"{self.level:<8} {self.name:<10} {self.text}"


def examine(config: Path | None, environ: Mapping[str, str], *, network: bool = False) -> list[Check]:
    """Every check; `network` also tries to reach the configured venues. What an import that fails keeps from
    being checked is a note; the import itself is a problem."""
    found = [*_python(), *_packages(), *_machine()]
    settings: Settings | None = None
    needed: dict[str, int] = {}
    instance = "default"
    try:
        from engine.settings.settings import load
        from engine.settings.validation import geometry

        settings = load(config, environ)
        found += _venues(settings)
        needed = {name: geometry(venue).size for name, venue in settings.enabled.items()}
        instance = settings.engine.instance
    except EngineError as error:
        found += [Check("settings", "problem", line) for line in str(error).splitlines()]
    except Exception as error:
        found.append(_unchecked("settings", error))
    if all(not check.bad for check in found if check.name in ("build", "libraries")):
        found += [*_memory(instance, needed), *_segments(instance)]
    if settings is not None:
        found += _cores(settings)
        if network:
            found += _network(settings)
    return found


def report(found: Sequence[Check], as_json: bool) -> str:
    """As `tickring doctor` prints it."""
    if as_json:
        document = {"ok": not any(one.bad for one in found), "checks": [one.document() for one in found]}
        return json.dumps(document)
    return "\n".join(one.text_line() for one in found)


def _unchecked(name: str, error: Exception) -> Check:
    """A check that an import has kept from being made. Raises any other error again."""
    if (cause := broken.by_import(error)) is None:
        raise error
    return Check(name, "note", f"not checked: {broken.reason(cause)}")


def _packages(path: Sequence[str] | None = None) -> Iterator[Check]:
    """What else has the name of one of our packages where this command was started: a program that finds it
    first does not get ours. (The command and its children look in our own folder first.) `path`: tests."""
    searched = [os.getcwd(), *sys.path] if path is None else path
    elsewhere = [entry for entry in searched if Path(entry).resolve() != broken.ROOT]
    clean = True
    for name in ("shm", "workers", "engine", "tickring"):
        found = PathFinder.find_spec(name, elsewhere)
        origin = None if found is None else found.origin
        if origin is not None and broken.ROOT not in Path(origin).resolve().parents:
            clean = False
            text = f"{origin} is called {name} too: a program that finds it first does not get ours"
            yield Check("packages", "note", f"{text}; rename it, or put {broken.ROOT} first in PYTHONPATH")
    if clean:
        yield Check("packages", "ok", f"shm, workers, engine and tickring are those of {broken.ROOT}")


def _venues(settings: Settings) -> list[Check]:
    """Whether the venues' own code, native decoders included, can be run with these settings."""
    from engine.settings.venues import check

    try:
        check(settings)
    except EngineError as error:
        return [Check("settings", "problem", line) for line in str(error).splitlines()]
    return [Check("settings", "ok", f"venues {', '.join(settings.enabled) or 'none'}")]


def _python() -> Iterator[Check]:
    version = platform.python_version()
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    yield Check("python", "ok", f"{version} on {system}")
    missing = _broken(LIBRARIES)
    for reason, names in missing.items():
        others = f" ({', '.join(names)})" if [reason] != [f"no module {name}" for name in names] else ""
        yield Check("libraries", "problem", f"{reason}{others}; run: {broken.advice('setup')}")
    if not missing:
        yield Check("libraries", "ok", ", ".join(LIBRARIES))
    unbuilt = _broken(NATIVE)
    if missing:  # what a library keeps from being imported may be built well enough
        absent = {f"no module {name}" for name in NATIVE}
        unbuilt = {reason: names for reason, names in unbuilt.items() if reason in absent}
    for reason, names in unbuilt.items():
        yield Check("build", "problem", f"{reason} ({', '.join(names)}); run: {broken.advice('build')}")
    if not unbuilt:
        yield Check("build", "ok", f"native code of {len(NATIVE)} modules")


def _broken(modules: Iterable[str]) -> dict[str, list[str]]:
    """Why → the modules that cannot be imported for this reason."""
    found: dict[str, list[str]] = {}
    for module in modules:
        if (reason := broken.why_not(module)) is not None:
            found.setdefault(reason, []).append(module)
    return found


def _machine() -> Iterator[Check]:
    if not sys.platform.startswith("linux"):
        yield Check("system", "problem", f"{sys.platform}: Linux is needed (futex, pidfd, /dev/shm)")
        return
    try:
        os.close(os.pidfd_open(os.getpid()))
        yield Check("system", "ok", "pidfd and futex are there")
    except OSError as error:
        yield Check(
            "system", "problem", f"pidfd_open is refused ({error.strerror}): Linux 5.3 or newer is needed"
        )
    clock = CLOCK.read_text().strip() if CLOCK.is_file() else "unknown"
    good = clock in ("tsc", "arch_sys_counter", "kvm-clock")
    slow = "" if good else ": reading the time costs a system call, latency figures will suffer"
    yield Check("clock", "ok" if good else "note", f"clock source {clock}{slow}")


def _memory(instance: str, needed: Mapping[str, int]) -> Iterator[Check]:
    from shm.names import Names

    if not SHM.is_dir() or not os.access(SHM, os.W_OK):
        yield Check("memory", "problem", f"{SHM} is not a directory that this user may write to")
        return
    usage = shutil.disk_usage(SHM)
    have = sum(_size(Names(instance, name).data) for name in needed)
    want = sum(needed.values())
    text = f"{SHM}: {_mib(usage.free)} free of {_mib(usage.total)}, {_mib(want)} needed"
    if usage.free + have < want:
        yield Check("memory", "problem", f"{text}; enlarge it (docker: shm_size) or lower ring_slots")
    else:
        yield Check("memory", "ok", text)
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if limit != resource.RLIM_INFINITY and limit < max(needed.values(), default=0):
        raise_it = "segments stay pageable; raise it (ulimit -l, or LimitMEMLOCK=)"
        yield Check("mlock", "note", f"limit {_mib(limit)} is below a segment's size: {raise_it}")
    else:
        yield Check("mlock", "ok", "unlimited" if limit == resource.RLIM_INFINITY else f"limit {_mib(limit)}")


def _segments(instance: str) -> Iterator[Check]:
    """Lists what is in shared memory. Another instance's segments are never touched, only named."""
    import shm
    from engine.supervision.supervisor import KILLED
    from shm.files import foreign_files
    from shm.layout import State

    alive, others = [], foreign_files()
    for path, owner in others.items():
        yield Check(
            "segments", "note", f"{path} belongs to {owner}: nothing of it is read, or ours to remove"
        )
    for info in shm.feeds(None):
        if info.path in others:
            continue
        if info.problem is not None:
            yield Check("segments", "note", f"{info.path}: {info.problem}")
        elif info.state is State.DOWN and info.heartbeat_age > KILLED:  # DOWN and beating: no connection
            whose = (
                "the next start adopts it" if info.instance == instance else f"of instance {info.instance}"
            )
            yield Check(
                "segments", "note", f"{info.path}: nobody writes it ({whose}); to remove it: rm {info.path}*"
            )
        else:
            alive.append(f"{info.instance}/{info.name}")
    yield Check("segments", "ok", f"written: {', '.join(alive) or 'none'}")


def _cores(settings: Settings) -> Iterator[Check]:
    from engine.settings.placement import assign

    allowed = os.sched_getaffinity(0)
    try:
        placed, warnings = assign({name: venue.cpu for name, venue in settings.enabled.items()}, allowed)
    except EngineError as error:
        yield Check("cores", "problem", str(error))
        return
    for warning in warnings:
        yield Check("cores", "note", warning)
    where = ", ".join(f"{name} on {'any' if core is None else core}" for name, core in placed.items())
    if len(allowed) < 2:
        yield Check("cores", "note", "only one core: workers share it with everything else")
    yield Check("cores", "ok", f"{len(allowed)} may be used; {where or 'no workers'}")


def _network(settings: Settings) -> Iterator[Check]:
    for name, venue in settings.enabled.items():
        for key, url in (("ws_url", venue.ws_url), ("rest_url", venue.rest_url)):
            parts = urlsplit(url)
            port = parts.port or (443 if parts.scheme in ("https", "wss") else 80)
            try:
                socket.create_connection((parts.hostname or "", port), REACH).close()
            except OSError as error:
                reason = error.strerror or str(error)
                yield Check("network", "problem", f"{name}: {key} = {url} is not reachable: {reason}")
            else:
                yield Check("network", "ok", f"{name}: {key} = {url} is reachable")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


__all__ = ["Check", "examine", "report"]


def main(arguments: Sequence[str]) -> int:
    """`tickring doctor` without the library that reads command lines."""
    import argparse

    parser = argparse.ArgumentParser(prog="tickring doctor")
    parser.add_argument("--config", "-c", type=Path)
    parser.add_argument("--json", dest="as_json", action="store_true")
    parser.add_argument("--network", action="store_true")
    chosen = parser.parse_args(arguments)
    found = examine(chosen.config, os.environ, network=chosen.network)
    print(report(found, chosen.as_json))
    return FAILED if any(one.bad for one in found) else OK


def leave(error: BaseException) -> NoReturn:
    """End a command line that could not even begin: as the doctor if that was wanted, else with the line."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["doctor"]:
        sys.exit(main(arguments[1:]))
    print(f"tickring: {broken.line(error)}", file=sys.stderr)
    sys.exit(FAILED)
