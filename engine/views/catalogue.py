"""What each venue has, for `tickring venues`: read from the venue's own value and its shipped settings; and
what proves it, read from the conformance suite's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.settings.settings import available_venues, data_directory
from engine.settings.venues import place
from engine.views.views import tables

if TYPE_CHECKING:
    from workers.config.venue import VenueConfig
    from workers.venues.venue import Venue

UNLIMITED = (
    1_000_000  # of streams or messages: no limit worth the name (`workers.contract.websocket.MessageBudget`)
)
REST = {"snapshot": "book", "klines": "klines", "server_time": "time", "server_limits": "limits"}
PLACEHOLDERS = {"ws_url": "ws://127.0.0.1:1", "rest_url": "http://127.0.0.1:1", "symbols": []}


def venue_documents() -> list[dict[str, Any]]:
    """The stable JSON of `tickring venues`, one object a venue."""
    checks = proof_table(_proof_file())
    return [_document(name, checks.get(name)) for name in available_venues()]


def _document(name: str, proof: dict[str, int] | None) -> dict[str, Any]:
    from workers.config.shipped import venue_config
    from workers.venues.venue import load

    file = data_directory() / "venues" / f"{name}.toml"
    document: dict[str, Any] = {"name": name, "config": str(file) if file.is_file() else None}
    try:
        venue = load(name)
        config = venue_config(name) if file.is_file() else venue_config(name, **PLACEHOLDERS)
        return document | _facts(venue, config) | {"proof": proof}
    except Exception as error:  # a venue's own code may raise anything
        return document | {"problem": f"{place(error)}: {type(error).__name__}: {error}".partition("\n")[0]}


def _facts(venue: Venue, config: VenueConfig) -> dict[str, Any]:
    connection = venue.data.websocket(config, {}).connection_strategy
    context, budget = connection.context, connection.budget
    sync = venue.books.make_sync(config)
    offered = {"snapshot": venue.books.snapshot, **vars(venue.rest)}
    return {
        "kinds": kinds(venue.data.channels, config.symbols),
        "channels": [channel for channel in _channels() if channel in venue.data.channels],
        "book": {
            "snapshot": "stream" if sync.snapshot_in_stream else "rest",
            "ids": bool(sync.has_update_ids),
            "checksum": sync.checksum is not None or getattr(sync, "check", None) is not None,
        },
        "native": venue.data.decoder is not None,
        "rest": [name for name in REST if offered[name] is not None],
        "liveness": {
            "stale_after": config.stale_after,
            "ping": "frame" if connection.handle_heartbeat() is None else "message",
            "ping_interval": context.ping_interval,
            "max_connection_age": context.max_age,
        },
        "limits": {
            "streams": budget.max_streams if budget.max_streams < UNLIMITED else None,
            "messages": budget.messages if budget.messages < UNLIMITED else None,
            "per": budget.per,
            "connects": budget.connects,
            "connects_per": budget.connects_per,
        },
    }


def kinds(channels: frozenset[str], symbols: Sequence[str]) -> list[str]:
    """What a venue trades: marks are of derivatives; spot is what has no settlement in its shipped symbols.

    >>> kinds(frozenset({"top"}), ["BTC/USD"]), kinds(frozenset({"mark"}), ["BTC/USDT", "BTC/USDT:USDT"])
    (['spot'], ['spot', 'perpetual'])
    """
    derivatives = "mark" in channels
    spot = not derivatives or any(":" not in symbol for symbol in symbols)
    return [kind for kind, there in (("spot", spot), ("perpetual", derivatives)) if there]


def _channels() -> Sequence[str]:
    from workers.config.venue import CHANNELS

    return CHANNELS


# -- what proves it -----------------------------------------------------------------------------------------
def _proof_file() -> Path:
    """Beside the packages in a checkout, with the shipped configuration when installed."""
    directory = data_directory()
    here = directory.parent / "docs" / "conformance.md"
    return here if here.is_file() else directory / "conformance.md"


def proof_table(file: Path) -> dict[str, dict[str, int]]:
    """feed -> how many checks of the conformance table it has passed, and how many do not apply to it."""
    try:
        lines = file.read_text("utf-8").splitlines()
    except OSError:
        return {}
    rows = [
        [cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines if line.startswith("| ")
    ]
    found: dict[str, dict[str, int]] = {}
    for column, feed in enumerate(rows[0][2:] if rows else [], 2):
        cells = [row[column] for row in rows[1:] if len(row) > column]
        found[feed] = {
            "passed": sum(cell.startswith("✓") for cell in cells),
            "not_applicable": sum(cell.startswith("–") for cell in cells),
            "checks": len(cells),
        }
    return found


# -- for people ---------------------------------------------------------------------------------------------
def venues_text(documents: Sequence[Mapping[str, Any]], width: int | None = None) -> str:
    """Two tables: what there is and what proves it; how it is kept right and within limits. More of them
    where a line has but `width` columns."""
    channels = _channels()
    what = [["VENUE", "KINDS", *channels, "DECODER", "PROOF"]]
    how = [["VENUE", "BOOK", "CHECKSUM", "PING", "STALE", "STREAMS", "MESSAGES", "REST"]]
    problems = []
    for one in documents:
        if "problem" in one:
            problems.append(f"{one['name']}: {one['problem']}")
            continue
        has = ["yes" if channel in one["channels"] else "-" for channel in channels]
        decoder = "native" if one["native"] else "plain"
        what.append([one["name"], ", ".join(one["kinds"]), *has, decoder, _proof(one["proof"])])
        how.append([one["name"], *_how(one)])
    parts = ["\n".join(lines) for rows in (what, how) for lines in tables(rows, width)] + problems
    if any(one.get("proof") for one in documents):
        parts.append("proof: checks of docs/conformance.md that it has passed")
    return "\n\n".join(parts)


def _how(one: Mapping[str, Any]) -> list[str]:
    book, live, limits = one["book"], one["liveness"], one["limits"]
    source = "REST snapshot" if book["snapshot"] == "rest" else "stream snapshot"
    messages = "-" if limits["messages"] is None else f"{limits['messages']}/{limits['per']:g} s"
    return [
        f"{source}{', ids' if book['ids'] else ''}",
        "yes" if book["checksum"] else "-",
        f"{live['ping']}, {live['ping_interval']:g} s",
        f"{live['stale_after']:g} s",
        "-" if limits["streams"] is None else str(limits["streams"]),
        messages,
        " ".join(REST[name] for name in one["rest"]) or "-",
    ]


def _proof(proof: Mapping[str, int] | None) -> str:
    if proof is None:
        return "-"
    return f"{proof['passed']} of {proof['checks'] - proof['not_applicable']}"
