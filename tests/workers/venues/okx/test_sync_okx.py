"""OKX's rules of the local book, by their numbers in sync.py, and the capture folded by them."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator

import pytest
from okx_kit import BOOKS, CAPTURED_SCALES, captured, make_decoder

from shm.instruments import Instrument
from shm.layout import Geometry, Scope, State
from shm.segment import open_writer
from tests.instances import mine
from workers.books.publish import Publisher
from workers.books.sync import Diff, Gap, Refetch, Replay, Step
from workers.venues.okx._checksum import Checksum
from workers.venues.okx.checksum import text_of
from workers.venues.okx.sync import BookSync


def event(previous: int, number: int, *levels: tuple[int, int]) -> Diff:
    return Diff(previous + 1, number, 0, 0, levels, ())


def synced(number: int = 10) -> BookSync:
    sync = BookSync()
    assert sync.on_snapshot(number) == Replay([])
    return sync


def test_without_a_snapshot_nothing_can_be_used() -> None:
    assert BookSync().on_diff(event(10, 15)) is Step.BUFFER


def test_the_venues_own_example() -> None:
    """Docs, "Sequence ID", "Example"."""
    sync = synced(10)
    assert sync.on_diff(event(10, 15)) is Step.APPLY  # rule 2
    assert sync.on_diff(event(15, 15)) is Step.APPLY  # rule 3
    assert sync.on_diff(event(15, 3)) is Step.APPLY  # rule 4
    assert sync.last_id == 3
    assert sync.on_diff(event(3, 5)) is Step.APPLY
    assert (sync.last_id, sync.gaps, sync.synced) == (5, 0, True)


def test_rule_1_a_snapshot_is_always_taken() -> None:
    sync = synced(10)
    assert sync.on_snapshot(4) == Replay([])
    assert sync.last_id == 4
    assert sync.on_diff(event(4, 9)) is Step.APPLY


def test_rule_5_anything_else_is_a_gap() -> None:
    for previous, number in ((11, 15), (9, 15), (0, 15), (-1, 15)):
        sync = synced(10)
        assert sync.on_diff(event(previous, number)) is Step.GAP, previous
        assert sync.gap == Gap(11, previous + 1)
        assert not sync.synced
        assert sync.on_diff(event(number, number + 1)) is Step.BUFFER


def test_rule_6_a_repetition_is_ignored_and_what_is_older_is_not() -> None:
    sync = synced(10)
    assert sync.on_diff(event(10, 15)) is Step.APPLY
    assert sync.on_diff(event(10, 15)) is Step.IGNORE
    assert sync.on_diff(event(15, 16)) is Step.APPLY
    # The event with the new count was lost: what follows it looks old, and would for ever.
    assert sync.on_diff(event(3, 5)) is Step.GAP


def test_rule_6_another_connection_may_overlap_and_repeat() -> None:
    sync = synced(10)
    sync.advance(20)
    sync.resume(20)
    assert sync.on_diff(event(12, 15)) is Step.IGNORE
    assert sync.on_diff(event(15, 23)) is Step.APPLY
    assert sync.on_diff(event(20, 25)) is Step.GAP  # once only
    sync = synced(10)
    sync.resume(10)
    assert sync.on_diff(event(12, 15)) is Step.GAP
    sync = synced(10)
    sync.resume(10)
    assert isinstance(sync.on_snapshot(8), Refetch)  # it is behind what there is
    assert sync.on_diff(event(8, 10)) is Step.IGNORE
    assert sync.on_diff(event(10, 12)) is Step.APPLY


def test_rule_7_the_wire_without_ids() -> None:
    sync = synced(0)
    assert not sync.has_update_ids
    old = Diff(0, 0, 0, 0, ((1, 1),), ())
    assert sync.on_diff(old) is Step.APPLY
    assert sync.on_diff(event(10, 15)) is Step.GAP
    assert sync.on_snapshot(15) == Replay([])
    assert sync.has_update_ids
    assert sync.on_diff(old) is Step.GAP


def test_the_best_five_have_no_chain() -> None:
    sync = BookSync(chained=False)
    assert (sync.has_update_ids, sync.max_depth, BookSync().max_depth) == (False, 5, 0)
    assert sync.on_snapshot(15) == Replay([])
    assert not sync.has_update_ids


# -- in a publisher -------------------------------------------------------------------------------------
class Desk:
    """A publisher of three books, fed with frames."""

    def __init__(self) -> None:
        self.writer = open_writer(mine(f"okx-{uuid.uuid4().hex[:8]}"), "okx", Geometry(4096, 4, 20), 0.25)
        self.decoder = make_decoder(CAPTURED_SCALES)
        self.asked: list[int] = []
        self.publisher = Publisher(
            self.writer, self.decoder, lambda: BookSync(checksum=Checksum), listener=self
        )
        for symbol, scale in CAPTURED_SCALES.items():
            index = self.writer.add_instrument(
                Instrument(
                    symbol=symbol, venue_symbol=symbol, price_exp=scale.price_exp, size_exp=scale.size_exp
                )
            )
            assert index == scale.instrument
            self.publisher.add_instrument(index, scale.price_exp, scale.size_exp, top=False)

    def request_snapshot(self, index: int) -> None:
        self.asked.append(index)

    def on_precision(self, index: int, code: int, frame: bytes) -> None:
        raise AssertionError((index, code, frame))

    def feed(self, frame: bytes) -> None:
        assert self.publisher.hot_path.frame(frame, 1) == 1
        self.publisher.hot_path.batch_end()

    def state(self, symbol: str) -> int:
        return self.publisher.state(CAPTURED_SCALES[symbol].instrument, Scope.BOOK)


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    assert made.publisher.errors == 0, made.publisher.last_error
    made.writer.close(unlink=True)


def today(frames: list[bytes]) -> list[bytes]:
    """The capture's books as the venue sends them now: no checksum, ids that chain."""
    last: dict[str, int] = {}
    made = []
    for frame in frames:
        symbol = json.loads(frame)["arg"]["instId"]
        previous = last.get(symbol, -1)
        number = last[symbol] = max(previous, 1000) + 7
        ids = b'"checksum":0,"seqId":%d,"prevSeqId":%d' % (number, previous)
        made.append(re.sub(rb'"checksum":-?\d+', ids, frame))
    return made


def book_frames() -> list[bytes]:
    return [frame for frame in captured() if b'"action"' in frame]


@pytest.mark.parametrize("wire", ["2022", "today"])
def test_the_captures_books_are_the_oracles(desk: Desk, wire: str) -> None:
    frames = book_frames()
    for frame in frames if wire == "2022" else today(frames):
        desk.feed(frame)
    for line in BOOKS.read_text().splitlines():
        row = json.loads(line)
        scale = CAPTURED_SCALES[row["symbol"]]
        book = desk.publisher.book(scale.instrument)
        for ask, side in ((False, row["bids"]), (True, row["asks"])):
            expected = [
                [text_of(price, scale.price_exp), text_of(size, scale.size_exp)]
                for price, size in book.window(ask, book.levels(ask))
            ]
            assert expected[: len(side)] == side
        assert desk.state(row["symbol"]) == State.LIVE
        assert desk.publisher.has_update_ids(scale.instrument) == (wire == "today")
    assert desk.asked == []


def test_a_wrong_checksum_voids_that_book_alone(desk: Desk) -> None:
    frames = book_frames()
    for frame in frames[:-20]:
        desk.feed(frame)
    victim = json.loads(frames[-20])["arg"]["instId"]
    desk.feed(re.sub(rb'"checksum":-?\d+', b'"checksum":12345', frames[-20]))
    states = {symbol: desk.state(symbol) for symbol in CAPTURED_SCALES}
    assert states == {symbol: State.RESYNC if symbol == victim else State.LIVE for symbol in CAPTURED_SCALES}
    assert desk.asked == [CAPTURED_SCALES[victim].instrument]


def frame_of(action: str, previous: int, number: int, bids: str = "", asks: str = "") -> bytes:
    return (
        f'{{"arg":{{"channel":"books","instId":"UNI-USD-SWAP"}},"action":"{action}","data":[{{"asks":[{asks}],'
        f'"bids":[{bids}],"ts":"1790394877200","checksum":0,"seqId":{number},"prevSeqId":{previous}}}]}}'
    ).encode()


BID, ASK = '["5.1","3","0","1"]', '["5.2","4","0","1"]'


def test_gap_reset_and_proof_in_the_publisher(desk: Desk) -> None:
    index = CAPTURED_SCALES["UNI-USD-SWAP"].instrument
    desk.feed(frame_of("snapshot", -1, 10, BID, ASK))
    desk.feed(frame_of("update", 10, 15, '["5.15","1","0","1"]'))
    before = desk.publisher.proof(index, Scope.BOOK)
    assert desk.publisher.hot_path.frame(frame_of("update", 15, 15), 99) == 1
    assert desk.publisher.proof(index, Scope.BOOK) == 99 > before  # rule 3: it is proof of delivery
    desk.feed(frame_of("update", 15, 3, '["5.15","0","0","0"]'))  # rule 4
    desk.feed(frame_of("update", 3, 5, '["5.16","2","0","1"]'))
    assert desk.state("UNI-USD-SWAP") == State.LIVE
    assert desk.publisher.book(index).last_id == 5
    assert desk.publisher.book(index).window(False, 9) == [(5160, 2), (5100, 3)]
    desk.feed(frame_of("update", 6, 9))
    assert desk.state("UNI-USD-SWAP") == State.RESYNC
    assert desk.asked == [index]
    desk.feed(frame_of("update", 9, 12))  # what still comes asks no second time
    assert desk.asked == [index]
    desk.feed(frame_of("snapshot", -1, 14, BID, ASK))
    assert desk.state("UNI-USD-SWAP") == State.LIVE
