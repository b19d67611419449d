"""Books and ring records as the command line shows them: stable JSON objects, and text for people.

Numbers are exact: decimal strings made from the fixed-point integers, without trailing zeros or an exponent.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from shm.layout import (
    NO_INSTRUMENT,
    RATE_EXP,
    Flag,
    InstrumentKind,
    InstrumentStatus,
    Kind,
    Reason,
    Scope,
    State,
)


class Scales(Protocol):
    """What is needed of an instrument to write its numbers."""

    @property
    def symbol(self) -> str: ...
    @property
    def price_exp(self) -> int: ...
    @property
    def size_exp(self) -> int: ...


class Sized(Scales, Protocol):
    """And what one unit of size is."""

    @property
    def kind(self) -> InstrumentKind: ...
    @property
    def multiplier(self) -> int: ...
    @property
    def multiplier_exp(self) -> int: ...


def fixed(mantissa: int, exponent: int) -> str:
    """``mantissa * 10**-exponent`` with every decimal that the exponent has: for columns that people read.

    >>> fixed(9412340, 2), fixed(9602, 0), fixed(-5, 3), fixed(12, -2)
    ('94123.40', '9602', '-0.005', '1200')
    """
    if exponent <= 0:
        return str(mantissa * 10**-exponent)
    sign = "-" if mantissa < 0 else ""
    whole, part = divmod(abs(mantissa), 10**exponent)
    return f"{sign}{whole}.{part:0{exponent}d}"


def plain(mantissa: int, exponent: int) -> str:
    """The same without trailing zeros: the one spelling that JSON has.

    >>> plain(35270000, 8), plain(9602, 0), plain(-5, 3), plain(12, -2)
    ('0.3527', '9602', '-0.005', '1200')
    """
    text = fixed(mantissa, exponent)
    return text.rstrip("0").rstrip(".") if "." in text else text


def unit(instrument: Sized) -> str:
    """What sizes count: ``BTC``, or ``contracts of 0.01 BTC`` (linear), ``contracts of 1 USD`` (inverse)."""
    base, _, rest = instrument.symbol.partition("/")
    quote, _, settle = rest.partition(":")
    worth = plain(instrument.multiplier, instrument.multiplier_exp)
    if instrument.kind is InstrumentKind.SPOT or (worth == "1" and not settle.startswith(base)):
        return base
    return f"contracts of {worth} {quote if settle.split('-')[0] == base else base}"


def book_document(feed: str, instrument: Sized, book: Any) -> dict[str, object]:
    """The stable JSON of `tickring book`; ``size_unit`` says what sizes count, as in `unit`."""
    bids, asks = book.exact

    def levels(side: Iterable[Iterable[int]]) -> list[list[str]]:
        return [
            [plain(int(price), instrument.price_exp), plain(int(size), instrument.size_exp)]
            for price, size in side
        ]

    return {
        "feed": feed,
        "symbol": instrument.symbol,
        "state": State(book.state).name,
        "status": InstrumentStatus(book.status).name,
        "update_id": int(book.update_id),
        "ts_event": int(book.ts_event),
        "ts_recv": int(book.ts_recv),
        "size_unit": unit(instrument),
        "bids": levels(bids),
        "asks": levels(asks),
    }


def book_text(document: Mapping[str, Any]) -> str:
    """Two columns, best first, each with as many decimals as its longest number."""
    title = f"{document['feed']} {document['symbol']} {document['state']} update {document['update_id']}"
    if document.get("status", "ACTIVE") != "ACTIVE":
        title += f", {document['status']}"
    lines = [f"{title}, size in {document['size_unit']}"]
    lines.append(f"{'bid size':>18} {'bid':>16} | {'ask':<16} {'ask size':<18}")
    bids, asks = document["bids"], document["asks"]
    prices, sizes = (max((_decimals(level[i]) for level in (*bids, *asks)), default=0) for i in (0, 1))
    bids, asks = (
        [(_padded(price, prices), _padded(size, sizes)) for price, size in side] for side in (bids, asks)
    )
    for row in range(max(len(bids), len(asks))):
        bid = bids[row] if row < len(bids) else ("", "")
        ask = asks[row] if row < len(asks) else ("", "")
        lines.append(f"{bid[1]:>18} {bid[0]:>16} | {ask[0]:<16} {ask[1]:<18}".rstrip())
    return "\n".join(lines)


def _decimals(number: str) -> int:
    return len(number.partition(".")[2])


def _padded(number: str, decimals: int) -> str:
    """The same number with so many decimals.

    >>> _padded("1.5", 3), _padded("2", 0)
    ('1.500', '2')
    """
    missing = decimals - _decimals(number)
    return number + ("." if decimals and "." not in number else "") + "0" * missing


def record_document(record: Any, instruments: Mapping[int, Scales]) -> dict[str, object]:
    """One ring record as the stable JSON of `tickring tail`: ``seq, kind, symbol, ts_event, ts_recv`` and
    what its kind carries. An instrument that is not known (it was added a moment ago) gives its raw words."""
    kind, flags, index = int(record["kind"]), Flag(int(record["flags"])), int(record["instrument"])
    words = [int(word) for word in record["words"]]
    instrument = instruments.get(index)
    document: dict[str, object] = {
        "seq": int(record["seq"]),
        "kind": Kind(kind).name if kind in Kind._value2member_map_ else kind,
        "symbol": instrument.symbol if instrument is not None else None,
        "ts_event": int(record["ts_event"]),
        "ts_recv": int(record["ts_recv"]),
    }
    if kind == Kind.STATUS:
        return document | _status(int(record["aux"]), words)
    if instrument is None:
        if index != NO_INSTRUMENT:
            document["instrument"] = index
        return document | {"words": words}
    return document | _payload(kind, flags, int(record["aux"]), words, instrument)


def _payload(kind: int, flags: Flag, aux: int, words: list[int], instrument: Scales) -> dict[str, object]:
    def price(word: int) -> str:
        return plain(words[word], instrument.price_exp)

    def size(word: int) -> str:
        return plain(words[word], instrument.size_exp)

    def known(word: int, show: Callable[[int], object]) -> object:
        """Of a TICKER or MARK: None where the word is absent."""
        return None if flags.lacks(word) else show(word)

    match kind:
        case Kind.TOP:
            bid, ask = Flag.NO_BID not in flags, Flag.NO_ASK not in flags
            return {
                "bid": price(0) if bid else None,
                "bid_size": size(1) if bid else None,
                "ask": price(2) if ask else None,
                "ask_size": size(3) if ask else None,
            }
        case Kind.TRADE:
            return {
                "side": "sell" if Flag.SELL in flags else "buy",
                "price": price(0),
                "size": size(1),
                "id": words[2],
                **({"id_is_hash": True} if Flag.HASHED_ID in flags else {}),
            }
        case Kind.LEVEL:
            return {
                "side": "ask" if Flag.ASK in flags else "bid",
                "price": price(0),
                "size": size(1),
                "update_id": words[2],
                "first": Flag.FIRST in flags,
                "last": Flag.LAST in flags,
            }
        case Kind.TICKER if aux == 0:
            names = ("last", "open", "high", "low")
            return {"part": 0} | {name: known(word, price) for word, name in enumerate(names)}
        case Kind.TICKER if aux == 1:
            return {
                "part": 1,
                "volume": known(0, size),
                "quote_volume": known(
                    1, lambda n: plain(words[n], instrument.price_exp + instrument.size_exp)
                ),
                "trades": known(2, words.__getitem__),
                "open_time": known(3, words.__getitem__),
            }
        case Kind.CLEAR:
            return {"update_id": words[2], "first": Flag.FIRST in flags, "last": Flag.LAST in flags}
        case Kind.MARK:
            return {
                "mark": known(0, lambda n: plain(words[n], aux)),
                "index": known(1, lambda n: plain(words[n], aux)),
                "funding_rate": known(2, lambda n: plain(words[n], RATE_EXP)),
                "next_funding": known(3, words.__getitem__),
            }
        case Kind.LIQUIDATION:
            return {
                "side": "sell" if Flag.SELL in flags else "buy",
                "price": plain(words[0], aux),
                "size": size(1),
                "id": words[2],
            }
        case _:
            return {"part": aux, "words": words}


def _status(scope: int, words: list[int]) -> dict[str, object]:
    state, reason, epoch, _ = words
    known: type[State] | type[InstrumentStatus] = InstrumentStatus if scope == Scope.INSTRUMENT else State
    return {
        "scope": Scope(scope).name if scope in Scope._value2member_map_ else scope,
        "state": known(state).name if state in known._value2member_map_ else state,
        "reason": Reason(reason).name if reason in Reason._value2member_map_ else reason,
        "epoch": epoch,
    }


def record_text(document: Mapping[str, Any]) -> str:
    """One line for people: sequence, kind, symbol and what the kind carries."""
    rest = {
        key: value
        for key, value in document.items()
        if key not in ("seq", "kind", "symbol", "ts_event", "ts_recv")
    }
    words = " ".join(f"{key}={value}" for key, value in rest.items())
    return f"{document['seq']:>10} {document['kind']:<6} {document['symbol'] or '-':<14} {words}"


def _state(feed: Mapping[str, Any]) -> str:
    """``LIVE``, ``DOWN (DISCONNECTED)``, ``DOWN (parked)``."""
    if "problem" in feed:
        return f"DOWN ({feed['worker']['phase']})" if "worker" in feed else "DOWN"
    return f"{feed['state']} ({feed['reason']})" if "reason" in feed else str(feed["state"])


def _parts(feed: Mapping[str, Any]) -> list[str]:
    """``1 of 4 books RESYNC``, what is overdue, not listed, halted or not configured any more, and what is
    known of a worker that does not run."""
    parts = [feed["problem"]] if "problem" in feed else []
    if feed["state"] != "DOWN":  # then all are
        for channel, states in feed["cells"].items():
            total = sum(states.values())
            parts += [
                f"{count} of {total} {channel}s {state}" for state, count in states.items() if state != "LIVE"
            ]
        overdue = [f"{symbol} {name}" for symbol, names in feed.get("overdue", {}).items() for name in names]
        named = {
            "overdue": overdue,
            "not listed": feed.get("not_listed"),
            "halted": feed.get("halted"),
            "UNSUBSCRIBED, not configured any more": feed.get("unsubscribed"),
        }
        parts += [f"{what}: {shortened(found)}" for what, found in named.items() if found]
    worker = feed.get("worker", {"phase": "running"})
    if worker["phase"] != "running" and not parts:
        parts.append(f"{worker['phase']}: {worker['last_stderr'] or worker['last_action']}")
    if unfit := feed.get("precision"):
        worst = ", ".join(sorted(unfit, key=unfit.__getitem__, reverse=True)[:3])
        parts.append(f"{sum(unfit.values())} messages with a number that does not fit ({worst})")
    return parts


def shortened(names: Sequence[str], most: int = 3) -> str:
    """``A, B, C and 2 more``.

    >>> shortened("ABC"), shortened("ABCDE")
    ('A, B, C', 'A, B, C and 2 more')
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def status_text(document: Mapping[str, Any], width: int | None = None) -> str:
    """One row a feed, and under it what there is to know of it, in lines of at most `width` columns."""
    lines = _status_lines(document["feeds"], width, short=False)
    if width is not None and max(map(len, lines)) > width:
        lines = _status_lines(document["feeds"], width, short=True)
    return "\n".join(lines)


def _status_lines(feeds: Sequence[Mapping[str, Any]], width: int | None, *, short: bool) -> list[str]:
    """`short`: a state's reason stands under the row, too."""
    head = ("FEED", "STATE", "EPOCH", "PID", "BEAT", "MESSAGES", "SYMBOLS", "RESTARTS")
    rows: list[Sequence[str]] = [head]
    notes: list[str] = [""]
    for feed in feeds:
        state, _, reason = _state(feed).partition(" ")
        age = feed.get("heartbeat_age_ms")
        beat = "-" if age is None else f"{age:.0f} ms" if age < 10_000 else f"{age / 1e3:.0f} s"
        numbers = [str(feed.get(key, "-")) for key in ("messages", "instruments", "restarts")]
        facts = (str(feed.get("epoch", "-")), str(feed.get("pid", "-")), beat, *numbers)
        shown = state if short else _state(feed)
        rows.append((feed["name"], shown, *(["-"] * len(facts) if "problem" in feed else facts)))
        parts = [reason.strip("()")] if short and reason and "problem" not in feed else []
        notes.append(", ".join(parts + _parts(feed)))
    lines = []
    for row, words in zip(table(rows), notes, strict=True):
        lines.append(row)
        lines += wrapped(words, width, "  ")
    return lines


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with columns as wide as their widest cell."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def tables(rows: Sequence[Sequence[str]], width: int | None) -> list[list[str]]:
    """The same table, cut into as many as `width` columns of text need; each has the first column."""
    if width is None:
        return [table(rows)]
    found: list[list[str]] = []
    first = last = 1
    while first < len(rows[0]):
        last = max(first + 1, min(last + 1, len(rows[0])))
        lines = table([[row[0], *row[first:last]] for row in rows])
        if max(map(len, lines)) > width and last > first + 1:
            last -= 1
            lines = table([[row[0], *row[first:last]] for row in rows])
        elif last < len(rows[0]):
            continue
        found.append(lines)
        first = last
    return found


def wrapped(text: str, width: int | None, indent: str) -> list[str]:
    """The text as indented lines of at most `width` columns; None: one line."""
    if not text:
        return []
    room = len(indent) + len(text) if width is None else max(width, 20)
    return textwrap.wrap(text, room, initial_indent=indent, subsequent_indent=indent)
