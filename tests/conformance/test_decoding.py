"""Decoding: both decoders against an independent one, and with damaged frames."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.conformance.fixture import Recording, load
from tests.conformance.malformed import faults, seeds
from tests.conformance.mutations import mutants
from tests.conformance.player import (
    QUIET,
    Player,
    make_decoder,
    make_parser,
    reference,
    rows,
    slots,
)
from tests.conformance.report import Case, row
from workers.decode.normal import DecodeCode, Decoded, disagreement
from workers.venues import venue as venues

FRAMES = 10_000  # of `malformed.FULL`


def read_twice(case: Case, recordings: Sequence[Recording]) -> tuple[int, int, list[str]]:
    """How many frames agree of how many that are judged, and what does not."""
    right, judged, wrong = 0, 0, []
    for recording in recordings:
        found = rows(recording)
        scales = slots(recording, found)
        decoder = make_decoder(case.venue, scales)
        parser = make_parser(case.fixture, case.venue, list(scales))
        count = native = 0
        for each in found:
            if each.kind != "ws" or each.dir != "in":
                continue
            frame = each.payload()
            forms = reference(case.venue, parser, frame, scales)
            quick = decoder.decode_messages(frame) if decoder is not None else [Decoded(DecodeCode.NOT_MINE)]
            if (problem := disagreement(quick, forms)) is not None:
                wrong.append(problem)
            if (wanted := recording.expected(each, scales)) is not None:
                count += 1
                native += quick[0].code is not DecodeCode.NOT_MINE
                right += forms == wanted
                if forms != wanted:
                    wrong.append(f"{frame!r}: {forms}, not {wanted}")
        assert count == recording.judged, recording.name
        if decoder is not None:
            least = recording.judged if recording.native < 0 else recording.native
            assert native == least, f"{recording.name}: the native decoder took {native}"
        judged += count
    return right, judged, wrong


@row(1, "Every frame of a real capture decodes to what an independent decoder gives, by both decoders")
def test_real_frames_decode_to_the_independent_values(case: Case) -> None:
    right, judged, wrong = read_twice(case, case.fixture.recordings)
    assert wrong == []
    case.figure = f"{right}/{judged}"


@row(2, "So does every frame of our own small recording")
def test_own_frames_decode_to_the_independent_values(case: Case) -> None:
    right, judged, wrong = read_twice(case, case.fixture.own)
    assert wrong == []
    case.figure = f"{right}/{judged}"


@row(3, "A frame of every channel, as the venue sends it today, decodes to the stated values")
def test_samples_decode_to_the_stated_values(case: Case) -> None:
    fixture = case.fixture
    decoder = make_decoder(case.venue, fixture.scales)
    parser = make_parser(fixture, case.venue, list(fixture.scales))
    for name, sample in fixture.samples.items():
        assert reference(case.venue, parser, sample.frame, fixture.scales) == list(sample.forms), name
        if decoder is not None:
            native = decoder.decode_messages(sample.frame)
            assert disagreement(native, sample.forms) is None, name
    case.figure = f"{len(fixture.samples)}/{len(fixture.samples)}"


@row(4, "Damaged frames: native and reference decoder agree, and only declared outcomes")
def test_damaged_frames_are_judged_alike(case: Case) -> None:
    found, outcomes = faults(case.fixture, case.venue, mutants(seeds(case.fixture), FRAMES, seed=7))
    assert found == []
    # The damage is of every degree: some frames are still good, some are none.
    assert outcomes["reference OK"] > FRAMES // 100
    assert outcomes["reference MALFORMED"] + outcomes["reference NOT_MINE"] > FRAMES // 10
    case.figure = f"{FRAMES:,}/{FRAMES:,}"


@row(5, "Between damaged frames the books are the oracle's, or RESYNC")
def test_books_among_damaged_frames(case: Case, instance: str) -> None:
    """Damaged frames that still decode to an event of a carried instrument are left out: the venue would have
    sent wrong data."""
    recording = next(each for each in case.fixture.own if each.booked)
    found = rows(recording)
    scales = slots(recording, found)
    parser = make_parser(case.fixture, case.venue, list(scales))
    frames = [each.payload() for each in found if each.dir == "in"]
    damage = mutants(frames, 4 * len(frames), seed=11)
    checked = 0
    with Player(instance, case.fixture, case.venue, scales, **recording.keys) as player:
        player.carry()
        books = list(recording.books())
        count = 0
        for each in found:
            if (whole := recording.snapshot(each)) is not None:
                index = scales[whole[0]].instrument
                player.publisher.apply_snapshot(index, whole[1], limit=recording.limit)
            if each.dir != "in":
                continue
            player.frame(each.payload(), each.ts)
            count += 1
            for book in books:
                if book.after == count:
                    checked += sound(player, book.symbol, player.difference(book))
            for broken in (next(damage), next(damage)):
                forms = reference(case.venue, parser, broken, scales)
                if QUIET.issuperset(form.code for form in forms):
                    player.frame(broken, each.ts)
        for book in books:
            if book.after < 0:
                checked += sound(player, book.symbol, player.difference(book))
        assert player.publisher.errors == 0, player.publisher.last_error
    assert checked == recording.booked


def sound(player: Player, symbol: str, difference: str | None) -> int:
    assert difference is None or player.state(symbol).name == "RESYNC", difference
    return 1


# -- negative controls --------------------------------------------------------------------------------------
@pytest.mark.parametrize("what", ["sides swapped", "an id off", "a price off", "a field lost"])
def test_a_wrong_decoder_is_noticed(what: str) -> None:
    """Negative control of rows 1 to 4, with a reference that is wrong in one thing."""
    fixture, venue = load("binance_spot"), venues.load("binance_spot")
    parser = make_parser(fixture, venue, list(fixture.scales))

    def twin(frame: bytes) -> list[Decoded]:
        right = reference(venue, parser, frame, fixture.scales)
        return [wrong(form, what) if form.code is DecodeCode.OK else form for form in right]

    good = [sample.frame for sample in fixture.samples.values()]
    assert faults(fixture, venue, good, twin)[0]
    assert faults(fixture, venue, good)[0] == []


def wrong(form: Decoded, what: str) -> Decoded:
    match what:
        case "sides swapped":
            return form._replace(bids=form.asks, asks=form.bids)
        case "an id off":
            return form._replace(update_id=form.update_id + 1)
        case "a price off":
            return form._replace(payload=(form.payload[0] + 1, *form.payload[1:]))
        case _:
            return form._replace(ts_event=0, first_id=0)


def test_a_decoder_that_raises_is_noticed() -> None:
    fixture, venue = load("binance_spot"), venues.load("binance_spot")

    def twin(frame: bytes) -> list[Decoded]:
        raise KeyError("not declared")

    found, _ = faults(fixture, venue, [b"{}"], twin)
    assert "KeyError" in found[0]


def test_damage_is_the_same_each_time_and_of_many_kinds() -> None:
    frames = seeds(load("binance_spot"))
    made = list(mutants(frames, 500, seed=3))
    assert made == list(mutants(frames, 500, seed=3))
    assert len(set(made)) > 450
    assert any(len(each) < 20 for each in made)
    assert sum(each in frames for each in made) < 50
