"""Settings: TOML files and the environment in, one frozen tree out. Only `main` reads the environment.

Order of precedence, the last wins: a key's default · the venue's own file (`venues/<name>.toml` beside the
given file, else the shipped one) · the given file · the environment (`TICKRING_<SECTION>__<KEY>`) · the
command line.

The venues that run are exactly those with a `[venues.<name>]` table in the given file.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_type_hints

import msgspec

from engine.settings.problems import SettingsError, allowed, nearest, text
from engine.settings.validation import ENGINE_RULES, VENUE_RULES, Rule, check_name, check_venue
from shm.readiness import Require
from workers.config import shipped
from workers.config.venue import VenueConfig

PREFIX = "TICKRING_"
Struct = TypeVar("Struct", bound=msgspec.Struct)


class EngineSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The `[engine]` table.

    Attributes:
        instance: part of every segment's name; two engines on one machine need two.
        listen: ``host:port`` of the HTTP server; port 0 takes a free one; ``"off"`` serves nothing.
        require: what `/readyz` asks for besides delivery: ``listed``, nothing; ``all``, that every symbol is
            listed and trades.
        log_level: least severity that is logged.
        log_format: ``auto`` is text on a terminal and JSON elsewhere.
    """

    instance: str = "default"
    listen: str = "127.0.0.1:9464"
    require: Require = "listed"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "text"] = "auto"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The whole tree. `origins`: where each value came from, ``(section, ..., key) -> file or variable``."""

    engine: EngineSettings
    venues: dict[str, VenueConfig]
    origins: dict[tuple[str, ...], str] = {}

    @property
    def enabled(self) -> dict[str, VenueConfig]:
        """The venues that get a worker."""
        return {name: venue for name, venue in self.venues.items() if venue.enabled}


def data_directory() -> Path:
    """The shipped `config/` folder."""
    try:
        return shipped.directory()
    except shipped.ConfigError as error:
        raise SettingsError([str(error)]) from error


def default_file() -> Path:
    """What is loaded when no file is named: `./config/tickring.toml`, else the shipped one."""
    local = Path("config/tickring.toml")
    return local if local.is_file() else data_directory() / "tickring.toml"


def available_venues() -> list[str]:
    """The venues that a worker exists for: the folders of `workers/venues` with a `venue.py`."""
    import workers.venues

    folders = map(Path, workers.venues.__path__)
    return sorted(entry.parent.name for folder in folders for entry in folder.glob("*/venue.py"))


def load(
    file: Path | None = None, environ: Mapping[str, str] | None = None, instance: str | None = None
) -> Settings:
    """Read, merge and validate.

    Args:
        file: the configuration; None loads `default_file()`.
        environ: variables that may override keys (the caller passes `os.environ`); None is none.
        instance: the command line's ``--instance``, which wins over all.

    Raises:
        SettingsError: every problem found, a line each.
    """
    file = default_file() if file is None else file
    return _Loader(file, environ or {}).settings(instance)


class _Loader:
    """One load: collects problems instead of stopping at the first, and the origin of every value."""

    def __init__(self, file: Path, environ: Mapping[str, str]) -> None:
        self.file = file
        self.environ = environ
        self.problems: list[str] = []
        self.origins: dict[tuple[str, ...], str] = {}

    def settings(self, instance: str | None) -> Settings:
        document = self._read(self.file)
        self._stop_on_problems()
        source = str(self.file)
        for key in [key for key in document if key not in ("engine", "venues")]:
            self._unknown(source, key, document[key], ["engine", "venues"])
        tables = {"engine": self._table(document, "engine", source)}
        for name, keys in self._table(document, "venues", source).items():
            if not isinstance(keys, dict):
                self.problems.append(
                    f"{source}: venues.{name} = {text(keys)}: expected a table [venues.{name}]"
                )
            elif (venue := self._venue(name, keys, source)) is not None:
                tables[f"venues.{name}"] = venue
        for key in tables["engine"]:
            self.origins.setdefault(("engine", key), source)
        self._override(tables)
        if instance is not None:
            tables["engine"]["instance"] = instance
            self.origins["engine", "instance"] = "--instance"
        engine = self._struct(("engine",), tables.pop("engine"), EngineSettings, ENGINE_RULES)
        venues = {}
        for path, keys in tables.items():
            section = ("venues", path.removeprefix("venues."))
            if (decoded := self._struct(section, keys, VenueConfig, VENUE_RULES)) is not None:
                venues[section[1]] = decoded
                self._whole_venue(section, decoded)
        if not venues and not self.problems:
            self.problems.append(f"{source}: no venue: add a table such as [venues.binance_spot]")
        found = Settings(engine=engine or EngineSettings(), venues=venues, origins=self.origins)
        if self.problems:
            raise SettingsError(self.problems, found)
        return found

    def _read(self, file: Path) -> dict[str, Any]:
        try:
            return tomllib.loads(file.read_text("utf-8"))
        except OSError as error:
            self.problems.append(f"{file}: cannot be read: {error.strerror or error}")
        except UnicodeDecodeError:
            self.problems.append(f"{file}: is not UTF-8 text")
        except tomllib.TOMLDecodeError as error:
            self.problems.append(f"{file}: is not valid TOML: {error}")
        return {}

    def _table(self, document: dict[str, Any], key: str, source: str) -> dict[str, Any]:
        table = document.get(key, {})
        if isinstance(table, dict):
            return dict(table)
        self.problems.append(f"{source}: {key} = {text(table)}: expected a table [{key}]")
        return {}

    def _venue(self, name: str, keys: dict[str, Any], source: str) -> dict[str, Any] | None:
        """The venue's own file under the keys of the given one; None for a venue that there is not."""
        problem = check_name(name)
        if problem is None and name not in (known := available_venues()):
            problem = f"unknown venue{nearest(name, known)}"
        if problem is not None:
            self.problems.append(f"{source}: venues.{name}: {problem}")
            return None
        beside = self.file.parent / "venues" / f"{name}.toml"
        own = beside if beside.is_file() else data_directory() / "venues" / f"{name}.toml"
        merged: dict[str, Any] = {"options": {}}
        layers = ((self._read(own) if own.is_file() else {}, str(own)), (keys, source))
        for layer, origin in layers:
            options = layer.get("options")
            if isinstance(options, dict):  # key by key; anything else is reported later
                layer = layer | {"options": merged["options"] | options}
                self.origins |= {("venues", name, "options", key): origin for key in options}
            self.origins |= {("venues", name, key): origin for key in layer}
            merged |= layer
        return merged

    def _override(self, tables: dict[str, dict[str, Any]]) -> None:
        """`TICKRING_ENGINE__LISTEN`, `TICKRING_VENUES__BINANCE_SPOT__SYMBOLS`,
        `TICKRING_VENUES__OKX__OPTIONS__<KEY>`; `TICKRING_INSTANCE` alone is short for
        `TICKRING_ENGINE__INSTANCE`."""
        if value := self.environ.get(PREFIX + "INSTANCE"):
            tables["engine"]["instance"] = value
            self.origins["engine", "instance"] = PREFIX + "INSTANCE"
        for variable in sorted(self.environ):
            if not variable.startswith(PREFIX) or "__" not in variable:
                continue
            *section, key = variable.removeprefix(PREFIX).lower().split("__")
            path = ".".join(section)
            owner = path.removesuffix(".options")
            if owner not in tables or owner == "engine" != path:
                there = ", ".join(sorted(tables))
                self.problems.append(f"environment: {variable}: no table [{path}] here (allowed: {there})")
                continue
            if owner != path:
                options = tables[owner]["options"]
                table, kind = options if isinstance(options, dict) else {}, options_of(section[1])
            else:
                table, kind = tables[path], EngineSettings if path == "engine" else VenueConfig
            table[key] = parse_override(self.environ[variable], hints(kind).get(key))
            self.origins[*section, key] = variable

    def _struct(
        self, section: tuple[str, ...], keys: dict[str, Any], kind: type[Struct], rules: Mapping[str, Rule]
    ) -> Struct | None:
        """The struct; also where some keys are unknown, so that they hide no other problem. None where a
        value is wrong or missing."""
        known = hints(kind)
        good: dict[str, Any] = {}
        unknown = 0
        before = len(self.problems)
        for key, value in keys.items():
            source = self.origins.get((*section, key), str(self.file))
            if key not in known:
                self._unknown(source, ".".join((*section, key)), value, list(known))
                unknown += 1
                continue
            try:
                good[key] = msgspec.convert(value, known[key])
            except msgspec.ValidationError as error:
                self._bad(source, (*section, key), value, allowed(known[key], error, key))
                continue
            problem = rules[key](good[key]) if key in rules else None
            if problem is not None:
                self._bad(source, (*section, key), value, problem)
        for field in msgspec.structs.fields(kind):
            if field.required and field.name not in keys:
                self._missing(section, field.name)
        return kind(**good) if len(self.problems) == before + unknown else None

    def _whole_venue(self, section: tuple[str, ...], venue: VenueConfig) -> None:
        """Rules between keys; each names the key to change."""
        for key, problem in check_venue(venue):
            source = self.origins.get((*section, key), "default")
            self._bad(source, (*section, key), getattr(venue, key), problem)

    def _unknown(self, source: str, key: str, value: object, known: list[str]) -> None:
        name = key.rpartition(".")[2]
        self.problems.append(f"{source}: {key} = {text(value)}: unknown key{nearest(name, known)}")

    def _bad(self, source: str, path: tuple[str, ...], value: object, problem: str) -> None:
        self.problems.append(f"{source}: {'.'.join(path)} = {text(value)}: {problem}")

    def _missing(self, section: tuple[str, ...], key: str) -> None:
        self.problems.append(f"{self.file}: {'.'.join(section)}.{key}: missing, and it has no default")

    def _stop_on_problems(self) -> None:
        if self.problems:
            raise SettingsError(self.problems)


def parse_override(text: str, kind: object = None) -> Any:
    """A variable's value: a TOML value (`20`, `0.5`, `true`, `["BTC/USDT"]`), else the text itself. A key
    that can only hold text takes it as it stands."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return text if kind is str and not isinstance(value, str) else value


def options_of(venue: str) -> type[msgspec.Struct]:
    """What only this venue is configured by (`workers.venues.venue.Venue.options`). Its code is loaded for
    it; when that fails none are known here, and `engine.settings.venues.check` says why."""
    from workers.venues.from_config import Options
    from workers.venues.venue import load as load_venue

    try:
        return load_venue(venue).options
    except Exception:  # a venue's own code may raise anything
        return Options


def show(settings: Settings) -> str:
    """The whole tree as TOML, each value with where it came from: what `tickring config show` prints."""
    lines = []
    for section, values in _sections(settings):
        lines.append(f"[{'.'.join(section)}]")
        entries = [
            (f"{key} = {text(value)}", settings.origins.get((*section, key), "default"))
            for key, value in values.items()
        ]
        width = min(48, max(len(entry) for entry, _ in entries))
        lines += [f"{entry:<{width}}  # {origin}" for entry, origin in entries]
        lines.append("")
    return "\n".join(lines).rstrip()


def _sections(settings: Settings) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Each table's path and values; a venue's options, with those that have their defaults, are one of their
    own, where there are any."""
    yield ("engine",), msgspec.structs.asdict(settings.engine)
    for name, venue in settings.venues.items():
        values = msgspec.structs.asdict(venue)
        given = values.pop("options")
        yield ("venues", name), values
        fields = msgspec.structs.fields(options_of(name))
        options = {field.name: field.default for field in fields if not field.required} | given
        if options:
            yield ("venues", name, "options"), options


def hints(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The types of a struct's keys."""
    return get_type_hints(kind, vars(sys.modules[kind.__module__]))
