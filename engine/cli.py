"""``tickring``: the command line. Every command imports what it needs when it runs, so that help is instant.

Results go to stdout; everything about them goes to stderr. An error is one clear line.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import broken, errors

try:
    import click
except Exception as error:  # nothing can be asked for by name without it
    from engine.doctor import leave

    leave(error)

if TYPE_CHECKING:
    from engine.settings.settings import Settings

EPILOG = """\b
Exit codes:
  0  done
  1  it could not be done; the line on stderr says why (doctor: a problem was found)
  2  a wrong command line or wrong settings
  3  a feed is not LIVE (status --require-live), or still starting (book)
  4  no such instance, feed or symbol

\b
Environment:
  TICKRING_INSTANCE                 the instance, where --instance is not given
  TICKRING_ENGINE__<KEY>            overrides a key of [engine]
  TICKRING_VENUES__<VENUE>__<KEY>   overrides a key of [venues.<venue>]
"""

config_option = click.option(
    "--config",
    "-c",
    "config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The configuration; without it ./config/tickring.toml, else the shipped one.",
)
instance_option = click.option(
    "--instance", "-i", envvar="TICKRING_INSTANCE", default="default", show_default=True, help="Which engine."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Stable JSON instead of text.")


def _version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from engine.version import version

        click.echo(f"tickring {version()}")
        context.exit()


@click.group(
    epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print it."
)
def cli() -> None:
    """Market data from exchanges into lock-free shared memory, one pinned worker process per exchange."""


@cli.command()
@config_option
@click.option("--instance", "-i", help="Overrides engine.instance.")
def up(config: Path | None, instance: str | None) -> None:
    """Start the engine and stay until SIGTERM or Ctrl-C."""
    import logging

    from engine.logging import configure
    from engine.settings.venues import load_and_check, warnings
    from engine.supervision.engine import Engine, run
    from engine.supervision.memory import SharedMemory

    with broken.Probe():
        settings = load_and_check(config, os.environ, instance)
    structured = configure(settings.engine.log_level, settings.engine.log_format)
    for line in warnings(settings):
        logging.getLogger("engine").warning("%s", line)
    run(Engine(settings, SharedMemory(settings.engine.instance), structured=structured))


@cli.command()
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    help="Stop so long after every venue has been LIVE; exit 1 where one is not.",
)
@click.option("--instance", "-i", default="demo", show_default=True, help="Name of the demo's instance.")
def demo(seconds: float | None, instance: str) -> None:
    """Run on the built-in simulated venues: no network, no keys."""
    with broken.Probe((*broken.ALL, "workers.sim.command")):
        from engine.demo import run_demo

    run_demo(instance, seconds)


@cli.command()
@instance_option
@json_option
@click.option("--require-live", is_flag=True, help="Exit 3 unless every feed is LIVE.")
def status(instance: str, as_json: bool, require_live: bool) -> None:
    """State of every feed of an instance."""
    document = _status(instance, as_json)
    feeds = document["feeds"]
    if not feeds:
        raise errors.NotFoundError(
            f"no feed of instance {instance!r} in shared memory; start one with: tickring up"
        )
    if require_live and any(feed["state"] != "LIVE" for feed in feeds):
        sys.exit(errors.NOT_LIVE)


@cli.command()
@instance_option
@json_option
def feeds(instance: str, as_json: bool) -> None:
    """The feeds in shared memory, whether an engine runs or not."""
    if not _status(instance, as_json)["feeds"] and not as_json:
        click.echo(f"no feed of instance {instance!r} in shared memory")


@cli.command()
@click.argument("feed")
@click.argument("symbol")
@click.option("--depth", type=click.IntRange(min=1), help="Levels a side; without it all that are published.")
@instance_option
@json_option
def book(feed: str, symbol: str, depth: int | None, instance: str, as_json: bool) -> None:
    """The book of SYMBOL, whatever its state."""
    import shm
    from engine.views.views import book_document, book_text
    from shm.layout import Reason

    with _attached(feed, instance) as attached:
        instrument = attached.instrument(symbol)
        never = attached.cell_state(symbol, shm.Scope.BOOK) is shm.State.DOWN
        if never and attached.cell_reason(symbol, shm.Scope.BOOK) is Reason.NONE:
            raise errors.NotFoundError(f"book is not among the channels of {feed}")
        found: shm.Book = attached.book(symbol, depth=depth, allow_stale=True)
        document = book_document(feed, instrument, found)
    click.echo(json.dumps(document) if as_json else book_text(document))


@cli.command()
@click.argument("feed")
@click.option("--symbol", "-s", help="Only this instrument (and what concerns the whole feed).")
@click.option("--count", "-n", type=click.IntRange(min=1), help="Stop after so many records.")
@click.option("--from-oldest", is_flag=True, help="Begin with the oldest record that the ring still holds.")
@instance_option
@json_option
def tail(
    feed: str, symbol: str | None, count: int | None, from_oldest: bool, instance: str, as_json: bool
) -> None:
    """Follow the records of FEED; the last line is what was lost."""
    from engine.views.tail import follow
    from engine.views.views import record_text, unit

    with _attached(feed, instance) as attached:
        for one in [] if as_json else attached.instruments:
            if symbol in (None, one.symbol) and unit(one).startswith("contracts"):
                click.echo(f"{one.symbol}: size in {unit(one)}", err=True)
        lost = follow(
            attached,
            lambda document: click.echo(json.dumps(document) if as_json else record_text(document)),
            symbol=symbol,
            count=count,
            from_oldest=from_oldest,
        )
    click.echo(json.dumps({"lost": lost}) if as_json else f"lost {lost}")


@cli.command()
@click.argument("feed")
@click.option(
    "--count", "-n", type=click.IntRange(min=1), default=100, show_default=True, help="At most the newest N."
)
@click.option("--follow", "-f", "go_on", is_flag=True, help="Then go on until Ctrl-C.")
@instance_option
@json_option
def events(feed: str, count: int, go_on: bool, instance: str, as_json: bool) -> None:
    """What the worker of FEED has noted: connections, gaps, rebuilt books, errors."""
    from engine.views.events import event_text, follow

    with _attached(feed, instance) as attached:
        follow(
            attached,
            lambda document: click.echo(json.dumps(document) if as_json else event_text(document)),
            count,
            go_on,
        )


@cli.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def sim(arguments: tuple[str, ...]) -> None:
    """Serve a simulated venue on loopback (see `sim --help`)."""
    import workers.sim.command  # noqa: F401  what is broken says so here, not in the process that we become
    from engine.supervision.process import become

    sys.stdout.flush()
    become(["-m", "workers.sim", *arguments])


@cli.group()
def config() -> None:
    """Validate and print the settings."""


@config.command()
@config_option
@json_option
def check(config: Path | None, as_json: bool) -> None:
    """Validate: every problem is a line with file, key, value and what is allowed. Loads the venues' code.

    What can be run and will not do what was perhaps meant is a warning. No venue is asked: a symbol that one
    does not list is seen when the engine runs, in `status` and `events`.
    """
    from engine.settings.problems import SettingsError
    from engine.settings.venues import check_here, load_and_check, warnings

    try:
        settings = load_and_check(config, os.environ)
        check_here(settings)
    except SettingsError as error:
        if as_json:
            failed = {"ok": False, "problems": error.problems, "warnings": [], "venues": []}
            click.echo(json.dumps(failed))
            sys.exit(error.exit_code)
        raise
    names = list(settings.enabled)
    found = warnings(settings)
    if as_json:
        click.echo(json.dumps({"ok": True, "problems": [], "warnings": found, "venues": names}))
    else:
        for line in found:
            click.echo(f"tickring: warning: {line}", err=True)
        click.echo(f"ok: instance {settings.engine.instance}, venues {', '.join(names) or 'none'}")


@config.command("show")
@config_option
@json_option
def config_show(config: Path | None, as_json: bool) -> None:
    """The settings as they would be used, with where each value comes from."""
    import msgspec

    from engine.settings import settings as tree

    settings = _settings(config, None)
    if as_json:
        document = {"engine": settings.engine, "venues": settings.venues}
        click.echo(msgspec.json.encode(document))
    else:
        click.echo(tree.show(settings))


@cli.command()
@config_option
@json_option
@click.option("--network", is_flag=True, help="Also try to reach the venues.")
def doctor(config: Path | None, as_json: bool, network: bool) -> None:
    """Check this machine: build, shared memory, limits, cores, clock."""
    from engine import doctor as checks

    found = checks.examine(config, os.environ, network=network)
    click.echo(checks.report(found, as_json))
    if any(one.bad for one in found):
        sys.exit(errors.FAILED)


@cli.command()
@json_option
def venues(as_json: bool) -> None:
    """The venues that can be run: channels, books, limits, and what proves each."""
    from engine.views.catalogue import venue_documents, venues_text

    found = venue_documents()
    click.echo(json.dumps({"venues": found}) if as_json else venues_text(found, _width()))


def _settings(config: Path | None, instance: str | None) -> Settings:
    from engine.settings.settings import load

    return load(config, os.environ, instance)


def _status(instance: str, as_json: bool) -> dict[str, Any]:
    from engine.http import sample
    from engine.supervision import status as engine_status
    from engine.views.views import status_text

    status = engine_status.read(instance)
    document: dict[str, Any] = sample.status_document(instance, sample.take(instance, engine=status), status)
    if as_json:
        click.echo(json.dumps(document))
    elif document["feeds"]:
        click.echo(status_text(document, _width()))
        if status is None:
            click.echo(
                f"tickring: no engine of instance {instance!r} could be asked: this is what lies in shared "
                "memory, and a feed that never came up is not in it",
                err=True,
            )
    return document


def _width() -> int | None:
    """Columns of the terminal that stdout is; None when it is none, and lines may be as long as they are."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _attached(feed: str, instance: str) -> Any:
    """The feed as a context; an unknown one names those there are."""
    from contextlib import closing

    import shm
    from engine.supervision import status as engine_status
    from shm.errors import NotFound

    try:
        return closing(shm.attach(feed, instance))
    except NotFound as error:
        if (reason := engine_status.unattached(feed, engine_status.read(instance))) is not None:
            text = f"feed {feed!r} of instance {instance!r} is not up: {reason}"
            raise errors.NotFoundError(text) from error
        there = ", ".join(info.name for info in shm.feeds(instance))
        hint = f"there are: {there}" if there else "there is none; start one with: tickring up"
        raise errors.NotFoundError(f"no feed {feed!r} in instance {instance!r}; {hint}") from error


def main() -> None:
    """The console script: runs a command, turns errors into one line and an exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """As `main`, with the exit code returned."""
    try:
        cli.main(arguments, prog_name="tickring", standalone_mode=False)
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.ClickException as error:
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "tickring"
        click.echo(f"tickring: {error.format_message()} (see {where} --help)", err=True)
        return errors.USAGE
    except click.Abort:
        return 130
    except errors.EngineError as error:
        for line in str(error).split("\n"):
            click.echo(f"tickring: {line}", err=True)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        code = _known(error)
        if code is None:
            if (cause := broken.by_import(error)) is None:
                raise
            click.echo(f"tickring: {broken.line(cause)}", err=True)
            return errors.FAILED
        click.echo(f"tickring: {error}", err=True)
        return code
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else errors.FAILED
    return errors.OK


def _known(error: Exception) -> int | None:
    """The exit code of an error of shared memory; imported here, since help must not load it."""
    shm_errors = sys.modules.get("shm.errors")
    if shm_errors is None or not isinstance(error, shm_errors.ShmError):
        return None
    codes = (
        (shm_errors.BadName, errors.USAGE),
        (shm_errors.Stale, errors.NOT_LIVE),
        (shm_errors.NotFound, errors.NOT_FOUND),
        (shm_errors.UnknownSymbol, errors.NOT_FOUND),
    )
    return next((code for kind, code in codes if isinstance(error, kind)), errors.FAILED)


if __name__ == "__main__":
    main()
