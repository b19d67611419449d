"""The binary event log: rare, notable things a worker says, in a ring of their own.

An event costs the writer one record (no formatting, no lock, no syscall) and outlives its death; whoever
attaches formats it. A record's `aux` is the code, `kind` the severity, `ts_event` the wall clock.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum

import msgspec

from shm.layout import Kind, Reason, Scope

_WORDS = struct.Struct("<4q")


class Severity(IntEnum):
    INFO = 1
    WARNING = 2
    ERROR = 3


class Code(IntEnum):
    """What happened; `TEMPLATES` says what the words mean."""

    STARTED = 1
    STOPPED = 2
    CONNECTED = 3
    DISCONNECTED = 4
    SUBSCRIBED = 5
    REJECTED = 6
    GAP = 7
    RESYNC = 8
    SYNCED = 9
    SNAPSHOT_FAILED = 10
    AUDIT_FAILED = 11
    CROSSED = 12
    PRECISION = 13
    MALFORMED = 14
    OVERSIZED = 15
    STALE = 16
    FRESH = 17
    RATE_LIMITED = 18
    FROZEN = 19
    CIRCUIT_OPEN = 20
    ERROR = 21
    FIRST_EVENT_MISSED = 22
    RESUBSCRIBED = 23
    SUPERSEDED = 24
    REST_CIRCUIT = 25
    NOT_LISTED = 26
    UNUSABLE = 27
    LISTED = 28
    HALTED = 29
    TRADES = 30
    LISTING_SKIPPED = 31
    LISTING_SHADOWED = 32
    OVERDUE = 40
    DELIVERS = 41

    @property
    def severity(self) -> Severity:
        return TEMPLATES[self][0]


# A template with {text} takes the four words as one short text; otherwise they are {0}..{3}.
TEMPLATES: dict[Code, tuple[Severity, str]] = {
    Code.STARTED: (Severity.INFO, "worker {0} started, epoch {1}"),
    Code.STOPPED: (Severity.INFO, "worker stopped cleanly"),
    Code.CONNECTED: (Severity.INFO, "connected, connection {0}"),
    Code.DISCONNECTED: (Severity.WARNING, "disconnected, close code {0}"),
    Code.SUBSCRIBED: (Severity.INFO, "subscribed to {0} streams"),
    Code.REJECTED: (Severity.ERROR, "subscription rejected: {text}"),
    Code.GAP: (Severity.WARNING, "gap: expected update {0}, got {1}"),
    Code.RESYNC: (Severity.WARNING, "book is being rebuilt: {0}"),
    Code.SYNCED: (Severity.INFO, "book is in step at update {0}"),
    Code.SNAPSHOT_FAILED: (Severity.WARNING, "snapshot attempt {0} failed"),
    Code.AUDIT_FAILED: (Severity.ERROR, "book differs from the venue's snapshot at update {0} in {1} levels"),
    Code.CROSSED: (Severity.ERROR, "book crossed: bid {0} >= ask {1}"),
    Code.PRECISION: (Severity.ERROR, "a number of a {2} does not fit exponents {0} and {1}"),
    Code.MALFORMED: (Severity.WARNING, "malformed message: {text}"),
    Code.OVERSIZED: (Severity.ERROR, "message of {0} bytes is over the limit of {1}"),
    Code.STALE: (Severity.WARNING, "no proof of delivery for {0} ms"),
    Code.FRESH: (Severity.INFO, "delivers again"),
    Code.RATE_LIMITED: (Severity.WARNING, "the venue limits us: status {0}, retry after {1} s"),
    Code.FROZEN: (Severity.ERROR, "the process stood still for {0} ms"),
    Code.CIRCUIT_OPEN: (Severity.ERROR, "{0} failures in a row: trying once every {1} s"),
    Code.ERROR: (Severity.ERROR, "{text}"),
    Code.FIRST_EVENT_MISSED: (Severity.WARNING, "no first event {0} ms after the subscription"),
    Code.RESUBSCRIBED: (Severity.INFO, "subscribed again"),
    Code.SUPERSEDED: (Severity.WARNING, "has a new slot {0} with exponents {1} and {2}"),
    Code.REST_CIRCUIT: (Severity.ERROR, "REST requests fail and are held back for {text}"),
    Code.NOT_LISTED: (Severity.WARNING, "the venue does not list it; nearest: {text}"),
    Code.UNUSABLE: (Severity.WARNING, "what the venue lists cannot be used: {text}"),
    Code.LISTED: (Severity.INFO, "is listed, slot {0}"),
    Code.HALTED: (Severity.WARNING, "halted: the venue does not trade it now"),
    Code.TRADES: (Severity.INFO, "trades again"),
    Code.LISTING_SKIPPED: (Severity.WARNING, "an entry of the listing cannot be read: {text}"),
    Code.LISTING_SHADOWED: (Severity.WARNING, "an entry of the listing is passed over for another: {text}"),
    Code.OVERDUE: (Severity.WARNING, "{text}: owes an event, and delivers nothing"),
    Code.DELIVERS: (Severity.INFO, "{text}: delivers again"),
}


_CELLS = {int(Scope.TOP): "top", int(Scope.BOOK): "book"}


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the log.

    Attributes:
        seq: its sequence in the log.
        wall_ns: wall clock, ns since the epoch. mono_ns: CLOCK_MONOTONIC, ns.
        code, severity: what it is. symbol: of which instrument, or None. text: for a person.
    """

    seq: int
    wall_ns: int
    mono_ns: int
    code: str
    severity: str
    symbol: str | None
    text: str


def pack(args: Sequence[int | str]) -> tuple[int, int, int, int]:
    """Up to four ints, or one text cut at 32 bytes, as four words."""
    if len(args) == 1 and isinstance(args[0], str):
        raw = args[0].encode()[:32].decode("utf-8", "ignore").encode()
        a, b, c, d = _WORDS.unpack(raw.ljust(32, b"\0"))
        return a, b, c, d
    words = [min(max(int(arg), -(2**63)), 2**63 - 1) for arg in args[:4]]
    words += [0] * (4 - len(words))
    return words[0], words[1], words[2], words[3]


def describe(code: int, words: Sequence[int]) -> str:
    """The text of an event; a code of a newer writer is shown by its number, a word that an older one has not
    written is 0."""
    try:
        _, template = TEMPLATES[Code(code)]
    except (ValueError, KeyError):
        return f"event {code}: {', '.join(map(str, words))}"
    if code in (Code.STALE, Code.FRESH) and (scope := words[0 if code == Code.FRESH else 1]) in _CELLS:
        return f"{_CELLS[scope]}: {template.format(*words)}"
    if code == Code.CONNECTED and words[1]:
        return f"connected again, connection {words[0]}"
    if (
        code == Code.STARTED and words[1] > 1
    ):  # who leaves by order removes its segment, and with it its epoch
        return f"{template.format(*words)}; the one before had ended without an order"
    if code == Code.RESYNC and words[0] in Reason._value2member_map_:
        return template.format(Reason(words[0]).name.lower().replace("_", " "))
    if code == Code.PRECISION:  # LEVEL: of a book
        return template.format(*words[:2], Kind(words[2]).name if words[2] > 0 else "message")
    if "{text}" in template:
        text = _WORDS.pack(*words).rstrip(b"\0").decode("utf-8", "replace")
        if code == Code.NOT_LISTED and not text:  # no name is like it
            return template.partition(";")[0]
        return template.format(text=text)
    return template.format(*words)
