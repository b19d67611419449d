"""What native decoders share: the symbol table, frames that say several things, and having no memory."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from shm.instruments import mark_exp
from tests.native import ROOT, compiled, pytest_with
from tests.workers.decode.talk import SOURCE, talk
from workers.decode.normal import DecodeCode, Decoded, MessageFlag, MessageKind, Scale
from workers.decode.numbers import Numbers
from workers.decode.symbols import MARK_EXPONENTS

MOST = 65_536  # things beyond the first
HERE = "tests/workers/decode/test_symbols.py"


def decoder() -> Any:
    made = talk()
    made.add_symbol("AAABBB", 3, 2, 2)
    made.add_symbol("CCCDDD", 4, 0, 0)
    return made


def frame(*lines: str) -> bytes:
    return "\n".join(lines).encode()


def codes(found: list[Decoded]) -> list[str]:
    return [each.code.name for each in found]


def trade(number: int, symbol: str = "AAABBB", price: str = "1.00") -> str:
    return f'T {symbol}" {number} {price} 2'


# -- mark, index and liquidation prices ----------------------------------------------------------------------
def test_the_exponent_of_marks_is_one_rule() -> None:
    assert tuple(map(mark_exp, range(19))) == MARK_EXPONENTS
    assert (*[8] * 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 18, 18) == MARK_EXPONENTS


@pytest.mark.parametrize("price_exp", [0, 1, 6, 7, 16, 18])
def test_a_mark_price_has_decimals_beyond_the_tick(price_exp: int) -> None:
    made = talk()
    made.add_symbol("AAABBB", 3, price_exp, 2)
    places = mark_exp(price_exp)
    for text, code in (
        (f"1.{'0' * (places - 1)}1", DecodeCode.OK),
        (f"1.{'0' * places}1", DecodeCode.INEXACT),
        ("9" * 19 + ".5", DecodeCode.OVERFLOW),
    ):
        [native] = made.decode_messages(f'L AAABBB" 1 1 {text} 2'.encode())
        numbers = Numbers(Scale(3, price_exp, 2))
        mantissa = numbers.mark(text)
        twin = numbers.judged(native._replace(code=DecodeCode.OK))
        assert (native.code, twin.code, native.payload[0]) == (code, code, mantissa)


# -- frames that say several things --------------------------------------------------------------------------
def test_a_frame_gives_all_that_it_says_in_order() -> None:
    found = decoder().decode_messages(frame(*(trade(n) for n in range(1, 1001))))
    assert [each.update_id for each in found] == list(range(1, 1001))
    assert all(each.payload[:2] == (100, 200) for each in found)


def test_each_thing_has_its_own_verdict() -> None:
    lines = [
        trade(1),
        trade(2, "NOBODY"),
        trade(3, price="1.001"),
        trade(4, price="9" * 19),
        trade(5, "CCCDDD", "7"),
    ]
    found = decoder().decode_messages(frame(*lines))
    assert codes(found) == ["OK", "UNKNOWN_SYMBOL", "INEXACT", "OVERFLOW", "OK"]
    assert found[2] == Decoded(DecodeCode.INEXACT, MessageKind.TRADE, 3)
    assert (found[4].instrument, found[4].payload[:2]) == (4, (7, 2))


@pytest.mark.parametrize(
    "spoilt", [frame(trade(1), trade(2), "?"), frame(trade(1), 'D AAABBB" 1 1 0 0 0', 'S AAABBB" 1 1 0 0 0')]
)
def test_of_a_frame_that_is_not_its_nothing_is_left(spoilt: bytes) -> None:
    made = decoder()
    assert codes(made.decode_messages(spoilt)) == ["NOT_MINE"]
    assert made.bench_loop([spoilt], 1)[1] == 0
    assert [each.update_id for each in made.decode_messages(frame(trade(8), trade(9)))] == [8, 9]


def test_a_frame_may_say_so_much_and_not_more() -> None:
    made = decoder()
    lines = [trade(n) for n in range(MOST + 2)]
    assert codes(made.decode_messages(frame(*lines))) == ["NOT_MINE"]
    found = made.decode_messages(frame(*lines[:-1]))
    assert len(found) == MOST + 1
    assert found[-1].update_id == MOST
    assert len(made.decode_messages(frame(trade(1)))) == 1  # nothing of before


def test_one_thing_is_what_decode_message_is_for() -> None:
    made = decoder()
    assert made.decode_message(frame(trade(7))).update_id == 7
    with pytest.raises(ValueError, match="too many values"):
        made.decode_message(frame(trade(7), trade(8)))


def test_levels_stay_those_of_the_depth_event_behind_other_things() -> None:
    found = decoder().decode_messages(
        frame(trade(1), 'D AAABBB" 5 6 77 1 2 1.00 1 1.01 2 1.02 3', trade(2), trade(3, "CCCDDD", "5"))
    )
    assert (found[1].bids, found[1].asks) == (((100, 100),), ((101, 200), (102, 300)))
    assert (found[1].first_id, found[1].update_id, found[1].payload[0]) == (5, 6, 77)
    assert found[1].flags == MessageFlag.CHECKED


def test_a_mark_gives_only_what_it_tells() -> None:
    flags = MessageFlag.MARK | MessageFlag.NEXT
    [found] = decoder().decode_messages(frame(f'M AAABBB" {int(flags)} 9 11 22 33 44'))
    assert found.payload == (11, 0, 0, 44, 0, 0, 0, 0)


def test_a_buffer_of_levels_grows_to_its_bound() -> None:
    made = talk(max_levels=3_000)
    made.add_symbol("AAABBB", 0, 0, 0)

    def event(n: int) -> bytes:
        return frame(f'D AAABBB" 1 1 0 {n} 0' + "".join(f" {price} 1" for price in range(1, n + 1)))

    assert len(made.decode_message(event(3_000)).bids) == 3_000
    assert codes(made.decode_messages(event(3_001))) == ["NOT_MINE"]
    assert made.too_many_levels == 1
    with pytest.raises(ValueError, match="max_levels"):
        talk(max_levels=0)


def test_the_bench_loop_takes_frames_in_turn_and_all_that_they_say() -> None:
    made = decoder()
    frames = [frame(trade(1), trade(2)), b"?", frame(trade(3))]
    spent, ok = made.bench_loop(frames, 7)
    assert spent > 0
    assert ok == 5  # frames whose first thing is one
    assert made.decode_message(frame(trade(4))).update_id == 4
    for nothing in ([], 1), (frames, 0):
        with pytest.raises(ValueError, match="nothing"):
            made.bench_loop(*nothing)


# -- the symbol table ----------------------------------------------------------------------------------------
NAMES = st.text("AB01-_/", min_size=1, max_size=26)


class Table(RuleBasedStateMachine):
    """Symbols come, change and go: what is decoded is what a dict would say."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = talk()
        self.model: dict[str, tuple[int, int, int]] = {}

    @rule(name=NAMES, slot=st.integers(0, 1000), price=st.integers(0, 18), size=st.integers(0, 18))
    def add(self, name: str, slot: int, price: int, size: int) -> None:
        self.decoder.add_symbol(name, slot, price, size)
        self.model[name] = (slot, price, size)

    @rule(names=st.lists(NAMES, max_size=40), slot=st.integers(0, 1000))
    def add_many(self, names: list[str], slot: int) -> None:
        for name in names:
            self.add(name, slot, 0, 0)

    @rule(name=NAMES, data=st.data())
    def remove(self, name: str, data: st.DataObject) -> None:
        if self.model and data.draw(st.booleans()):
            name = data.draw(st.sampled_from(sorted(self.model)))
        assert self.decoder.remove_symbol(name) is (self.model.pop(name, None) is not None)

    @rule(name=NAMES)
    def ask(self, name: str) -> None:
        [found] = self.decoder.decode_messages(frame(trade(1, name, "0")))
        if len(name) > 24:
            assert found.code is DecodeCode.NOT_MINE
        elif name in self.model:
            assert (found.code, found.instrument) == (DecodeCode.OK, self.model[name][0])
            assert found.payload[1] == 2 * 10 ** self.model[name][2] or self.model[name][2] == 18
        else:
            assert found.code is DecodeCode.UNKNOWN_SYMBOL

    @invariant()
    def says_so(self) -> None:
        assert self.decoder.symbols == self.model


TestTable = Table.TestCase


@given(st.lists(st.text("ABC", min_size=1, max_size=3), unique=True, max_size=39))
def test_all_of_many_symbols_are_found(names: list[str]) -> None:
    made = talk()
    for slot, name in enumerate(names):
        made.add_symbol(name, slot, 0, 0)
    for slot, name in enumerate(names):
        assert made.decode_message(frame(trade(1, name, "1"))).instrument == slot


def test_what_cannot_be_a_symbol_or_an_exponent() -> None:
    made = decoder()
    for bad in ("", 'A"B', "A\\B", "A\0B"):
        with pytest.raises(ValueError, match="venue symbol"):
            made.add_symbol(bad, 0, 0, 0)
    with pytest.raises(ValueError, match="exponents"):
        made.add_symbol("EEEFFF", 0, 19, 0)
    assert set(made.symbols) == {"AAABBB", "CCCDDD"}
    assert repr(made).endswith("(2 symbols, too_many_levels=0)")


# -- without memory, and under a sanitizer: the same file once more, with another symbols module -------------
SYMBOLS = (ROOT / "workers/decode/symbols.pyx").read_text()
CALLOC = "<Entry*>calloc(places, sizeof(Entry))"


def changed(old: str, new: str) -> str:
    assert SYMBOLS.count(old) == 1, old
    return SYMBOLS.replace(old, new)


def test_without_memory_the_table_is_what_it_was(tmp_path: Path) -> None:
    poor = changed(CALLOC, f"{CALLOC} if len(self._symbols) < 4 else NULL")
    product = compiled("workers.decode.symbols", poor, tmp_path)
    done = pytest_with({"workers.decode.symbols": product}, HERE, "-k", "poverty", env={"TICKRING_POOR": "1"})
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
    # The negative control: it is said of the table what the table is not.
    hollow = poor.replace("self._symbols[venue_symbol] = before\n                raise", "raise")
    assert hollow != poor
    product = compiled("workers.decode.symbols", hollow, tmp_path / "hollow")
    done = pytest_with({"workers.decode.symbols": product}, HERE, "-k", "poverty", env={"TICKRING_POOR": "1"})
    assert done.returncode == 1, done.stdout


@pytest.mark.skipif("'TICKRING_POOR' not in __import__('os').environ", reason="runs inside the test above")
def test_poverty() -> None:
    made = decoder()
    made.add_symbol("EEEFFF", 5, 0, 0)
    made.add_symbol("GGGHHH", 6, 0, 0)  # the fourth: the table cannot be made anew any more
    before = made.symbols
    with pytest.raises(MemoryError):
        made.add_symbol("AAABBB", 9, 4, 4)  # its new exponents
    assert made.symbols == before
    found = made.decode_message(frame(trade(1)))
    assert (found.instrument, found.payload[:2]) == (3, (100, 200))
    made.add_symbol("IIIJJJ", 7, 0, 0)
    with pytest.raises(MemoryError):
        made.remove_symbol("IIIJJJ")
    assert "IIIJJJ" in made.symbols
    assert made.decode_message(frame(trade(1, "IIIJJJ", "1"))).instrument == 7


def asan() -> str:
    library = subprocess.run(
        ["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=False
    )
    path = library.stdout.strip()
    if library.returncode or "/" not in path:
        pytest.skip("no AddressSanitizer for this compiler")
    return path


def sanitized(tmp_path: Path, symbols: str, which: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """What pytest said of the tests `which`, and the sanitizer."""
    flags = (
        "-g",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=undefined",
        "-fno-omit-frame-pointer",
    )
    library = asan()
    product = compiled("workers.decode.symbols", symbols, tmp_path, *flags)
    speaker = compiled("talk", SOURCE.read_text(), tmp_path, *flags)
    environment = {
        "LD_PRELOAD": library,
        "ASAN_OPTIONS": f"detect_leaks=0:log_path={tmp_path}/output",
        "UBSAN_OPTIONS": f"log_path={tmp_path}/output",
        "PYTHONMALLOC": "malloc",
        "TICKRING_TALK": str(speaker),
    }
    done = pytest_with({"workers.decode.symbols": product}, HERE, "-k", which, env=environment)
    return done, "".join(path.read_text() for path in tmp_path.glob("output*"))


def test_the_sanitizer_finds_nothing(tmp_path: Path) -> None:
    done, output = sanitized(tmp_path, SYMBOLS, "not memory and not sanitizer and not poverty")
    assert done.returncode == 0, done.stdout + done.stderr + output
    assert "20 passed" in done.stdout
    assert not output


def test_the_sanitizer_would_find_a_queue_without_its_bound(tmp_path: Path) -> None:
    mutant = changed(
        "if self._queued == self._room:", "if self._queued == self._room + 1 or self._room == 0:"
    )
    done, output = sanitized(tmp_path, mutant, "in_order")
    assert done.returncode != 0
    assert "heap-buffer-overflow" in output
