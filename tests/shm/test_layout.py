"""The layout has one home: C constants, the record's bits and the regions agree with `shm/layout.py`."""

from __future__ import annotations

import enum
import itertools
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shm import layout
from shm._cursor import RECORD_DTYPE
from shm.counters import FeedCounter, HistogramId, InstrumentCounter
from shm.layout import (
    Flag,
    Geometry,
    InstrumentKind,
    InstrumentStatus,
    Kind,
    Reason,
    Region,
    Scope,
    State,
)

ROOT = Path(layout.__file__).resolve().parent.parent
HEADER = (ROOT / "shm" / "atomics.h").read_text()
# C constants whose Python name is not the same without TR_.
RENAMED = {"TR_HISTOGRAM_HEADER": layout.LABEL + 64, **{f"TR_{state.name}": int(state) for state in State}}
NOT_LAYOUT = {"TR_EMPTY", "TR_GOT", "TR_LAPPED", "TR_CORRUPT", "TR_CELL_TRIES"}


def c_constants() -> dict[str, int]:
    """The enum constants of atomics.h as the compiler sees them."""
    bodies = re.findall(r"enum\s*\{([^}]*)\}", HEADER)
    names = [name for body in bodies for name in re.findall(r"(TR_\w+)\s*=", body)]
    return dict(zip(names, run_c("".join(f'printf("%ld\\n", (long){name});' for name in names)), strict=True))


def run_c(body: str) -> list[int]:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    source = f'#include <stdio.h>\n#include "shm/atomics.h"\nint main(void) {{ {body} return 0; }}\n'
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "program"
        subprocess.run(
            [compiler, "-std=gnu11", "-I", str(ROOT), "-x", "c", "-", "-o", str(program)],
            input=source.encode(),
            check=True,
        )
        done = subprocess.run([program], capture_output=True, check=True, text=True)
    return [int(line) for line in done.stdout.split()]


def test_c_constants_equal_python() -> None:
    constants = c_constants()
    assert len(constants) > 20
    for name, value in constants.items():
        if name not in NOT_LAYOUT:
            expected = RENAMED[name] if name in RENAMED else getattr(layout, name.removeprefix("TR_"))
            assert value == expected, name


def constants(module: str) -> dict[str, int]:
    """The enumerations of one of shm's .pxd files."""
    text = (ROOT / "shm" / f"{module}.pxd").read_text()
    return {name: int(value) for name, value in re.findall(r"^    ([A-Z]\w+) = (\d+)$", text, re.MULTILINE)}


def members(prefix: str, enumeration: type[enum.IntEnum] | type[enum.IntFlag]) -> dict[str, int]:
    return {f"{prefix}_{name}": int(value) for name, value in enumeration.__members__.items()}


def test_constants_of_native_code_equal_python() -> None:
    """Each of them, and no enumeration has a member that native code does not know."""
    plain = {name: value for name, value in constants("layout").items() if hasattr(layout, name)}
    assert plain == {name: getattr(layout, name) for name in plain}
    assert {"INSTRUMENT_COUNTERS", "HISTOGRAM", "RATE_EXP"} <= plain.keys()
    kinds = {"KIND": Kind, "FLAG": Flag, "STATE": State, "REASON": Reason, "SCOPE": Scope}
    whole = {name: value for prefix, kind in kinds.items() for name, value in members(prefix, kind).items()}
    assert constants("layout") == whole | plain
    places = {"FEED": FeedCounter, "INSTRUMENT": InstrumentCounter, "HISTOGRAM": HistogramId}
    assert constants("counters") == {
        name: value for prefix, kind in places.items() for name, value in members(prefix, kind).items()
    }


def test_record_bits_equal_dtype() -> None:
    (meta,) = run_c('printf("%lu\\n", (unsigned long)tr_meta(0x01020304, 5, 6, 0x0708));')
    record = np.zeros(1, RECORD_DTYPE)
    record["instrument"], record["kind"], record["flags"], record["aux"] = 0x01020304, 5, 6, 0x0708
    assert record.view("<u8")[3] == meta
    assert RECORD_DTYPE.itemsize == layout.RECORD


def test_magic_is_text_and_ready_is_not_zero() -> None:
    assert layout.MAGIC.to_bytes(8, "little") == b"TICKRING"
    assert layout.READY != 0


def test_hot_words_have_lines_of_their_own() -> None:
    groups = [
        {layout.H_EPOCH, layout.H_STATE, layout.H_SUPERSEDED, layout.H_WRITER_PID, layout.H_WRITER_START},
        {layout.H_HEARTBEAT, layout.H_HEARTBEAT_LIMIT, layout.H_WALL_OFFSET},
        {layout.H_HEAD},
        {layout.H_INSTRUMENTS_VERSION, layout.H_INSTRUMENT_COUNT},
        {layout.H_EVENTS_HEAD},
        {layout.H_READY},
    ]
    lines = [{offset // layout.LINE for offset in group} for group in groups]
    assert all(len(line) == 1 for line in lines)
    assert len(set.union(*lines)) == len(lines)


def test_header_words_do_not_overlap() -> None:
    wide = {
        "H_BOOT_ID": 16,
        "H_INSTANCE": 64,
        "H_FEED": 64,
        "H_REGIONS": 8 * 32,
    }
    spans = sorted(
        (value, value + wide.get(name, 8)) for name, value in vars(layout).items() if name.startswith("H_")
    )
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
    assert spans[-1][1] == layout.PAGE


geometries = st.builds(
    lambda depth, extra, instruments, events: Geometry(
        slots=max(8, 1 << ((2 + 4 * depth) * 2 - 1).bit_length()) << extra,
        instruments=instruments,
        depth=depth,
        events=1 << events,
    ),
    st.integers(1, 300),
    st.integers(0, 3),
    st.integers(1, 2000),
    st.integers(3, 12),
)


@given(geometries)
def test_regions_never_overlap(geometry: Geometry) -> None:
    end = layout.PAGE
    for region, (offset, size, stride, count) in sorted(geometry.regions().items()):
        assert offset == end, region
        assert offset % layout.PAGE == 0
        assert size % layout.PAGE == 0
        assert stride * count <= size < stride * count + layout.PAGE
        end = offset + size
    assert end == geometry.size
    assert geometry.book_stride >= layout.BOOK_HEADER + 2 * geometry.depth * layout.LEVEL
    assert set(geometry.regions()) == set(Region)


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"slots": 100}, "slots"),
        ({"slots": 4}, "slots"),
        ({"slots": -8}, "slots"),
        ({"events": 7}, "events"),
        ({"instruments": 0}, "instruments"),
        ({"instruments": 65_537}, "instruments"),
        ({"depth": 0}, "depth"),
        ({"depth": 5_001, "slots": 2**20}, "depth"),
        ({"slots": 128, "depth": 20}, "depth"),
    ],
)
def test_geometry_errors_name_the_key(fields: dict[str, int], key: str) -> None:
    with pytest.raises(ValueError, match=key):
        Geometry(**fields)


def test_update_of_any_depth_fits_half_the_ring() -> None:
    assert Geometry(slots=16, depth=1).largest_update <= 8
    with pytest.raises(ValueError, match="too small"):
        Geometry(slots=8, depth=1)


@pytest.mark.parametrize("codes", [Reason, Kind, InstrumentKind, InstrumentStatus])
def test_code_of_a_newer_minor_stays_a_number(codes: type[Reason]) -> None:
    assert codes(99) == 99
    assert "99" in codes(99).name
    with pytest.raises(ValueError, match="-1"):
        codes(-1)


@pytest.mark.parametrize("number", [4, 255, 2**64 - 1, -1])
def test_states_are_closed(number: int) -> None:
    """Another one would be another major version: what is none is not delivered."""
    assert State(number) is State.DOWN
