"""The command line over a real segment: shapes of the JSON, exit codes, one-line errors."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import shm
from engine import cli
from engine.views import tail
from engine.views.views import book_text, plain, record_document, record_text, status_text, unit
from shm.counters import InstrumentCounter
from shm.instruments import Instrument
from shm.layout import NO_INSTRUMENT, Flag, Geometry, InstrumentKind, InstrumentStatus, Kind, Reason, State
from shm.segment import open_writer
from shm.writer import Writer
from tests.instances import mine

INSTANCE = mine("cli")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def writer() -> Iterator[Writer]:
    made = open_writer(INSTANCE, "venue", Geometry(slots=256, instruments=4), heartbeat_limit=60.0)
    for symbol, price_exp, size_exp in (("NKN/USDT", 8, 0), ("BTC/USDT", 2, 5)):
        made.add_instrument(
            Instrument(
                symbol=symbol, venue_symbol=symbol.replace("/", ""), price_exp=price_exp, size_exp=size_exp
            )
        )
    made.set_state(State.LIVE, Reason.SYNCED)
    made.book_cell(
        0,
        [(35270000, 9602), (35260000, 1)],
        [(35280000, 7)],
        update_id=9,
        ts_event=5,
        ts_recv=6,
        state=State.LIVE,
    )
    made.heartbeat()
    made.commit()
    yield made
    made.close(unlink=True)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.run(list(arguments))
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_book_json(writer: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "book", "venue", "NKN/USDT", "--json", "--instance", INSTANCE)
    assert code == 0
    assert json.loads(out) == {
        "feed": "venue",
        "symbol": "NKN/USDT",
        "state": "LIVE",
        "status": "ACTIVE",
        "update_id": 9,
        "ts_event": 5,
        "ts_recv": 6,
        "size_unit": "NKN",
        "bids": [["0.3527", "9602"], ["0.3526", "1"]],
        "asks": [["0.3528", "7"]],
    }


def test_sizes_say_what_they_count(writer: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    for symbol, kind, multiplier in (
        ("BTC/USDT:USDT", InstrumentKind.PERPETUAL, (1, 2)),
        ("BTC/USD:BTC", InstrumentKind.PERPETUAL, (100, 0)),
    ):
        index = writer.add_instrument(
            Instrument(
                symbol=symbol,
                venue_symbol=symbol,
                kind=kind,
                price_exp=1,
                size_exp=0,
                multiplier=multiplier[0],
                multiplier_exp=multiplier[1],
            )
        )
        writer.book_cell(index, [(10, 1)], [(11, 1)], state=State.LIVE)
        writer.trade(index, 10, 1, 7)
    writer.commit()
    where = ("--instance", INSTANCE)
    for symbol, expected in (
        ("BTC/USDT:USDT", "contracts of 0.01 BTC"),
        ("BTC/USD:BTC", "contracts of 100 USD"),
    ):
        _, out, _ = run(capsys, "book", "venue", symbol, *where)
        assert out.splitlines()[0].endswith(f"size in {expected}")
        _, _, err = run(capsys, "tail", "venue", "-s", symbol, "--from-oldest", "-n", "3", *where)
        assert err == f"{symbol}: size in {expected}\n"
    for symbol, kind, worth, expected in (
        ("BTC/USDT", InstrumentKind.SPOT, 1, "BTC"),
        ("BTC/USDT:USDT", InstrumentKind.PERPETUAL, 1, "BTC"),
        ("BTC/USD:BTC-220527", InstrumentKind.FUTURE, 1, "contracts of 1 USD"),
        ("BTC/USDT:USDT-220527", InstrumentKind.FUTURE, 5, "contracts of 5 BTC"),
    ):
        slot = Instrument(
            symbol=symbol, venue_symbol="X", kind=kind, price_exp=1, size_exp=0, multiplier=worth
        )
        assert unit(slot) == expected


def test_a_feed_without_the_channel_has_no_book(writer: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "book", "venue", "BTC/USDT", "--instance", INSTANCE)
    assert (code, out, err) == (4, "", "tickring: book is not among the channels of venue\n")


def test_the_numbers_of_a_book_stand_under_each_other() -> None:
    document: dict[str, Any] = {
        "feed": "f",
        "symbol": "s",
        "state": "LIVE",
        "update_id": 1,
        "size_unit": "BTC",
        "bids": [["100", "1.5"], ["99.95", "20"]],
        "asks": [],
    }
    rows = [line.split() for line in book_text(document).splitlines()[2:]]
    assert rows == [["1.5", "100.00", "|"], ["20.0", "99.95", "|"]]


def test_book_depth_and_state(writer: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    writer.book_state(0, State.STALE, Reason.SILENT)
    writer.commit()
    arguments = ("book", "venue", "NKN/USDT", "--depth", "1", "--instance", INSTANCE)
    code, out, _ = run(capsys, *arguments, "--json")
    document = json.loads(out)
    assert (code, document["state"], len(document["bids"])) == (0, "STALE", 1)
    code, out, _ = run(capsys, *arguments)
    assert out.splitlines()[0] == "venue NKN/USDT STALE update 9, size in NKN"


def test_tail_json(writer: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    writer.top(1, 12345, 100000, 12350, 5, update_id=1, ts_event=2, ts_recv=3)
    writer.trade(0, 35270000, 3, 77, flags=Flag.SELL)
    writer.top(1, 12345, 100000, 0, 0, flags=Flag.NO_ASK)
    writer.commit()
    code, out, _ = run(
        capsys,
        "tail",
        "venue",
        "--from-oldest",
        "--count",
        "4",
        "--json",
        "--instance",
        INSTANCE,
        "-s",
        "BTC/USDT",
    )
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert lines[-1] == {"lost": 0}
    assert [line["kind"] for line in lines[:-1]] == ["STATUS", "STATUS", "TOP", "TOP"]
    assert lines[1] | {"seq": 0, "ts_event": 0, "ts_recv": 0} == {
        "seq": 0,
        "kind": "STATUS",
        "symbol": None,
        "ts_event": 0,
        "ts_recv": 0,
        "scope": "FEED",
        "state": "LIVE",
        "reason": "SYNCED",
        "epoch": 1,
    }
    top = lines[2]
    assert list(top)[:5] == ["seq", "kind", "symbol", "ts_event", "ts_recv"]
    assert (top["symbol"], top["ts_event"], top["ts_recv"]) == ("BTC/USDT", 2, 3)
    assert (top["bid"], top["bid_size"], top["ask"], top["ask_size"]) == ("123.45", "1", "123.5", "0.00005")
    assert (lines[3]["bid"], lines[3]["ask"], lines[3]["ask_size"]) == ("123.45", None, None)


@pytest.mark.parametrize("symbol", ["BTC/USDT:USDT", "BTC/USD:BTC-220527"])
def test_symbols_with_a_settlement(writer: Writer, capsys: pytest.CaptureFixture[str], symbol: str) -> None:
    index = writer.add_instrument(Instrument(symbol=symbol, venue_symbol="X", price_exp=1, size_exp=0))
    writer.book_cell(index, [(10, 1)], [(11, 1)], state=State.LIVE)
    writer.trade(index, 10, 1, 7)
    writer.commit()
    where = ("--instance", INSTANCE)
    code, out, _ = run(capsys, "book", "venue", symbol, "--json", *where)
    assert (code, json.loads(out)["symbol"]) == (0, symbol)
    code, out, _ = run(capsys, "tail", "venue", "-s", symbol, "--from-oldest", "-n", "3", *where)
    assert code == 0
    assert f" TRADE  {symbol} " in out
    code, _, err = run(capsys, "book", "venue", "BTC/USDT:USD", *where)
    assert (code, len(err.splitlines())) == (4, 1)
    assert run(capsys, "status", *where)[0] == 0


def test_tail_reports_what_was_lost(writer: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    with shm.attach("venue", INSTANCE) as feed:
        cursor = feed.cursor()
        published = 1000
        for _ in range(published):
            writer.trade(0, 1, 1, 1)
        writer.commit()
        seen: list[dict[str, object]] = []
        stub = SimpleNamespace(cursor=lambda from_oldest: cursor, slots=feed.slots)
        lost = tail.follow(stub, seen.append, count=10)  # type: ignore[arg-type]
    assert lost > published / 2
    first = seen[0]["seq"]
    assert isinstance(first, int)
    assert cursor.got + cursor.lost >= 10 + lost


def test_status_and_feeds_json(writer: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    documents = []
    for command in ("status", "feeds"):
        code, out, _ = run(capsys, command, "--json", "--instance", INSTANCE)
        assert code == 0
        documents.append(json.loads(out))
    (feed,) = documents[0]["feeds"]
    assert feed.pop("heartbeat_age_ms") >= 0
    assert feed.pop("generation") > 0
    assert documents[0]["instance"] == INSTANCE
    assert feed == {
        "name": "venue",
        "state": "LIVE",
        "epoch": 1,
        "pid": os.getpid(),
        "messages": 0,
        "instruments": 2,
        "restarts": 0,
        "cells": {"book": {"LIVE": 1}},
        "ready": True,
        "symbols": {
            "NKN/USDT": {"status": "ACTIVE", "cells": {"book": "LIVE"}, "channels": {}},
            "BTC/USDT": {"status": "ACTIVE", "cells": {}, "channels": {}},
        },
        "missing": {},
        "waiting": {},
        "overdue": {},
        "not_listed": [],
        "halted": [],
    }
    assert documents[1].keys() == documents[0].keys()
    code, out, _ = run(capsys, "status", "--instance", INSTANCE)
    assert out.splitlines()[1].split()[:2] == ["venue", "LIVE"]


def test_status_counts_the_cells_that_are_not_live(
    writer: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    writer.book_cell(1, [(1, 1)], [(2, 1)], state=State.RESYNC)
    writer.top(0, 1, 1, 2, 1)
    writer.top(1, 1, 1, 2, 1)
    writer.top_state(1, State.STALE, Reason.SILENT)
    writer.commit()
    _, out, _ = run(capsys, "status", "--json", "--instance", INSTANCE)
    [feed] = json.loads(out)["feeds"]
    assert feed["cells"] == {"top": {"LIVE": 1, "STALE": 1}, "book": {"LIVE": 1, "RESYNC": 1}}
    _, out, _ = run(capsys, "status", "--instance", INSTANCE)
    row, counts = out.splitlines()[1:]
    assert row.split()[:2] == ["venue", "LIVE"]
    assert counts == "  1 of 2 tops STALE, 1 of 2 books RESYNC"
    writer.set_instrument_status(1, InstrumentStatus.HALTED)
    for state in (writer.top_state, writer.book_state):  # the configuration names it no more
        state(1, State.DOWN, Reason.UNSUBSCRIBED)
    writer.commit()
    _, out, _ = run(capsys, "status", "--instance", INSTANCE)
    assert "venue  LIVE  " in out


def test_status_says_whose_numbers_do_not_fit(writer: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    """A trade that was left out shows in no cell."""
    writer.count_instrument(0, InstrumentCounter.PRECISION)
    _, out, _ = run(capsys, "status", "--json", "--instance", INSTANCE)
    [feed] = json.loads(out)["feeds"]
    symbol = writer.instruments()[0].symbol
    assert feed["precision"] == {symbol: 1}
    _, out, _ = run(capsys, "status", "--instance", INSTANCE)
    assert f"1 messages with a number that does not fit ({symbol})" in " ".join(out.split())


def test_status_can_demand_live(writer: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "status", "--require-live", "--instance", INSTANCE)[0] == 0
    writer.set_state(State.RESYNC, Reason.GAP)
    assert run(capsys, "status", "--require-live", "--instance", INSTANCE)[0] == 3
    assert run(capsys, "status", "--instance", INSTANCE)[0] == 0


def test_the_instance_comes_from_the_environment(
    writer: Writer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TICKRING_INSTANCE", INSTANCE)
    assert run(capsys, "book", "venue", "NKN/USDT")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (("status",), 4, f"tickring: no feed of instance '{INSTANCE}-none' in shared memory; start one with"),
        (
            ("book", "venue", "A/B"),
            4,
            f"tickring: no feed 'venue' in instance '{INSTANCE}-none'; there is none;",
        ),
        (("tail", "venue"), 4, "tickring: no feed 'venue'"),
        (("tail", "no/such"), 2, "tickring: feed 'no/such' is not allowed: 1 to 48 of"),
        (("book", "venue"), 2, "tickring: Missing argument 'SYMBOL'. (see tickring book --help)"),
        (("book", "venue", "A/B", "--depth", "0"), 2, "tickring: Invalid value for '--depth'"),
        (("fed",), 2, "tickring: No such command 'fed'"),
        (
            ("config", "check", "--config", "/none.toml"),
            2,
            "tickring: /none.toml: cannot be read: No such file",
        ),
        (("up", "--config", "/none.toml"), 2, "tickring: /none.toml: cannot be read: No such file"),
    ],
    ids=map(str, itertools.count()),  # an instance is named after the process: no id of a test may be
)
def test_errors_are_one_line(
    arguments: tuple[str, ...],
    code: int,
    expected: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TICKRING_INSTANCE", f"{INSTANCE}-none")
    found, out, err = run(capsys, *arguments)
    assert (found, out) == (code, "")
    assert err.startswith(expected)
    assert len(err.splitlines()) == 1


def test_unknown_feed_and_symbol_name_what_there_is(
    writer: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "book", "venu", "NKN/USDT", "--instance", INSTANCE)
    assert (code, err) == (4, f"tickring: no feed 'venu' in instance '{INSTANCE}'; there are: venue\n")
    code, _, err = run(capsys, "tail", "venue", "--symbol", "NKN/USD", "--instance", INSTANCE)
    assert (code, "nearest: NKN/USDT" in err) == (4, True)


def test_feeds_of_an_empty_instance_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "feeds", "--json", "--instance", f"{INSTANCE}-none")
    assert (code, json.loads(out)) == (0, {"instance": f"{INSTANCE}-none", "engine": None, "feeds": []})


def test_config_check_and_show(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text("[venues.binance_spot]\nsymbols = ['A/B']\n")
    code, out, _ = run(capsys, "config", "check", "--config", str(path), "--json")
    assert (code, json.loads(out)) == (
        0,
        {"ok": True, "problems": [], "warnings": [], "venues": ["binance_spot"]},
    )
    code, out, _ = run(capsys, "config", "show", "--config", str(path), "--json")
    assert json.loads(out)["venues"]["binance_spot"]["symbols"] == ["A/B"]
    code, out, _ = run(capsys, "config", "show", "--config", str(path))
    assert out.startswith("[engine]")
    path.write_text("[venues.binance_spot]\ndepht = 1\n")
    code, out, _ = run(capsys, "config", "check", "--config", str(path), "--json")
    assert (code, json.loads(out)["ok"], len(json.loads(out)["problems"])) == (2, False, 1)


def test_every_line_of_several_problems_names_the_program(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "t.toml"
    path.write_text("[venues.binance_spot]\ndepth = 'a'\nsymbols = 'A/B'\n")
    for command in (["config", "check"], ["up"]):
        code, _, err = run(capsys, *command, "--config", str(path))
        assert code == 2
        assert len(err.splitlines()) == 2
        assert all(line.startswith(f"tickring: {path}: venues.binance_spot.") for line in err.splitlines())


@pytest.mark.parametrize(
    ("text", "code", "expected"),
    [
        ("[venues.okx]\nenabled = false\n", 2, "no venue is enabled: set enabled = true"),
        ("[venues.okx]\ncpu = 7777\n", 2, "venues.okx.cpu = 7777: this process may run on"),
        (
            "[venues.kraken]\nsymbols = ['BTC/USDT:USDT']\n",
            2,
            "venues.kraken.symbols: BTC/USDT:USDT: this venue has spot markets only, such as BTC/USDT",
        ),
        (
            "[venues.okx]\nsymbols = ['BTC/USDT']\nchannels = ['top', 'mark']\n",
            0,
            "venues.okx.channels: 'mark' is of derivatives, and every symbol is spot: it will bring nothing",
        ),
        (
            "[venues.okx]\ndepth = 20\noptions = {book_channel = 'books5'}\n",
            0,
            "venues.okx.depth = 20: the book that is subscribed has 5 levels a side, and shows no more",
        ),
        (
            "[venues.okx]\ndepth = 500\nsnapshot_limit = 500\n",
            2,
            "venues.okx.depth = 500: expected at most 400: ",
        ),
        ("[venues.kraken]\ndepth = 5000\n", 2, "venues.kraken: depth = 5000: Kraken has 1000 levels"),
        (
            "[venues.binance_spot]\ndepth = 2000\n",
            2,
            "venues.binance_spot.snapshot_limit = 1000: expected at least depth = 2000: the snapshot must",
        ),
    ],
)
def test_config_check_knows_what_cannot_work(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, code: int, expected: str
) -> None:
    path = tmp_path / "t.toml"
    path.write_text(text)
    found, _, err = run(capsys, "config", "check", "--config", str(path))
    assert (found, len(err.splitlines())) == (code, 1), err
    assert expected in err
    assert err.startswith("tickring: ")


def test_venues(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "venues", "--json")
    names = [venue["name"] for venue in json.loads(out)["venues"]]
    assert (code, "binance_spot" in names) == (0, True)


def test_help_names_the_exit_codes_and_loads_nothing_heavy() -> None:
    program = "import sys; from engine.cli import run; run(['--help']); print(sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert "Exit codes:" in done.stdout
    for heavy in ("numpy", "aiohttp", "rich", "shm", "prometheus_client", "asyncio"):
        assert f"'{heavy}'" not in done.stdout


def test_a_closed_pipe_ends_it_quietly(writer: Writer) -> None:
    program = "import sys; from engine.cli import main; main()"
    command = [
        sys.executable,
        "-c",
        program,
        "tail",
        "venue",
        "--from-oldest",
        "--instance",
        INSTANCE,
        "-n",
        "400",
    ]
    for _ in range(400):
        writer.trade(0, 1, 1, 1)
    writer.commit()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    for _ in range(400):
        writer.trade(0, 1, 1, 1)
    writer.commit()
    assert (process.wait(10), process.stderr.read()) == (1, b"")
    process.stderr.close()


def test_an_order_to_stop_still_tells_what_was_lost(writer: Writer) -> None:
    program = "from engine.cli import main; main()"
    command = [
        sys.executable,
        "-c",
        program,
        "tail",
        "venue",
        "--from-oldest",
        "--json",
        "--instance",
        INSTANCE,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["kind"] == "STATUS"
        process.terminate()
        lines = process.stdout.read().splitlines()
    assert (process.returncode, json.loads(lines[-1])) == (0, {"lost": 0})


@pytest.mark.parametrize(
    ("mantissa", "exponent", "text"),
    [
        (35270000, 8, "0.3527"),
        (9602, 0, "9602"),
        (0, 8, "0"),
        (-5, 3, "-0.005"),
        (12, -2, "1200"),
        (100, 2, "1"),
        (2**63 - 1, 18, "9.223372036854775807"),
    ],
)
def test_plain_decimals(mantissa: int, exponent: int, text: str) -> None:
    assert plain(mantissa, exponent) == text


RECORD = np.dtype(
    [
        ("seq", "u8"),
        ("ts_event", "i8"),
        ("ts_recv", "i8"),
        ("instrument", "u4"),
        ("kind", "u1"),
        ("flags", "u1"),
        ("aux", "u2"),
        ("words", "i8", 4),
    ]
)
BTC = SimpleNamespace(symbol="BTC/USDT", price_exp=2, size_exp=3)


@pytest.mark.parametrize(
    ("kind", "flags", "aux", "words", "expected"),
    [
        (
            Kind.LEVEL,
            Flag.ASK | Flag.FIRST,
            0,
            (150, 2500, 9, 0),
            {"side": "ask", "price": "1.5", "size": "2.5", "update_id": 9, "first": True, "last": False},
        ),
        (Kind.TRADE, 0, 0, (150, 1, 4, 0), {"side": "buy", "price": "1.5", "size": "0.001", "id": 4}),
        (Kind.CLEAR, Flag.FIRST, 0, (0, 0, 5, 0), {"update_id": 5, "first": True, "last": False}),
        (
            Kind.TICKER,
            Flag.LAST,
            1,
            (1500, 150_000, 3, 4),
            {"part": 1, "volume": "1.5", "quote_volume": "1.5", "trades": 3, "open_time": 4},
        ),
        (
            Kind.TICKER,
            Flag.LAST | Flag.ABSENT_1,
            1,
            (1500, 0, 3, 4),
            {"part": 1, "volume": "1.5", "quote_volume": None, "trades": 3, "open_time": 4},
        ),
        (
            Kind.TICKER,
            0,
            0,
            (1, 2, 3, 400),
            {"part": 0, "last": "0.01", "open": "0.02", "high": "0.03", "low": "4"},
        ),
        (
            Kind.TICKER,
            Flag.FIRST | Flag.ABSENT_0 | Flag.ABSENT_3,
            0,
            (0, 2, 3, 0),
            {"part": 0, "last": None, "open": "0.02", "high": "0.03", "low": None},
        ),
        (
            Kind.TICKER,
            Flag.LAST | Flag.ABSENT_0 | Flag.ABSENT_2 | Flag.ABSENT_3,
            1,
            (0, 150_000, 0, 0),
            {"part": 1, "volume": None, "quote_volume": "1.5", "trades": None, "open_time": None},
        ),
        (
            Kind.MARK,
            Flag.ABSENT_1 | Flag.ABSENT_2,
            8,
            (150_000_001, 0, 0, 5),
            {"mark": "1.50000001", "index": None, "funding_rate": None, "next_funding": 5},
        ),
        (
            Kind.MARK,
            0,
            8,
            (150_000_001, 149_000_000, 100_000_000, 5),
            {"mark": "1.50000001", "index": "1.49", "funding_rate": "0.0001", "next_funding": 5},
        ),
        (
            Kind.LIQUIDATION,
            Flag.SELL,
            9,
            (1_500_000_000, 2500, 7, 0),
            {"side": "sell", "price": "1.5", "size": "2.5", "id": 7},
        ),
        (99, 0, 0, (1, 2, 3, 4), {"part": 0, "words": [1, 2, 3, 4]}),
        (
            Kind.STATUS,
            0,
            3,
            (2, 0, 7, 0),
            {"scope": "INSTRUMENT", "state": "HALTED", "reason": "NONE", "epoch": 7},
        ),
    ],
)
def test_records(
    kind: int, flags: int, aux: int, words: tuple[int, ...], expected: dict[str, object]
) -> None:
    record = np.array((1, 2, 3, 0, kind, flags, aux, words), RECORD)
    document = record_document(record, {0: BTC})
    name = Kind(kind).name if kind != 99 else 99
    assert document == {"seq": 1, "kind": name, "symbol": "BTC/USDT", "ts_event": 2, "ts_recv": 3} | expected
    assert str(document["seq"]) in record_text(document)


def test_a_record_of_an_instrument_added_a_moment_ago() -> None:
    record = np.array((1, 2, 3, 5, Kind.TOP, 0, 0, (1, 2, 3, 4)), RECORD)
    document = record_document(record, {0: BTC})
    assert (document["symbol"], document["instrument"], document["words"]) == (None, 5, [1, 2, 3, 4])
    record = np.array((1, 2, 3, NO_INSTRUMENT, Kind.STATUS, 0, 0, (77, 78, 1, 0)), RECORD)
    assert record_document(record, {})["state"] == 77


def test_text_of_odd_documents() -> None:
    assert "no such segment" in status_text(
        {"feeds": [{"name": "a", "state": "DOWN", "problem": "no such segment"}]}
    )
    book = {"feed": "f", "symbol": "s", "state": "LIVE", "update_id": 1, "bids": [], "asks": [["1", "2"]]}
    assert len(book_text(book | {"size_unit": "BTC"}).splitlines()) == 3
