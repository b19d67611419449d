"""Handovers at random moments of a random market, judged by the twin: nobody must notice any of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.workers.books.handover_twin import Kinds, Play
from workers.books.sync import StreamSync
from workers.handover import handover
from workers.handover.handover import Handover
from workers.handover.overlap import Ids, States, Times, Track, Trades
from workers.venues.binance_spot.sync import BookSync

VENUES = {
    "ids, fetched": Kinds(),
    "ids, streamed": Kinds(streamed=True, trades="hash"),
    "ids, no event times": Kinds(timed=False, trades="content"),
    "event times": Kinds(numbered=False, streamed=True, trades="content"),
    "coarse event times": Kinds(numbered=False, streamed=True, coarse=True, merges=False),
    "content alone": Kinds(numbered=False, streamed=True, timed=False, merges=False, trades="hash"),
}


@contextmanager
def feed(make_lab: Callable[..., Any], kinds: Kinds) -> Iterator[Any]:
    lab = make_lab(depth=5, slots=1024, instruments=1, make_sync=kinds.make_sync)
    try:
        yield lab
    finally:
        lab.close()


def play(lab: Any, chance: random.Random, kinds: Kinds, steps: int = 60, **how: Any) -> Play:
    game = Play(lab, chance, kinds, **how)
    for _ in range(steps):
        game.step()
    game.finish()
    return game


@pytest.mark.parametrize("venue", VENUES)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(chance=st.randoms(use_true_random=False))
def test_nobody_notices(make_lab: Callable[..., Any], venue: str, chance: random.Random) -> None:
    with feed(make_lab, VENUES[venue]) as lab:
        play(lab, chance, VENUES[venue]).account()


def rounds(make_lab: Callable[..., Any], kinds: Kinds, seeds: range, **how: Any) -> list[Play]:
    games = []
    for seed in seeds:
        with feed(make_lab, kinds) as lab:
            games.append(play(lab, random.Random(seed), kinds, **how))
            if games[-1].clean:
                games[-1].account()
    return games


@pytest.mark.parametrize("venue", VENUES)
def test_handovers_do_happen(make_lab: Callable[..., Any], venue: str) -> None:
    """The other half of the claim."""
    assert sum(game.handovers for game in rounds(make_lab, VENUES[venue], range(20))) >= 20


@pytest.mark.parametrize("venue", ["ids, fetched", "ids, streamed"])
def test_what_is_lost_on_either_is_never_a_wrong_live_book(make_lab: Callable[..., Any], venue: str) -> None:
    games = rounds(make_lab, VENUES[venue], range(60), clean=False)
    assert sum(game.handovers for game in games) >= 30
    assert sum(game.gaps for game in games) >= 40


# -- negative controls: each rule taken out, the reader notices ----------------------------------------------
class Forgetful(Handover):
    """Knows nothing of what was delivered before it was made."""

    def _remember(self, places: Any) -> None:
        pass


def first_match(self: States, state: Any, ts_event: int) -> int:
    places = [place for place in self._places.get(state, ()) if place >= self._base]
    return places[0] if places else -1


def ambiguous(self: States, state: Any, ts_event: int) -> int:
    """Looks at times, not at how often a state came."""
    for place in self._places.get(state, ()):
        if place >= self._base and self._new[place][1] >= ts_event:
            return self._agree(place, state, ts_event)
    return -1


Patch = tuple[Any, str, Any]
FETCHED, TIMED, COARSE, BARE = (
    VENUES[name] for name in ("ids, fetched", "event times", "coarse event times", "content alone")
)
GOES_BACK = "an older|no book"
MUTANTS: dict[str, tuple[Kinds, str, Patch | None, dict[str, Any]]] = {
    "trades not told apart": (FETCHED, "a trade twice", (Trades, "repeats", lambda *_: False), {}),
    "trades of before not known": (FETCHED, "a trade twice", None, {"make": Forgetful}),
    "late trades not known": (FETCHED, "a trade twice", (handover, "FORGET", -1), {}),
    "older tickers": (FETCHED, "an older ticker", (Times, "repeats", lambda *_: False), {}),
    "no resumption": (FETCHED, "a STATUS", (BookSync, "resume", lambda *_: None), {}),
    "no resumption, streamed": (
        VENUES["ids, streamed"],
        "a STATUS",
        (StreamSync, "resume", lambda *_: None),
        {},
    ),
    "no bracket": (
        replace(FETCHED, channels=("book",)),
        "a STATUS",
        (Ids, "reached", lambda *_: True),
        {},
    ),
    "trades not waited for": (
        replace(FETCHED, channels=("trades",)),
        "trades are missing",
        (Trades, "reached", lambda *_: True),
        {},
    ),
    "no latency allowed for": (
        FETCHED,
        "a STATUS|trades are missing",
        None,
        {"options": {"max_latency": 0.0}},
    ),
    "quiet at once": (FETCHED, "a STATUS|trades", (Track, "quiet", lambda *_: True), {}),
    "any match, timed": (replace(TIMED, channels=("book",)), GOES_BACK, (States, "match", first_match), {}),
    "any match": (replace(BARE, channels=("book",)), GOES_BACK, (States, "match", first_match), {}),
    "ambiguous match": (replace(BARE, channels=("book",)), GOES_BACK, (States, "match", ambiguous), {}),
    "ambiguous match of one time": (
        replace(COARSE, channels=("book",)),
        GOES_BACK,
        (States, "match", ambiguous),
        {},
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_twin_notices(make_lab: Callable[..., Any], monkeypatch: Any, mutant: str) -> None:
    kinds, words, patch, how = MUTANTS[mutant]
    if patch is not None:
        monkeypatch.setattr(*patch)
    with pytest.raises(AssertionError, match=words):
        rounds(make_lab, kinds, range(300), **how)
