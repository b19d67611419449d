"""The wire contract's tables say what the code does, and the front page's example runs."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

import shm
from shm import instruments, layout
from shm._cursor import RECORD_DTYPE
from shm.channels import CHANNELS
from shm.layout import Flag, Geometry, InstrumentKind, InstrumentStatus, Kind, Reason, Region, Scope, State
from shm.segment import DOORBELL_MODE, MODE
from shm.writer import Writer

FOLDER = Path(shm.__file__).resolve().parent
TEXT = (FOLDER / "README.md").read_text()


def table(head: str) -> list[list[str]]:
    """The rows of the table whose first header cells are `head`."""
    after = TEXT[TEXT.index(f"| {head} |") :].splitlines()[2:]
    rows = []
    for line in after:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_version_in_the_title() -> None:
    assert f"layout {layout.MAJOR}.{layout.MINOR}\n" in TEXT


def test_header() -> None:
    listed = {name: int(offset) for offset, name, *_ in table("offset | name | type | meaning")}
    assert listed == {name[2:]: at for name, at in vars(layout).items() if name.startswith("H_")}
    assert f"0x{layout.READY:016X}".lower() in TEXT.lower()


def test_regions() -> None:
    geometry = Geometry(slots=4096, instruments=7, depth=13, events=32)
    rows = table("index | region | stride | count")
    assert [(int(index), name) for index, name, *_ in rows] == [(r.value, r.name) for r in Region]
    counts = {"instruments": 7, "slots": 4096, "events": 32}
    for index, _, stride, count in rows:
        _, _, real_stride, real_count = geometry.regions()[Region(int(index))]
        assert real_count == counts.get(count) or int(count) == real_count
        if stride.isdigit():
            assert int(stride) == real_stride
    assert geometry.book_stride == -(-(128 + 32 * 13) // 128) * 128


def test_instrument_slot() -> None:
    rows = [(int(offset), field) for offset, field, _ in table("offset | field | type")]
    sizes = [64, 64] + [8] * 10
    assert [offset for offset, _ in rows] == [sum(sizes[:i]) for i in range(len(sizes))]
    assert rows[-1] == (instruments._STATUS, "status")
    assert [field for _, field in rows] == list(instruments.Instrument.__struct_fields__[1:])
    for codes in (InstrumentKind, InstrumentStatus):
        for code in codes:
            assert f"{code.value} {code.name}" in TEXT


def test_record() -> None:
    start = TEXT.index("### Record")
    rows = re.findall(r"^\| (\d+) \| (\w+) \|", TEXT[start : TEXT.index("| kind | number", start)], re.M)
    assert RECORD_DTYPE.fields is not None
    assert {field: int(offset) for offset, field in rows} == {
        name: offset for name, (_, offset, *_) in RECORD_DTYPE.fields.items()
    }


@pytest.mark.parametrize(
    ("head", "column", "codes"),
    [
        ("kind | number | words | flags | aux", 1, Kind),
        ("flag | value | meaning", 1, Flag),
        ("state | value", 1, State),
        ("scope | value | a STATUS speaks of", 1, Scope),
        ("reason | value", 1, Reason),
    ],
)
def test_codes(head: str, column: int, codes: type[Kind]) -> None:
    members = {name: code.value for name, code in codes.__members__.items()}  # aliases too
    assert {row[0]: int(row[column]) for row in table(head)} == members


def test_cells_by_word() -> None:
    source = (FOLDER / "atomics.pxd").read_text()
    listed = {
        field.split(",")[0].split(":")[0].split(";")[0]: int(word) for word, field in table("word | field")
    }
    names = {"UPDATE_ID": "update id", "EVENT": "ts_event", "RECV": "ts_recv", "RING_SEQ": "ring_seq"}
    names["STATE"] = "state"
    for name, number in re.findall(r"^    TOP_(\w+) = (\d+)$", source, re.M):
        if name in names:
            assert listed[names[name]] == int(number), name
    start = TEXT.index("### Book cell")
    book = dict(re.findall(r"^\| (\d+) \| (\w+)", TEXT[start : TEXT.index("### Record")], re.M))
    firsts = {"UPDATE_ID": "update", "EVENT": "ts_event", "RECV": "ts_recv", "RING_SEQ": "ring_seq"}
    firsts |= {"EPOCH": "epoch", "STATE": "state", "COUNTS": "bids", "LEVELS": "bids"}
    found = re.findall(r"^    BOOK_(\w+) = (\d+)$", source, re.M)
    assert len(found) == len(firsts)
    for name, number in found:
        assert book[number] == firsts[name], name


def test_delivery() -> None:
    rows = {channel: int(offset) for offset, channel in table("offset | channel")}
    assert rows.pop("spare") == len(CHANNELS) * layout.DELIVERY_CHANNEL
    assert rows == {channel: i * layout.DELIVERY_CHANNEL for i, channel in enumerate(CHANNELS)}


def test_modes_and_suffixes() -> None:
    rows = table("file | mode | what")
    modes = {name.strip("`").rsplit(">", 1)[1]: int(mode, 8) for name, mode, _ in rows}
    assert modes[""] == modes[".new"] == MODE
    assert modes[".doorbell"] == DOORBELL_MODE
    assert modes[".lock"] == 0o600


def test_labels_are_those_of_the_header() -> None:
    header = (FOLDER / "atomics.h").read_text()
    for label in re.findall(r"\b([WRCDTLA]\d[a-z]?)\b(?=[ :])", TEXT[TEXT.index("## Reading a cell") :]):
        if label != "T3" and label != "T4":
            assert re.search(rf"\b{label}\b", header), label


def test_fold_rules_are_the_same_in_number() -> None:
    rules = re.findall(r"^(\d)\. ", (FOLDER / "fold.py").read_text().split('"""')[1], re.M)
    start = TEXT.index("## Folding books")
    assert re.findall(r"^(\d)\. ", TEXT[start : TEXT.index("## Waiting")], re.M) == rules


def test_every_invariant_names_tests_that_exist() -> None:
    rows = table("invariant | what | proven by")
    assert [row[0] for row in rows] == [f"I{i}" for i in range(1, 13)]
    for row in rows:
        for name in re.findall(r"`(\w+\.py)`", row[2]):
            assert (FOLDER.parent / "tests" / "shm" / name).is_file(), name


def test_the_front_page_runs(
    instance: str,
    make: Callable[..., Writer],
    instrument: Callable[..., instruments.Instrument],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    writer = make("binance_spot")
    index = writer.add_instrument(instrument("BTC/USDT"))
    writer.top(index, 12_345, 1, 12_346, 1)
    writer.commit()
    monkeypatch.setenv("TICKRING_INSTANCE", instance)
    assert shm.__doc__ is not None
    example = shm.__doc__.split("::\n", 1)[1].split("\nNumbers are", 1)[0]
    # Its endless loop goes round once, behind one more record.
    example = textwrap.dedent(example).replace("while True:", "more()\nfor _ in range(1):")

    def more() -> None:
        writer.trade(index, 1, 1)
        writer.commit()

    exec(compile(example, "shm/__init__.py", "exec"), {"more": more})
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("123.45 123.46 ")
    assert second == "1 records, 0 lost before the first"
