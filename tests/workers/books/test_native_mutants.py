"""Negative controls of the native code: each protection taken out, a test must fail.

A mutant is one change of a module's source, compiled into a folder of its own, with which the tests that
stand for the protection run in a process of their own. All of them take minutes: `TICKRING_MUTANTS=all`;
otherwise a few.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.native import ROOT, compiled, pytest_with

HERE = "tests/workers/books/"
MANY, KEPT, IDS = HERE + "test_many_things.py", HERE + "test_kept.py", HERE + "test_ids_come_and_go.py"
MARKS, FRESH, TOPS = HERE + "test_marks.py", HERE + "test_freshness.py", HERE + "test_tops.py"
HOT, PUBLISH, SHADOW = "workers.books.hotpath", "workers.books.publish", "workers.handover.shadow"
WITNESS, HANDOVER, STALENESS = (
    "workers.handover.tracker",
    "workers.handover.handover",
    "workers.books.staleness",
)
WINDOW, BOOK = "workers.books.window", "workers.books.book"
ONCE, DEEPEN = HERE + "test_trades_once.py", HERE + "test_deepen.py"
UNFIT, SHADOWS = HERE + "test_publish.py", HERE + "test_handover_shadow.py"
# Of a top that fits; of one that does not the condition is the same.
BY_TIME = "and not m.ts_event > slot.top_event > 0:"
OLDER = BY_TIME + "\n                self.writer"
LENT, THAW = HERE + "test_filled_tops.py", HERE + "test_thaw.py"
TOLD = HERE + "test_quiet_tops.py"


class Mutant(NamedTuple):
    module: str
    old: str
    new: str
    tests: str


MUTANTS = {
    "only the first thing": Mutant(HOT, "while self.decoder.left:", "while False:", MANY),
    "an unknown symbol ends the frame": Mutant(
        HOT,
        "            self.writer.c_count(FEED_UNKNOWN, 1)\n        else:\n            self.reject_unfit(",
        "            self.decoder.left = 0\n        else:\n            self.reject_unfit(",
        MANY,
    ),
    "places of the first thing": Mutant(
        HANDOVER, "code = self.publisher.hot_path.decoder.next(&self.message)", "pass", MANY
    ),
    "a frame that says otherwise": Mutant(
        HANDOVER,
        "if code == D_NOT_MINE or self.publisher.hot_path.decoder.left !=",
        "if False and 0 !=",
        MANY,
    ),
    "no word of what does not fit": Mutant(
        HANDOVER, "elif code == D_INEXACT or code == D_OVERFLOW:", "elif False:", MANY
    ),
    "events not cut": Mutant(
        HOT,
        "                book.c_truncate(slot.max_depth)\n            if book.c_crossed():",
        "                pass\n            if book.c_crossed():",
        KEPT,
    ),
    "snapshots not cut": Mutant(
        HOT,
        "                book.c_truncate(slot.max_depth)\n            if slot.id_step",
        "                pass\n            if slot.id_step",
        KEPT,
    ),
    "replayed events not cut": Mutant(
        HOT,
        "                book.c_truncate(slot.max_depth)\n            ts_event",
        "                pass\n            ts_event",
        KEPT,
    ),
    "shadows not cut": Mutant(SHADOW, "self.book.c_truncate(self.kept)", "pass", KEPT),
    "shadows not checked": Mutant(
        SHADOW, "elif m.flags & F_CHECKED and not sound", "elif False and not sound", KEPT
    ),
    "events not checked": Mutant(
        HOT,
        "elif m.flags & F_CHECKED and not self._checksum_matches",
        "elif False and not self._checksum_matches",
        KEPT,
    ),
    "snapshots not checked": Mutant(
        HOT,
        "            if m.flags & F_CHECKED and not self._checksum_matches",
        "            if False and not self._checksum_matches",
        KEPT,
    ),
    "ids not learnt": Mutant(HOT, "slot.id_step = 1 if sync.has_update_ids else 0", "pass", IDS),
    "a handover goes on when ids come or go": Mutant(
        HOT,
        'self.fail_observers(m.instrument, f"instrument {m.instrument} has begun',
        'str(f"{m.instrument}',
        IDS,
    ),
    "no ids are older ids": Mutant(
        HOT,
        "if slot.id_step and not slot.synced and book.last_id",
        "if not slot.synced and book.last_id",
        IDS,
    ),
    "an older top": Mutant(HOT, OLDER, OLDER.replace(BY_TIME, "and False:"), IDS),
    "an older top by an unknown time": Mutant(
        HOT, OLDER, OLDER.replace(BY_TIME, "and not m.ts_event > slot.top_event:"), IDS
    ),
    "ids never begin anew": Mutant(HOT, OLDER, OLDER.replace(BY_TIME, "and True:"), IDS),
    "tops where there is none": Mutant(HOT, "        if not slot.has_top:\n            return\n", "", IDS),
    "a mark that does not fit asks for a slot": Mutant(
        HOT, "or m.kind == M_MARK or m.kind == M_LIQUIDATION or data == NULL", "or data == NULL", MARKS
    ),
    "an overflow asks for a slot": Mutant(HOT, "if verdict != D_INEXACT or m.kind", "if m.kind", MARKS),
    "a top that does not fit leaves the old one": Mutant(
        HOT, "        self.block(m.instrument, SCOPE_TOP)\n", "        pass\n", UNFIT
    ),
    "an older top that does not fit": Mutant(
        HOT, "and not m.ts_event > slot.top_event > 0:  # rule 5", "and False:", UNFIT
    ),
    "the place of a top that does not fit": Mutant(
        HOT, "slot.top_id = m.update_id\n        slot.top_event = 0\n", "slot.top_event = 0\n", UNFIT
    ),
    "a book without a level": Mutant(HOT, "self.invalidate(m.instrument, REASON_PRECISION)", "pass", UNFIT),
    "a snapshot from before what did not fit": Mutant(
        HOT, "sync.reset_after(m.update_id)", "sync.reset()", UNFIT
    ),
    "a repetition that does not fit": Mutant(HOT, "== Step.IGNORE:", "== -1:", UNFIT),
    "what does not fit is logged each time": Mutant(
        HOT, "if slot.logged_unfit & 1 << kind:", "if False:", UNFIT
    ),
    "a word that is absent": Mutant(
        HOT, "FLAG_FIRST | <uint8_t>(m.flags >> 14 & ABSENT)", "FLAG_FIRST", UNFIT
    ),
    "a word that is absent, part 1": Mutant(
        HOT, "FLAG_LAST | <uint8_t>(m.flags >> 18 & ABSENT)", "FLAG_LAST", UNFIT
    ),
    "a fact that is absent": Mutant(HOT, "<uint8_t>(~slot.mark_known << 2 & ABSENT)", "0", MARKS),
    "a held repetition that does not fit": Mutant(
        HANDOVER,
        "if self.news(&self.message, at):\n                        self",
        "if True:\n                        self",
        MANY,
    ),
    "a cold one that was held": Mutant(
        HANDOVER,
        "elif self.news(&self.message, at):\n                    self",
        "else:\n                    self",
        SHADOWS,
    ),
    "a shadow with a level left out": Mutant(
        WITNESS, 'shadow.fault = "a number does not fit"', "pass", SHADOWS
    ),
    "a mark without its exponent": Mutant(HOT, "& ABSENT), slot.mark_exp,", "& ABSENT), 0,", MARKS),
    "a liquidation without its exponent": Mutant(
        HOT, "(m.flags & FLAG_SELL), slot.mark_exp,", "(m.flags & FLAG_SELL), 0,", MARKS
    ),
    "facts not merged": Mutant(HOT, "if m.flags & (F_MARK << i):", "if True:", MARKS),
    "facts of before": Mutant(
        PUBLISH,
        "slot.mark[0] = slot.mark[1] = slot.mark[2] = slot.mark[3] = slot.mark_known = 0\n\n"
        "    def invalidate(",
        "pass\n\n    def invalidate(",
        MARKS,
    ),
    "one time for all facts": Mutant(
        WITNESS, "return <int>(m.flags & FACTS) if m.kind == M_MARK else 0", "return 0", MARKS
    ),
    "marks by what is not told": Mutant(
        WITNESS, "m.payload.values[i] if m.flags & (F_MARK << i) else None", "m.payload.values[i]", MARKS
    ),
    "marks go back": Mutant(WITNESS, "elif stream in (TICKER, MARK) and", "elif stream == TICKER and", MARKS),
    "liquidations of before not known": Mutant(
        WITNESS,
        "(KIND_TRADE, KIND_TICKER, KIND_MARK, KIND_LIQUIDATION)",
        "(KIND_TRADE, KIND_TICKER, KIND_MARK)",
        MARKS,
    ),
    "one outage makes it patient": Mutant(STALENESS, "min(gap, threshold(staleness, bounds))", "gap", FRESH),
    "nothing is forgotten": Mutant(
        STALENESS, "staleness.learnt - staleness.learnt // 4", "staleness.learnt", FRESH
    ),
    "all is forgotten": Mutant(STALENESS, "staleness.learnt - staleness.learnt // 4", "0", FRESH),
    "a burst ends a period": Mutant(
        STALENESS, "now >= staleness.until and staleness.count", "staleness.count", FRESH
    ),
    "a quiet stream is forgotten": Mutant(STALENESS, "and staleness.count >= ENOUGH", "", FRESH),
    "silence over a lost connection": Mutant(
        PUBLISH, "slot.staleness[0].seen = slot.staleness[1].seen = 0\n", "pass\n", FRESH
    ),
    "silence over a void book": Mutant(
        HOT, "        slot.staleness[1].seen = 0\n        self.collected", "        self.collected", FRESH
    ),
    "silence of a frozen process": Mutant(
        PUBLISH, "self.slots[i].staleness[0].seen = self.slots[i].staleness[1].seen = 0", "pass", FRESH
    ),
    "a new slot knows the old one's rate": Mutant(
        PUBLISH, "memset(slot.staleness, 0, sizeof(slot.staleness))", "pass", FRESH
    ),
    "events teach nothing": Mutant(
        HOT,
        "arrived(&slot.staleness[1], &self.freshness, recv)\n                return",
        "return",
        FRESH,
    ),
    "repeated tops teach nothing": Mutant(
        HOT, "arrived(&slot.staleness[0], &self.freshness, recv)\n                    return", "return", FRESH
    ),
    "a book's best by its prices": Mutant(
        WINDOW,
        "same = same and slot.top[i] == best[i]",
        "same = same and (i & 1 or slot.top[i] == best[i])",
        TOPS,
    ),
    "a book's best outlives it": Mutant(
        WINDOW,
        "if self.slots[index].top_from_book or (self.slots[index].top_filled",
        "if False or (self.slots[index].top_filled",
        TOPS,
    ),
    "a book that begins has no best": Mutant(
        WINDOW,
        "            self.publish_best(slot, book, index, ts_event, recv)\n\n",
        "            pass\n\n",
        TOPS,
    ),
    "a book's best is no side of none": Mutant(
        WINDOW, "flags |= FLAG_NO_ASK if side else FLAG_NO_BID", "pass", TOPS
    ),
    "tops beside a book's best": Mutant(
        PUBLISH, "slot.has_top = top and not slot.top_from_book", "slot.has_top = top", TOPS
    ),
    "a silence of its own": Mutant(
        PUBLISH,
        "if slot.top_state == STATE_LIVE and not slot.top_from_book and not slot.top_filled:",
        "if slot.top_state == STATE_LIVE and not slot.top_filled:",
        TOPS,
    ),
    "a proof of its own": Mutant(
        PUBLISH,
        "return SCOPE_BOOK if self.slots[index].top_from_book or self.slots[index].top_filled else scope",
        "return SCOPE_BOOK if self.slots[index].top_filled else scope",
        TOPS,
    ),
    "a trade as often as it is told": Mutant(
        HOT, "if m.update_id == slot.trade_id[m.payload.trade.trades != 0]:", "if False:", ONCE
    ),
    "trades without an id are one": Mutant(HOT, "if m.update_id:  # rule 13", "if True:", ONCE),
    "one id for singles and aggregated ones": Mutant(
        HOT,
        "slot.trade_id[m.payload.trade.trades != 0] = m.update_id",
        "slot.trade_id[0] = slot.trade_id[1] = m.update_id",
        ONCE,
    ),
    "the last trade outlives the slot": Mutant(
        PUBLISH, "slot.trade_id[0] = slot.trade_id[1] = 0", "pass", ONCE
    ),
    "a handover that waits for tops": Mutant(
        WITNESS, "if stream == TOP and publisher.slots[<uint32_t>index].top_from_book:", "if False:", TOPS
    ),
    "a handover that hears of tops": Mutant(
        WITNESS, "if stream == TOP and self.publisher.slots[m.instrument].top_from_book:", "if False:", TOPS
    ),
    "deepened without the events since": Mutant(
        PUBLISH, "for diff in answer.diffs:", "for diff in []:", DEEPEN
    ),
    "deepened with an older snapshot": Mutant(
        PUBLISH, "if isinstance(answer, Refetch) or sync.last_id != book.last_id:", "if False:", DEEPEN
    ),
    "deepened with what the stream has not brought": Mutant(
        PUBLISH, "if not diffs or snapshot.last_update_id > book.last_id:", "if not diffs:", DEEPEN
    ),
    "deepened without a comparison": Mutant(
        BOOK, "        if differences:\n            return differences\n", "\n", DEEPEN
    ),
    "compared as far as the window's horizon alone": Mutant(
        BOOK, "differences += key >= other.horizon[ask]", "differences += key >= self.horizon[ask]", DEEPEN
    ),
    "deepened without end": Mutant(
        BOOK, "self.horizon[ask] = other.horizon[ask]", "self.horizon[ask] = INT64_MIN", DEEPEN
    ),
    "deepened and not noted": Mutant(BOOK, "self.horizon[ask] = other.horizon[ask]", "pass", DEEPEN),
    "a horizon that comes nearer": Mutant(
        BOOK, "if other.horizon[ask] >= self.horizon[ask]:", "if False:", DEEPEN
    ),
    "deepened over the bound": Mutant(
        BOOK, "if self.side[side].levels + beyond[side] > self.max_levels:", "if False:", DEEPEN
    ),
    "known beyond the horizon": Mutant(BOOK, "if side.lows[at] <= horizon:", "if False:", DEEPEN),
    "an older best is lent": Mutant(
        WINDOW, "if not slot.id_step or book.last_id < slot.top_id:", "if not slot.id_step:", LENT
    ),
    "a lent top stays behind where ids begin anew": Mutant(
        WINDOW, "        if slot.top_filled:\n            return True\n", "", LENT
    ),
    "a lent top outlives its book": Mutant(
        WINDOW, "or (self.slots[index].top_filled and self.slots[index].top_state != state)", "", LENT
    ),
    "a lent top's state twice": Mutant(
        WINDOW,
        "(self.slots[index].top_filled and self.slots[index].top_state != state)",
        "self.slots[index].top_filled",
        LENT,
    ),
    "a lent top keeps its first id": Mutant(
        WINDOW,
        "            slot.top_id = book.last_id\n            slot.top_proof",
        "            slot.top_proof",
        LENT,
    ),
    "lent at the id of what it may lack": Mutant(
        WINDOW, "or not slot.inclusive or self.top_is_best(slot)", "or True", LENT
    ),
    "a lent top has the time of its book": Mutant(
        WINDOW, "slot.top_event = 0 if slot.fills_top else ts_event", "slot.top_event = ts_event", LENT
    ),
    "a best that only the book tells owes nothing": Mutant(
        WINDOW, "slot.top_owed_since = recv", "pass", LENT
    ),
    "a change without a connection owes a top": Mutant(
        WINDOW,
        "if before >= STATE_STALE and not same and not slot.top_owed_since:",
        "if not same and not slot.top_owed_since:",
        LENT,
    ),
    "an answer in place of what the stream told": Mutant(
        PUBLISH,
        "slot.top_filled or slot.received_at[0] or slot.top_state >= STATE_STALE",
        "slot.top_filled",
        TOLD,
    ),
    "an answer in place of a lent top": Mutant(
        PUBLISH,
        "not slot.has_top or slot.top_filled or slot.received_at[0]",
        "not slot.has_top or slot.received_at[0]",
        TOLD,
    ),
    "an answer that crosses": Mutant(PUBLISH, "if not flags and top[0] >= top[2]:", "if False:", TOLD),
    "an answer with the id of another top": Mutant(
        PUBLISH, "update_id = slot.top_id if same else 0", "update_id = slot.top_id", TOLD
    ),
    "an answer as old as its reading": Mutant(
        PUBLISH, "slot.top_proof = asked", "slot.top_proof = recv", TOLD
    ),
    "ids that are no top's": Mutant(
        PUBLISH, "        return self.slots[index].top_id\n", "        return 0\n", TOLD
    ),
    "a top does not take over": Mutant(
        HOT,
        "        if slot.top_filled:\n            slot.top_filled = False",
        "        if slot.top_filled:\n            pass",
        LENT,
    ),
    "an equal top does not take over": Mutant(
        HOT,
        "                    slot.top_filled = False\n                    slot.top_owed_since = 0\n",
        "",
        LENT,
    ),
    "what is late is silence": Mutant(
        HOT, "slot.top_owed_since = 0  # late, and delivered all the same", "pass", LENT
    ),
    "a frozen top is left": Mutant(PUBLISH, "self._compare(i, now)", "pass", LENT),
    "an equal book is no proof": Mutant(
        PUBLISH, "slot.top_proof = max(slot.top_proof, slot.book_proof)", "pass", LENT
    ),
    "an overdue one is LIVE again": Mutant(
        PUBLISH,
        "if now - (slot.book_proof if book else slot.top_proof) > threshold(",
        "if False and 0 > threshold(",
        THAW,
    ),
    "what was not LIVE is so again": Mutant(PUBLISH, "if not slot.frozen & bit:", "if False:", THAW),
    "a gap is undone": Mutant(
        PUBLISH, "if (slot.book_state if book else slot.top_state) != STATE_STALE:", "if False:", THAW
    ),
    "a silence noticed since is undone": Mutant(
        PUBLISH,
        "self.slots[index].frozen &= ~<int>(FROZEN_BOOK if scope == SCOPE_BOOK else FROZEN_TOP)",
        "pass",
        THAW,
    ),
}
FEW = ("only the first thing", "one outage makes it patient", "deepened without the events since")
CHOSEN = tuple(MUTANTS) if os.environ.get("TICKRING_MUTANTS") == "all" else FEW


@pytest.mark.parametrize("name", MUTANTS)
def test_each_mutant_is_one_change(name: str) -> None:
    mutant = MUTANTS[name]
    assert (ROOT / f"{mutant.module.replace('.', '/')}.pyx").read_text().count(mutant.old) == 1


@pytest.mark.parametrize("name", CHOSEN)
def test_a_mutant_is_noticed(name: str, tmp_path: Path) -> None:
    mutant = MUTANTS[name]
    text = (ROOT / f"{mutant.module.replace('.', '/')}.pyx").read_text()
    product = compiled(mutant.module, text.replace(mutant.old, mutant.new), tmp_path, "-O0")
    done = pytest_with({mutant.module: product}, mutant.tests)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed" in done.stdout


def test_without_a_mutant_the_same_tests_pass(tmp_path: Path) -> None:
    """The other half of the claim: it is the change, not the way it is built."""
    text = (ROOT / "workers/books/staleness.pyx").read_text()
    done = pytest_with({STALENESS: compiled(STALENESS, text, tmp_path, "-O0")}, FRESH)
    assert done.returncode == 0, done.stdout
